"""The network IR: an immutable graph that names its parameters, and a network that holds their values.

Shapes exclude the batch axis, which is axis 0 of every tensor. A `Graph` is structure alone. `graph.freeze(values)`
copies and hashes the values into a `Network`, the only thing that is rewritten, solved and certified.
`graph.bind(tensors)` evaluates over a live module's own tensors, so that bounds are differentiable in the weights.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from verify.deadline import check_time
from verify.errors import InputError
from verify.ir.head import Head
from verify.marks import mark_of, marks_of
from verify.ops.affine import Affine
from verify.ops.base import Op, Parameters

HEAD = 1 << 16  # entries of a parameter that tell it from others


@dataclass(frozen=True)
class Node:
    """One operation: `op` applied to the outputs of `inputs` with the named parameters; `shape` of its output."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order; `input` is the name of the one input, `output` that of the result."""

    input: str
    input_shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    output: str

    def __post_init__(self) -> None:
        shapes = {self.input: self.input_shape}
        for node in self.nodes:
            if node.name in shapes:
                raise InputError(f"graph has two values named {node.name}; names must be unique")
            missing = [name for name in node.inputs if name not in shapes]
            if missing:
                raise InputError(f"node {node.name} reads {missing[0]}, which no earlier node makes")
            given = [shapes[name] for name in node.inputs]
            if not node.op.fits(given, node.shape):
                raise InputError(f"node {node.name} ({node.op}) does not take shapes {given} to {node.shape}; "
                                 "state the shape of its constant axis by axis")
            shapes[node.name] = node.shape
        if self.output not in shapes:
            raise InputError(f"graph output {self.output} is made by no node")

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of all parameters that nodes read, in order of first use."""
        return tuple(dict.fromkeys(name for node in self.nodes for name in node.parameters))

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.shape_of(self.output)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Shape of a value, batch excluded."""
        return self.input_shape if name == self.input else self.by_name[name].shape

    def freeze(self, parameters: Mapping[str, Tensor]) -> Network:
        """A network with copies of these values. Raises InputError for a missing or non-finite one."""
        return Network(self, {name: t.detach().clone() for name, t in self._complete(parameters).items()})

    def bind(self, parameters: Mapping[str, Tensor]) -> BoundGraph:
        """The graph over these very tensors, for training."""
        return BoundGraph(self, self._complete(parameters))

    def _complete(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        missing = [name for name in self.parameter_names if name not in parameters]
        if missing:
            raise InputError(f"the graph needs parameter {missing[0]}, which was not given")
        return {name: parameters[name] for name in self.parameter_names}


@dataclass(frozen=True, eq=False)
class BoundGraph:
    """A graph with tensors for its parameters; differentiable in them. `floats` and `place` are its type and its device
    where there are none."""

    graph: Graph
    parameters: dict[str, Tensor] = field(repr=False)
    floats: torch.dtype = field(default=torch.float32, repr=False, kw_only=True)
    place: torch.device = field(default=torch.device("cpu"), repr=False, kw_only=True)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.graph.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.graph.output_shape

    @property
    def outputs(self) -> int:
        """Number of output entries of one sample."""
        count = 1
        for n in self.output_shape:
            count *= n
        return count

    @cached_property
    def dtype(self) -> torch.dtype:
        """The floating type of the parameters, or of a network without any."""
        kinds = {t.dtype for t in self.parameters.values() if t.is_floating_point()}
        return kinds.pop() if len(kinds) == 1 else self.floats

    @cached_property
    def device(self) -> torch.device:
        return next((t.device for t in self.parameters.values()), self.place)

    def of(self, node: Node) -> Parameters:
        """The parameter tensors of a node."""
        return tuple(self.parameters[name] for name in node.parameters)

    def matrix(self, node: Node) -> Tensor | None:
        """The matrix (outputs, inputs) by which a node makes a vector of a vector, but for a bias; None for others."""
        return node.op.dense(self.of(node)) if len(node.shape) == 1 and isinstance(node.op, Affine) else None

    def walk(self) -> Iterator[tuple[Node, Parameters]]:
        """Nodes in topological order with their parameters. Raises OutOfTime once the deadline in force has come."""
        for node in self.graph.nodes:
            check_time()
            yield node, self.of(node)

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (batch, *output_shape) of inputs (batch, *input_shape)."""
        return self.values(x)[self.graph.output]

    def values(self, x: Tensor) -> dict[str, Tensor]:
        """Every value (batch, *shape) at inputs x (batch, *input_shape), by name: the input and all nodes, in order."""
        if tuple(x.shape[1:]) != self.input_shape:
            raise InputError(f"the network takes samples of shape {self.input_shape}, not {tuple(x.shape[1:])}")
        found = {self.graph.input: x}
        for node, p in self.walk():
            found[node.name] = node.op.forward(p, *(found[name] for name in node.inputs))
        return found


class Symbolic(ABC):
    """A value that is not known yet (see `verify.ir.symbolic`): a network that is called on it becomes part of its
    graph."""

    @abstractmethod
    def through(self, network: Network) -> Symbolic:
        """What the network makes of the value."""


AnySymbolic = TypeVar("AnySymbolic", bound=Symbolic)


class Source(Protocol):
    """What a network was read from, in its own runtime."""

    @abstractmethod
    def outputs(self, x: np.ndarray) -> np.ndarray:
        """(points, outputs) of points (points, inputs). Raises InputError where it cannot be evaluated there."""

    @abstractmethod
    def tensors(self, x: np.ndarray) -> list[tuple[str, list[np.ndarray]]]:
        """The name of every node and its values, flat, at one point (inputs,); nothing where they are not known."""


@dataclass(frozen=True, eq=False)
class Network(BoundGraph):
    """A graph with its own copies of the parameters: finite, hashed, never differentiated.

    `unmerged` is the network as it was read, where this one came of rewrites: proofs and replays speak of that.
    `source` is what it was read from, if that does not change: verdicts are held against it. `head` is a last layer
    that keeps the order of the logits; the graph ends before it, and so do calls where the network is `bare`. `front`
    is what the first nodes were put in front of the network that was read (see `verify.ir.front`), under their names.
    """

    unmerged: Network | None = field(default=None, repr=False)
    source: Source | None = field(default=None, repr=False)
    head: Head | None = None
    bare: bool = False
    front: Network | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, tensor in self.parameters.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise InputError(f"parameter {name} has a value that is not finite; mend or retrain the model")

    @overload
    def __call__(self, x: Tensor) -> Tensor: ...

    @overload
    def __call__(self, x: AnySymbolic) -> AnySymbolic: ...

    def __call__(self, x: Tensor | Symbolic) -> Tensor | Symbolic:
        """Outputs (batch, *output_shape) of inputs (batch, *input_shape), those of the head where it has one; of a
        symbolic value what its graph then makes."""
        if isinstance(x, Symbolic):
            return x.through(self)
        y = super().__call__(x)
        return y if self.head is None or self.bare else self.head(y)

    @cached_property
    def logits(self) -> Network:
        """The network without its head; itself where it has none."""
        if self.head is None or self.bare:
            return self
        return replace(self, unmerged=None if self.unmerged is None else self.unmerged.logits, bare=True)

    @cached_property
    def refusal(self) -> str:
        """Why the network, or a part of it, can only be executed, so that nothing bounds it; else empty."""
        return next((node.op.refusal for node in self.graph.nodes if node.op.refusal), "")

    @cached_property
    def digest(self) -> str:
        """sha256 over the structure and the raw little-endian weights."""
        ends = self.graph.input, self.graph.input_shape, self.graph.output
        ends = ends if self.head is None else (*ends, self.head)
        seen = hashlib.sha256(repr(ends).encode())
        for node in self.graph.nodes:
            seen.update(repr(node).encode())
        for name, tensor in self.parameters.items():
            seen.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            seen.update(tensor.cpu().contiguous().numpy().tobytes())
        return seen.hexdigest()

    @cached_property
    def mark(self) -> int:
        """A short number that tells the network as it was read from others: by its nodes and the first entries of every
        parameter (see `verify.marks`)."""
        if self.unmerged is not None:
            return self.unmerged.mark
        heads = [marks_of(t.flatten()[None, :HEAD]).tolist() for t in self.parameters.values()]
        return mark_of((self.graph.input_shape, self.graph.nodes, heads))

    @cached_property
    def constants(self) -> dict[str, Tensor]:
        """Of affine nodes that add something, (1, *shape): at least the sizes of the numbers that it is a sum of in the
        network as it was read, where what rewrites have folded into one node stands in several."""
        found: dict[str, Tensor] = {}
        for node, p in (self.unmerged or self).walk():
            if not isinstance(node.op, Affine):
                continue
            size = node.op.bias_size(p)
            for k, name in enumerate(node.inputs):
                if name in found and name not in self.graph.by_name:
                    more = node.op.absolute(p, k, found[name])
                    size = more if size is None else size + more
            if size is not None:
                found[node.name] = size.expand(1, *node.shape)
        return found

    def to(self, device: torch.device | str) -> Network:
        """The same network with its parameters on another device; itself where they are there."""
        if torch.device(device) == self.device:
            return self
        moved = {name: t.to(device) for name, t in self.parameters.items()}
        unmerged = None if self.unmerged is None else self.unmerged.to(device)
        return replace(self, parameters=moved, unmerged=unmerged, place=torch.device(device))

    def double(self) -> Network:
        """The same network in float64, made once."""
        return self._double

    @cached_property
    def _double(self) -> Network:
        wide = {name: t.double() if t.is_floating_point() else t for name, t in self.parameters.items()}
        return replace(self, parameters=wide, unmerged=None, source=None, floats=torch.float64)
