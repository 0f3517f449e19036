"""Opens an ONNX file and walks the nodes that its output depends on."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import torch
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from verify.deadline import check_time
from verify.errors import InputError, UnsupportedOp
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.ir.onnx_reader import (
    attention,
    curves,
    elementwise,
    heads,
    linear,
    moves,
    norms,
    picks,
    products,
    quantised,
    recurrent,
    resize,
    windows,
)
from verify.ir.onnx_reader.comparisons import COMPARISONS, Sign, compared, follow
from verify.ir.onnx_reader.fold import fold
from verify.ir.onnx_reader.reader import HANDLERS, LARGEST, Call, Operand, Reader
from verify.ir.onnx_reader.traps import refuse_lengths
from verify.ir.onnx_reader.values import Const, Shape, Value, ir_shape

GROUPS = (  # importing them fills HANDLERS
    attention, curves, elementwise, heads, linear, moves, norms, picks, products, quantised, recurrent, resize, windows,
)
OPSETS = range(8, 24)
DTYPES = {int(TensorProto.FLOAT): torch.float32, int(TensorProto.DOUBLE): torch.float64}


def read(path: Path) -> Network:
    """See verify.ir.onnx_reader.read_onnx."""
    model = _open(path)
    versions = {o.version for o in model.opset_import if o.domain in ("", "ai.onnx")}
    opset = versions.pop() if len(versions) == 1 else None
    if opset is None or opset not in OPSETS:
        raise UnsupportedOp(f"{path} uses opset {opset or sorted(versions)}, and {OPSETS[0]} to {OPSETS[-1]} are read; "
                            "convert it with onnx.version_converter or export it with another opset")
    for part in (model.graph, *model.functions):
        refuse_lengths(part.node)
    if model.functions:
        model = _inlined(path, model)
    source, output = _ends(path, model.graph)
    shape, symbolic = _input_shape(path, source)
    kind = source.type.tensor_type.elem_type
    if kind not in DTYPES:
        raise InputError(f"input {source.name} of {path} is neither float32 nor float64; export the model in float32")
    batch = 0 if len(shape) > 1 and shape[0] == 1 else None
    reader = Reader(GraphBuilder(source.name, ir_shape(shape, batch), DTYPES[kind]), symbolic)
    known: dict[str, Operand] = {source.name: Value(source.name, shape, batch)}
    walk = _Walk(opset, reader, known)
    walk.through(model.graph, [output])
    found = walk.look_up(output, f"the output of {path}")
    if isinstance(found, Const):
        raise InputError(f"output {output} of {path} does not depend on its input {source.name}; check the model")
    if symbolic and found.batch != 0:
        raise UnsupportedOp(f"output {output} of {path} has its batch axis at place {found.batch}; export it at axis 0")
    return reader.builder.finish(found.name)


def _open(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise InputError(f"there is no file {path}; check the path")
    try:
        if path.suffix == ".gz":
            model = onnx.load_model_from_string(gzip.decompress(path.read_bytes()))
        else:
            model = onnx.load(str(path))
    except (DecodeError, EOFError, OSError, ValueError, zlib.error, onnx.checker.ValidationError) as problem:
        raise InputError(f"{path} cannot be read as an ONNX model ({' '.join(str(problem).split())}); it is truncated, "
                         "lacks its weights file or has another format: fetch or export it again") from None
    if not model.graph.output:
        raise InputError(f"{path} holds no ONNX graph with an output; fetch or export it again")
    return model


def _inlined(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the nodes of its own functions in place of calls of them."""
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as problem:  # the library raises several kinds, for functions of other opsets among others
        raise UnsupportedOp(f"{path} has functions that cannot be put in place of their calls "
                            f"({' '.join(str(problem).split()):.200}); export it without functions") from None


def _ends(path: Path, graph: onnx.GraphProto) -> tuple[onnx.ValueInfoProto, str]:
    """The one input that is no initialiser, and the name of the one output."""
    stored = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    inputs = [i for i in graph.input if i.name not in stored]
    for what, names in (("inputs", [i.name for i in inputs]), ("outputs", [o.name for o in graph.output])):
        if len(names) != 1:
            raise InputError(f"{path} has {len(names)} {what} ({', '.join(names)}) where one is wanted; "
                             "cut the model down to one, or join them into one tensor")
    return inputs[0], graph.output[0].name


def _input_shape(path: Path, source: onnx.ValueInfoProto) -> tuple[Shape, bool]:
    """The input's shape for one sample, and whether its first axis is a batch axis of any length."""
    if not source.type.tensor_type.HasField("shape"):
        raise InputError(f"input {source.name} of {path} has no shape; export the model with one")
    lengths = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
               for d in source.type.tensor_type.shape.dim]
    shape = tuple(1 if n is None and i == 0 else n for i, n in enumerate(lengths))
    known = tuple(n for n in shape if n is not None)
    empty = any(d.HasField("dim_value") and d.dim_value == 0 for d in source.type.tensor_type.shape.dim)
    if prod(known) > LARGEST or empty:
        raise InputError(f"input {source.name} of {path} has the shape {lengths}, which has no entries or more than "
                         f"{LARGEST}; export the model with the lengths that it is used with")
    if len(known) < len(lengths) or not lengths:
        raise InputError(f"input {source.name} of {path} has the shape {lengths}, of which only the first length may "
                         "be open; export the model with fixed lengths")
    return known, lengths[0] is None and len(known) > 1


def _needed(graph: onnx.GraphProto, outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in the file's order, which is topological."""
    wanted, kept = set(outputs), []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(_read(node))
    return kept[::-1]


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, those in its branches included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _read(inner)


class _Walk:
    """Node by node from ONNX names to operands."""

    def __init__(self, opset: int, reader: Reader, known: dict[str, Operand]):
        self.opset, self.reader, self.known = opset, reader, known
        self.stored: dict[str, onnx.TensorProto] = {}
        self.signs: dict[str, Sign] = {}
        self.whole: set[str] = set()  # values that are whole numbers in a type of integers

    def through(self, graph: onnx.GraphProto, outputs: Iterable[str]) -> None:
        """Translates the nodes that these outputs of a graph, or of a branch, depend on."""
        self.stored.update((tensor.name, tensor) for tensor in graph.initializer)
        for node in _needed(graph, outputs):
            check_time()
            self.translate(node)

    def look_up(self, name: str, reading: str) -> Operand:
        """Initialisers become arrays when they are first read."""
        if name not in self.known:
            if name in self.signs:
                raise UnsupportedOp(f"{reading} reads {name}, a comparison, which jumps; leave it out of the model")
            if name not in self.stored:
                raise UnsupportedOp(f"{reading} reads {name}, which no earlier node makes or which is a second output "
                                    "without a translation; export the model in evaluation mode")
            array = _array(self.stored[name])
            self.known[name] = Const(name, array, array)
        return self.known[name]

    def translate(self, node: onnx.NodeProto) -> None:
        name = node.name or node.output[0]
        attributes = {a.name: _attribute(a) for a in node.attribute}
        signs = [self.signs[i] for i in node.input if i in self.signs]
        inputs = [None if not i or (signs and i in self.signs) else self.look_up(i, f"node {name} ({node.op_type})")
                  for i in node.input]
        call = Call(node.op_type, name, self.opset, inputs, attributes, len(node.output))
        if node.domain not in ("", "ai.onnx"):
            call.refuse(f"belongs to the operator set {node.domain}", "export the model with standard operators")
        self._check_form(node, call)
        if not self.whole.isdisjoint(node.input):
            quantised.check_whole(call)
        if call.op in quantised.MAKE_WHOLE or (call.op in quantised.KEEP_WHOLE and not
                                               self.whole.isdisjoint(node.input)):
            self.whole.update(node.output)
        if signs or (call.op in COMPARISONS and any(isinstance(i, Value) for i in inputs)):
            found = follow(self.reader, call, signs[0]) if signs else compared(call)
            if isinstance(found, Sign):
                self.signs[node.output[0]] = found
            else:
                self.known[node.output[0]] = found
        else:
            self.known.update(zip(node.output, self._results(node, call), strict=False))

    def _check_form(self, node: onnx.NodeProto, call: Call) -> None:
        """Refuses what the operator of this opset does not have; an older or newer one might mean something else."""
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opset, "")
        except onnx.defs.SchemaError:
            call.refuse(f"is no operator of opset {self.opset}", "export the model with another opset")
        kinds = {name: str(attribute.type).rpartition(".")[2] for name, attribute in schema.attributes.items()}
        seen = [a.name for a in node.attribute]
        surplus = [a.name for a in node.attribute
                   if kinds.get(a.name) != onnx.AttributeProto.AttributeType.Name(a.type) or seen.count(a.name) > 1]
        if surplus or schema.deprecated or len(node.input) > schema.max_input:
            what = f"the attribute {surplus[0]}" if surplus else "these inputs"
            call.refuse(f"has {what}, which its form in opset {self.opset} lacks", "check the model with onnx.checker")

    def _results(self, node: onnx.NodeProto, call: Call) -> list[Operand]:
        if call.op == "If":
            return self._branch(call)
        constants = [i for i in call.inputs if not isinstance(i, Value)]
        if len(constants) == len(call.inputs):
            return list[Operand](fold(node, call.name, self.opset, constants))
        if call.op in ("Shape", "Size"):
            array, several = moves.shape_of(call, call.value())
            return [Const(node.output[0], array, several if self.reader.symbolic else array)]
        if call.op not in HANDLERS:
            call.refuse("is an operator that no operator family covers")
        try:
            found = HANDLERS[call.op](self.reader, call)
        except (ValueError, IndexError, ArithmeticError) as problem:
            reason = " ".join(str(problem).split())
            call.refuse(f"does not fit its inputs ({reason})", "check the model with onnx.checker")
        left = call.unasked()
        if left:
            call.refuse(f"has the attribute {left[0]}, which is not supported here")
        return [found] if isinstance(found, Value) else list(found)

    def _branch(self, call: Call) -> list[Operand]:
        """The results of the branch that a constant condition takes."""
        branch = call.attribute("then_branch" if bool(call.const(0).array) else "else_branch")
        names = [output.name for output in branch.output]
        self.through(branch, names)
        return [self.look_up(name, f"node {call.name} (If)") for name in names]


def _array(stored: onnx.TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(stored)
    except (ValueError, TypeError, OverflowError, MemoryError):  # of NumPy, for numbers that are not there
        raise InputError(f"tensor {stored.name} does not hold the numbers of its shape {list(stored.dims)[:8]}; "
                         "the model is damaged: fetch or export it again") from None


def _attribute(attribute: onnx.AttributeProto) -> object:
    found = helper.get_attribute_value(attribute)
    return found.decode() if isinstance(found, bytes) else found
