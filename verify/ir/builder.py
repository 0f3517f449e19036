"""What both front-ends write to: nodes are appended, shapes follow from running the op."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from verify.errors import InputError, UnsupportedOp, VerifyError
from verify.ir.compose import Composer
from verify.ir.graph import Graph, Network, Node
from verify.ir.head import Head
from verify.ops.base import Op
from verify.ops.maximum import Max
from verify.ops.multiply import MatMul, Multiply
from verify.ops.shape_ops import Concat, Entrywise, Reshape


@dataclass(frozen=True)
class End:
    """What a head makes of the value `below`; it is written as nodes where more is computed with it."""

    below: str
    head: Head


class GraphBuilder:
    """Collects nodes and parameters in topological order."""

    def __init__(self, input_name: str, input_shape: tuple[int, ...], dtype: torch.dtype = torch.float32):
        self.input = input_name
        self.input_shape = input_shape
        self.dtype = dtype
        self.nodes: list[Node] = []
        self.parameters: dict[str, Tensor] = {}
        self.shapes: dict[str, tuple[int, ...]] = {input_name: input_shape}
        self.kept = dict(self.shapes)  # of the graph's own values, in which a scalar is a vector of one entry
        self.ends: dict[str, End] = {}
        self.named: dict[str, Node] = {}
        self.made: dict[tuple[Op, tuple[str, ...], tuple[str, ...]], str] = {}
        self.written: dict[str, str] = {}  # of ends that are computed with, the nodes that stand for them

    def parameter(self, name: str, value: Tensor) -> str:
        """Stores a parameter under this name, or a numbered one if another value has it; returns the name."""
        unique, count = name, 1
        while unique in self.parameters and not _same(self.parameters[unique], value):
            count += 1
            unique = f"{name}_{count}"
        self.parameters[unique] = value
        return unique

    def add(self, name: str, op: Op, inputs: tuple[str, ...], parameters: tuple[str, ...] = ()) -> str:
        """Appends a node and returns its name (made unique). Raises UnsupportedOp where its shapes do not fit, where
        it makes a number of no entries."""
        if isinstance(op, Reshape) and inputs[0] in self.ends:
            end = self.ends[inputs[0]]
            return self.end(name, replace(end, below=self.add(name, op, (end.below,))))
        inputs = tuple(map(self.plain, inputs))
        shape = self._shape(name, op, inputs, parameters, self.shapes)
        if any(self.kept[i] != self.shapes[i] for i in inputs):
            kept = self._shape(name, op, inputs, parameters, self.kept)
        else:
            kept = shape
        if kept != shape and isinstance(op, Entrywise):
            op = replace(op, shape=(1,))
        if not kept and isinstance(op, Reshape):
            op, kept = Reshape((1,)), (1,)
        elif not kept and isinstance(op, Max):
            parameters, kept = (self.parameter(parameters[0], self.parameters[parameters[0]][None]),), (1,)
        made = self._append(name, op, inputs, parameters, kept)
        if not kept:
            made = self._append(name, Reshape((1,)), (made,), (), (1,))
        self.shapes[made] = shape
        return made

    def once(self, name: str, op: Op, inputs: tuple[str, ...], parameters: tuple[str, ...] = ()) -> str:
        """As `add`, but what has been made with `once` before is not made again."""
        key = op, inputs, parameters
        if key not in self.made:
            self.made[key] = self.add(name, *key)
        return self.made[key]

    def plain(self, name: str) -> str:
        """The name of a value that nodes make: of what a head makes, the nodes that compute it."""
        if name not in self.ends:
            return name
        if name not in self.written:
            end, composer = self.ends[name], Composer(self, name)
            flat = composer.reshape(end.below, (prod(self.shapes[end.below]),))
            made = composer.log_softmax(flat, 0) if end.head.logarithm else composer.softmax(flat, 0)
            self.written[name] = composer.reshape(made, self.shapes[end.below])
        return self.written[name]

    def product(self, name: str, left: str, right: str, is_matrix: bool = False) -> str:
        """Appends x y of two values and returns its name: entry by entry of one shape, or as matrices (..., n, k) and
        (..., k, m) with the same leading axes. Raises UnsupportedOp for other shapes."""
        shapes = self.shapes[left], self.shapes[right]
        fits = shapes[0] == shapes[1]
        if is_matrix:
            fits = min(map(len, shapes)) > 1 and shapes[0][:-2] == shapes[1][:-2] and shapes[0][-1] == shapes[1][-2]
        if not fits:
            raise UnsupportedOp(f"node {name} multiplies values of shapes {shapes[0]} and {shapes[1]}; repeat or "
                                "reshape one of them")
        flat = tuple(self.add(f"{name}.{side}", Reshape((prod(shape),)), (value,))
                     for side, value, shape in zip(("left", "right"), (left, right), shapes, strict=True))
        joined = self.add(f"{name}.factors", Concat(0, tuple(map(prod, shapes))), flat)
        return self.add(name, MatMul(*shapes) if is_matrix else Multiply(shapes[0]), (joined,))

    def _append(
        self, name: str, op: Op, inputs: tuple[str, ...], parameters: tuple[str, ...], shape: tuple[int, ...]
    ) -> str:
        unique = self._unique(name)
        self.nodes.append(Node(unique, op, inputs, parameters, shape))
        self.named[unique] = self.nodes[-1]
        self.shapes[unique] = self.kept[unique] = shape
        return unique

    def _shape(
        self, name: str, op: Op, inputs: tuple[str, ...], parameters: tuple[str, ...],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> tuple[int, ...]:
        """What the op makes of arguments of these shapes, of a sample."""
        values = tuple(self.parameters[p] for p in parameters)
        samples = [torch.zeros((1, *shapes[i]), dtype=self.dtype) for i in inputs]
        try:
            with torch.no_grad():
                made = op.forward(values, *samples)
        except (RuntimeError, IndexError) as problem:
            told = ", ".join(str(shapes[i]) for i in inputs)
            first = str(problem).splitlines()[0]
            raise UnsupportedOp(f"node {name} ({type(op).__name__}) does not accept inputs of shape {told} "
                                f"({first}); check the shapes of its weights and of the model's input") from None
        if any(not sample.numel() for sample in samples) and bool(made.isnan().any()):  # such as a mean of nothing
            raise UnsupportedOp(f"node {name} ({type(op).__name__}) reads a tensor of shape {shapes[inputs[0]]}, "
                                "which has no entries; leave that part out of the model")
        return tuple(made.shape[1:])

    def inline(self, network: Network, value: str) -> str:
        """Appends the nodes of a network with this value as its input; the name of its output. Raises InputError for
        another shape."""
        value = self.plain(value)
        if self.kept[value] != network.input_shape:
            raise InputError(f"the network takes samples of shape {network.input_shape}, not {self.shapes[value]}")
        network = network.to("cpu")
        names = {network.graph.input: value}
        own = {name: self.parameter(name, tensor) for name, tensor in network.parameters.items()}
        for node in network.graph.nodes:
            inputs, parameters = (tuple(map(of.__getitem__, part)) for of, part in
                                  ((names, node.inputs), (own, node.parameters)))
            names[node.name] = self._append(node.name, node.op, inputs, parameters, node.shape)
        output, head = names[network.graph.output], network.head
        return output if head is None or network.bare else self.end(network.graph.output, End(output, head))

    def end(self, name: str, end: End) -> str:
        """Names what a head makes of a value, as `add` names a node."""
        unique = self._unique(name)
        self.ends[unique] = replace(end, below=self.plain(end.below))
        self.shapes[unique] = self.shapes[end.below]
        return unique

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self.shapes:
            count += 1
            unique = f"{name}_{count}"
        return unique

    def finish(self, output: str) -> Network:
        """The frozen network of the nodes that `output` depends on."""
        if output in self.ends:
            return replace(self.finish(self.ends[output].below), head=self.ends[output].head)
        if self.shapes[output] != self.kept[output]:
            output = self._append(output, Reshape(self.shapes[output]), (output,), (), self.shapes[output])
        needed = {output}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if node.name in needed:
                kept.append(node)
                needed.update(node.inputs)
        if self.input not in needed:
            raise VerifyError("the output of the model does not depend on its input; check which output is meant")
        graph = Graph(self.input, self.input_shape, tuple(reversed(kept)), output)
        return replace(graph.freeze(self.parameters), floats=self.dtype)


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b)))
