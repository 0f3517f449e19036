"""A second reader of ONNX files, which shares nothing with the first: standard library and NumPy, a listed set of ops.

It gives the network of a certificate in the same form as the certificate does, so that `difference` can tell whether a
certificate speaks of a given file. Where the first axis is left open it is read with a batch of one sample, which is
what a certificate speaks of.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

import numpy as np

from verify.check.difference import difference
from verify.check.network import build
from verify.check.numbers import Arithmetic, Rejected
from verify.check.onnx_composed import softmax
from verify.check.onnx_constants import FLOATS, FOLDS
from verify.check.onnx_graph import Call, Operand, Shape, Value, Writer, canonical
from verify.check.onnx_layers import HEADS, LAYERS
from verify.check.onnx_moves import MOVES, concatenated, moved
from verify.check.onnx_quantised import MAKES, READS
from verify.check.onnx_recurrent import CELLS, recurrent
from verify.check.protobuf import Message, Unreadable, array_of, parsed

__all__ = ["Unreadable", "difference", "read"]

LARGEST = 1 << 29  # bytes of a file, unpacked
OPSETS = range(8, 24)
INPUT = "input"  # nodes begin with a number


def read(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray], str]:
    """The header and the arrays of the network in an ONNX file, gzipped or not, up to a last node over all outputs that
    is one of HEADS; and the operator of this node, or "".

    Raises Unreadable, naming the node, for whatever is not in the list of operators or beyond the checker's limits, and
    for what is no ONNX model.
    """
    graph, opset = _opened(data)
    stored = _named(graph.get("initializer", ()), "initialiser")
    source, output = _ends(graph, stored)
    kind, shape, symbolic = _input(source)
    walk = _Walk(Writer(kind, symbolic), opset, stored, {source["name"]: Value(INPUT, shape)})
    for node in _needed(graph.get("node", ()), output):
        walk.translate(node)
    if output in walk.whole:
        raise Unreadable(f"the output {output!r:.200} is of whole numbers, which are read by a {READS} alone")
    head = walk.heads.pop(output, None)
    found = walk.look_up(output, "the output")
    if not isinstance(found, Value) or found.name == INPUT:
        raise Unreadable(f"the output {output!r:.200} does not come of the input by any node that computes")
    nodes, arrays = _kept(walk.writer, found.name)
    header = {"input": INPUT, "shape": list(canonical(shape)), "nodes": nodes}
    try:
        build(Arithmetic(), header, arrays)  # what a certificate may not state is no network to compare with either
    except Rejected as why:
        raise Unreadable(str(why)) from None
    return header, arrays, head.op if head else ""


def _opened(data: bytes) -> tuple[Message, int]:
    """The graph and the version of its operators."""
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(LARGEST + 1)
        except (OSError, EOFError, zlib.error):
            raise Unreadable("the file is no whole gzip file") from None
    if len(data) > LARGEST:
        raise Unreadable(f"the file has more than {LARGEST} bytes")
    model = parsed(data)
    versions = [o.get("version", 0) for o in model.get("opset_import", ()) if o.get("domain", "") in ("", "ai.onnx")]
    if "graph" not in model or len(versions) != 1 or versions[0] not in OPSETS:
        raise Unreadable(f"the file holds no graph, or one of opset {versions or 'unknown'} rather than 8 to 23")
    return model["graph"], versions[0]


def _named(messages: Any, what: str) -> dict[str, Message]:
    found = {message.get("name", ""): message for message in messages}
    if len(found) != len(messages) or "" in found:
        raise Unreadable(f"two things share a name, or one has none, where each {what} needs its own")
    return found


def _ends(graph: Message, stored: dict[str, Message]) -> tuple[Message, str]:
    """The one input that is no initialiser, and the name of the one output."""
    inputs = [i for name, i in _named(graph.get("input", ()), "input").items() if name not in stored]
    outputs = list(_named(graph.get("output", ()), "output"))
    if len(inputs) != 1 or len(outputs) != 1:
        raise Unreadable(f"the model has {len(inputs)} inputs and {len(outputs)} outputs, where one of each is read")
    return inputs[0], outputs[0]


def _input(source: Message) -> tuple[np.dtype, Shape, bool]:
    """The input's type and shape, and whether its first length is open; that one is taken as 1."""
    tensor = source.get("type", {}).get("tensor_type", {})
    lengths = [d.get("value", 0) for d in tensor.get("shape", {}).get("dim", ())]
    kind = FLOATS.get(tensor.get("elem_type", 0))
    symbolic = bool(lengths) and lengths[0] < 1
    shape = (1, *lengths[1:]) if symbolic else tuple(lengths)
    if kind is None or min(shape, default=0) < 1 or len(shape) > 8 or np.prod(shape, dtype=float) > 1 << 24:
        number = tensor.get("elem_type", 0)
        raise Unreadable(f"the input has the type number {number} and the shape {lengths[:9]}, which is not read")
    return kind, shape, symbolic and len(shape) > 1


def _needed(nodes: Any, output: str) -> list[Message]:
    """The nodes that the output depends on, in the order of the file, which is topological."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.get("output", ())):
            kept.append(node)
            wanted.update(node.get("input", ()))
    return kept[::-1]


def _kept(writer: Writer, output: str) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """The canonical nodes that the output needs, and their arrays."""
    needed, nodes = {output}, []
    for node in reversed(writer.nodes):
        if node["name"] in needed:
            nodes.append(node)
            needed.update(node["inputs"])
    used = {value for node in nodes for value in node.values() if isinstance(value, str)}
    return nodes[::-1], {name: array for name, array in writer.arrays.items() if name in used}


class _Walk:
    """Node by node from ONNX names to operands; `heads` are softmaxes over all entries, known by their arguments until
    another node reads them."""

    def __init__(self, writer: Writer, opset: int, stored: dict[str, Message], known: dict[str, Operand]):
        self.writer, self.opset, self.stored, self.known = writer, opset, stored, known
        self.heads: dict[str, Call] = {}
        self.whole: set[str] = set()  # values that are of a type of whole numbers

    def look_up(self, name: str, reader: str) -> Operand:
        """An initialiser becomes an array when it is first read, and a head the nodes that compute it."""
        if name in self.heads:
            head = self.heads.pop(name)
            self.known[name] = softmax(self.writer, head, head.value(), 0, head.value().rank)
        if name not in self.known:
            if name not in self.stored:
                raise Unreadable(f"{reader} reads {name!r:.200}, which no earlier node makes")
            self.known[name] = array_of(self.stored[name], f"initialiser {name!r:.200}")
        return self.known[name]

    def translate(self, node: Message) -> None:
        outputs, op = node.get("output", []), node.get("op_type", "")
        name = node.get("name") or next(filter(None, outputs), "")
        inputs = [self.look_up(i, f"node {name!r:.200} ({op:.50})") if i else None for i in node.get("input", ())]
        if any(i in self.whole for i in node.get("input", ())) != (op == READS) and not all(
                isinstance(operand, np.ndarray | None) for operand in inputs):
            raise Unreadable(f"node {name!r:.200} ({op:.50}) reads whole numbers, or floats, as the other")
        attributes = {n: _attribute(a, name) for n, a in _named(node.get("attribute", ()), "attribute").items()}
        call = Call(f"{op:.50}", name, self.opset, inputs, attributes, len(outputs))
        if node.get("domain", "") not in ("", "ai.onnx") or node.get("overload"):
            call.refuse("is no standard operator")
        try:
            found = self._results(call)
        except (ValueError, IndexError, OverflowError, TypeError) as problem:  # of NumPy: what does not fit
            call.refuse(f"does not fit its inputs ({' '.join(str(problem).split()):.200})")
        if call.unasked():
            call.refuse(f"has the attribute {call.unasked()[0]!r:.200}, which is not read")
        for output, value in zip(outputs, found, strict=False):
            if output in self.known or output in self.stored:
                call.refuse(f"makes {output!r:.200}, which there is already")
            self.known[output] = value
            if call.op == MAKES:
                self.whole.add(output)
            if call.op in HEADS and value == call.inputs[0]:
                self.heads[output] = call

    def _results(self, call: Call) -> list[Operand]:
        varies = any(isinstance(operand, Value) for operand in call.inputs)
        if call.op in MOVES:
            return moved(self.writer, call)
        if call.op == "Concat":
            return [concatenated(self.writer, call)]
        if call.op == "Shape":
            start, end = call.integer("start", 0), call.integer("end", 1 << 30)
            return [np.array(call.operand(0).shape[start:end], np.int64)]
        if call.op in LAYERS and varies:
            return [LAYERS[call.op](self.writer, call)]
        if call.op in CELLS and varies:
            return list(recurrent(self.writer, call))
        if call.op in FOLDS and not varies:
            return [FOLDS[call.op](call)]
        call.refuse("is not among the operators that this reader reads" if varies else "works on constants alone")


def _attribute(attribute: Message, node: str) -> Any:
    """Its value; the fields of a kind that is not read are kept as None, and asking for them fails."""
    keys = [key for key in attribute if key not in ("name", "type", "doc")]
    if len(keys) > 1 or "reference" in keys:
        raise Unreadable(f"node {node!r:.200} has an attribute {attribute['name']!r:.200} of several kinds")
    kind = attribute.get("type", 0)
    key = keys[0] if keys else {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints", 8: "strings"}.get(kind, "")
    if kind and kind != {"f": 1, "i": 2, "s": 3, "t": 4, "floats": 6, "ints": 7, "strings": 8}.get(key, kind):
        raise Unreadable(f"node {node!r:.200} has an attribute {attribute['name']!r:.200} of two types")
    if key == "t":
        return array_of(attribute["t"], f"attribute {attribute['name']!r:.200} of node {node!r:.200}")
    absent = {"f": 0.0, "i": 0, "s": "", "floats": [], "ints": [], "strings": []}
    return attribute.get(key, absent.get(key))
