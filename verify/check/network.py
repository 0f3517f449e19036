"""The network of a certificate: nodes in topological order, read strictly from the header and the arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from verify.check.curve_table import curve_of
from verify.check.curves import Curve
from verify.check.numbers import MOST_TERMS, Arithmetic, Rejected
from verify.check.ops import Add, Affine, Conv, Divide, Entrywise, Gather, Linear, Max, Norm, Piecewise, Shape
from verify.check.product import PAIRINGS, Product
from verify.check.strict import integer, items, keys, lengths, rational, shape_of, text

Op = Affine | Piecewise | Max | Curve | Product

Arrays = dict[str, np.ndarray]
LARGEST = 1 << 22  # numbers of all values of a network together, for one box; a 64th of it in rationals


@dataclass(frozen=True)
class Node:
    """One value of the network; `shape` excludes the batch."""

    name: str
    op: Op
    inputs: tuple[str, ...]
    shape: Shape

    @property
    def entries(self) -> int:
        return prod(self.shape)

    @property
    def held(self) -> int:
        """Numbers that are held at once for one box or one row."""
        return max(self.entries, self.op.held)


@dataclass(frozen=True)
class Network:
    """`input` is the name of the one input; the last node is the output."""

    input: str
    input_shape: Shape
    nodes: tuple[Node, ...]

    @property
    def output(self) -> str:
        return self.nodes[-1].name

    def entries(self, name: str) -> int:
        """Number of entries of a value. Rejects a name that there is not."""
        if name == self.input:
            return prod(self.input_shape)
        return next((node.entries for node in self.nodes if node.name == name), 0) or _no_value(name)

    @property
    def held(self) -> int:
        """Numbers that bounds over one box hold, to within a factor: what memory is measured by."""
        return prod(self.input_shape) + sum(node.held for node in self.nodes)

    def fits(self, number: Arithmetic) -> Network:
        """The network itself. Rejects one whose bounds over a single box would take too much memory."""
        most = LARGEST >> 6 if number.exact else LARGEST
        if self.held > most:
            raise Rejected(f"the values of the network take {self.held} numbers together, more than {most}")
        return self

    def before(self, name: str) -> tuple[Node, ...]:
        """The nodes up to this value, in topological order; none for the input."""
        for k, node in enumerate(self.nodes):
            if node.name == name:
                return self.nodes[: k + 1]
        return () if name == self.input else _no_value(name)


def _no_value(name: str) -> Any:
    raise Rejected(f"the network has no value {name!r}")


def build(number: Arithmetic, header: Any, arrays: Arrays) -> Network:
    """The network that a header describes. Rejects whatever is not exactly as the format says."""
    fields = keys(header, "network", {"input", "shape", "nodes"})
    shapes = {text(fields["input"], "input"): shape_of(fields["shape"], "input")}
    nodes = []
    for entry in items(fields["nodes"], "nodes"):
        name = text(entry.get("name") if isinstance(entry, dict) else None, "node name")
        if name in shapes:
            raise Rejected(f"two values are named {name!r}")
        inputs = tuple(text(value, "node input") for value in items(entry.get("inputs"), name))
        missing = [value for value in inputs if value not in shapes]
        if missing or not inputs:
            raise Rejected(f"node {name!r} reads {missing[0] if missing else 'nothing'!r}, which no earlier node makes")
        shape = shape_of(entry.get("shape"), name)
        kind = text(entry.get("op"), name)
        if kind not in _READERS:
            raise Rejected(f"node {name!r} is a {kind!r}, which this checker does not know")
        reader, names = _READERS[kind]
        keys(entry, name, {"name", "inputs", "shape", "op", *names})
        op = reader(_Fields(number, arrays, entry, [shapes[value] for value in inputs], shape))
        nodes.append(Node(name, op, inputs, shape))
        shapes[name] = shape
    if not nodes:
        raise Rejected("the network has no nodes")
    return Network(fields["input"], shapes[fields["input"]], tuple(nodes)).fits(number)


@dataclass(frozen=True)
class _Fields:
    """The fields of one node, with its argument shapes and its own."""

    number: Arithmetic
    arrays: Arrays
    entry: dict[str, Any]
    given: list[Shape]
    shape: Shape

    def fail(self, why: str) -> Rejected:
        return Rejected(f"node {self.entry['name']!r} {why}")

    def array(self, field: str, shape: Shape | None = None, integer: bool = False) -> np.ndarray:
        """The array that a field names; of this shape if given, of floats or of integers."""
        name = self.entry[field]
        if not isinstance(name, str) or name not in self.arrays:
            raise self.fail(f"names no array as its {field}")
        values = self.arrays[name]
        if values.dtype.kind != ("i" if integer else "f") or (shape is not None and values.shape != shape):
            raise self.fail(f"has a {field} of type {values.dtype} and shape {values.shape}")
        self.number.finite(f"the {field} of node {self.entry['name']!r}", values)
        return values

    def spread(self, field: str) -> np.ndarray:
        """An array that is broadcast over the node's shape, flat."""
        values = self.array(field)
        try:
            return np.broadcast_to(values, self.shape).reshape(-1)
        except ValueError:
            raise self.fail(f"has a {field} of shape {values.shape}") from None

    def optional(self, field: str, shape: Shape) -> np.ndarray | None:
        return None if self.entry[field] is None else self.array(field, shape)

    def expect(self, shape: Shape) -> None:
        """Rejects another shape of the node, and more than one argument."""
        if shape != self.shape or len(self.given) != 1:
            raise self.fail(f"should have the shape {shape} and one argument")


def _linear(f: _Fields) -> Op:
    weight = f.array("weight")
    if weight.ndim != 2 or not f.given[0] or f.given[0][-1] != weight.shape[1]:
        raise f.fail("multiplies with a weight that does not fit")
    f.expect((*f.given[0][:-1], weight.shape[0]))
    return Linear(f.number, f.shape, weight, f.optional("bias", (weight.shape[0],)))


def _conv(f: _Fields) -> Op:
    weight, given, axes = f.array("weight"), f.given[0], len(f.given[0]) - 1
    stride, padding, dilation = (
        lengths(f.entry[field], f"{field} of a conv", axes, least) for field, least in
        (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    groups, transposed = integer(f.entry["groups"], "groups", 1), f.entry["transposed"]
    if not isinstance(transposed, bool) or weight.ndim != axes + 2 or axes < 1 or len(weight) % groups:
        raise f.fail("has a weight, or groups, that do not fit")
    near, far = (f.shape, given) if transposed else (given, f.shape)
    axes_match = len(far) == len(near)
    sides = list(zip(near[1:], far[1:], weight.shape[2:], stride, padding, dilation, strict=True) if axes_match else ())
    fits = [(n + 2 * q - d * (w - 1) - 1) // s + 1 - m for n, m, w, s, q, d in sides]
    reach = [(m - 1) * s + d * (w - 1) + 1 + 2 * q for _, m, w, s, q, d in sides]
    if prod(reach) > MOST_TERMS:
        raise f.fail("has a kernel, stride or padding that reaches too far")
    # output padding makes the near map of a transposed convolution up to stride - 1 longer, which // forgives
    if not fits or any(fits) or near[0] != weight.shape[1] * groups or far[0] != len(weight) or len(f.given) != 1:
        raise f.fail("has maps that do not fit its kernel")
    bias = f.optional("bias", (f.shape[0],))
    return Conv(f.number, given, f.shape, weight, bias, stride, padding, dilation, groups, transposed)


def _gather(f: _Fields) -> Op:
    index, total = f.array("index", integer=True), sum(map(prod, f.given))
    if index.ndim != 2 or len(index) != prod(f.shape) or index.shape[1] < 1 or index.min() < -1 or index.max() >= total:
        raise f.fail("gathers entries that there are not")
    divisor = f.array("divisor", (len(index),), integer=True)
    if divisor.min() < 1 or divisor.max() > MOST_TERMS:
        raise f.fail("divides by less than 1")
    return Gather(f.number, [prod(shape) for shape in f.given], index, divisor)


def _add(f: _Fields) -> Op:
    signs = items(f.entry["signs"], "signs")
    if len(signs) != len(f.given) or any(shape != f.shape for shape in f.given) or not all(s in (1, -1) for s in signs):
        raise f.fail("adds arguments of other shapes or without signs 1 and -1")
    return Add(signs)


def _scale(f: _Fields) -> Op:
    f.expect(f.given[0])
    return Entrywise(f.number.of(f.spread("factor")))


def _divide(f: _Fields) -> Op:
    f.expect(f.given[0])
    return Divide(f.number, f.spread("divisor"))


def _shift(f: _Fields) -> Op:
    f.expect(f.given[0])
    return Entrywise(f.number.of(np.ones(prod(f.shape))), f.number.of(f.spread("offset")))


def _norm(f: _Fields) -> Op:
    f.expect(f.given[0])
    if not f.shape:
        raise f.fail("normalises a value without axes")
    parts = [f.array(field, (f.shape[0],)) for field in ("weight", "bias", "mean", "variance")]
    eps = f.entry["eps"]
    variance = parts[3].astype(np.float64)
    if not isinstance(eps, float) or not 0 <= eps < 1 or not bool(((variance >= 0) & (variance + eps > 0)).all()):
        raise f.fail("normalises by a variance that is not positive")
    return Norm(f.number, [np.repeat(part, prod(f.shape[1:])) for part in parts], eps)


def _piecewise(f: _Fields) -> Op:
    f.expect(f.given[0])
    breakpoints, slopes, anchor = ([rational(v, "piece") for v in items(f.entry[field], "pieces")] for field in
                                   ("breakpoints", "slopes", "anchor"))
    large = any(abs(v) > 2**40 for v in (*breakpoints, *slopes, *anchor))
    if len(anchor) != 2 or not 1 <= len(breakpoints) <= 16 or large:
        raise f.fail("has an anchor that is no point, or too many or too large pieces")
    return Piecewise(breakpoints, slopes, (anchor[0], anchor[1]))


def _max(f: _Fields) -> Op:
    groups = f.array("groups", integer=True)
    if groups.ndim != 2 or len(groups) != prod(f.shape) or groups.shape[1] < 1 or len(f.given) != 1:
        raise f.fail("has groups that do not fit")
    if groups.min() < 0 or groups.max() >= prod(f.given[0]):
        raise f.fail("takes the maximum of entries that there are not")
    return Max(groups)


def _curve(f: _Fields) -> Op:
    f.expect(f.given[0])
    parameters = [rational(value, "a parameter") for value in items(f.entry["parameters"], "parameters")]
    return curve_of(text(f.entry["function"], "a function"), parameters)


def _product(f: _Fields) -> Op:
    pairing = text(f.entry["pairing"], "a pairing")
    if pairing not in PAIRINGS or len(f.given) != 2:
        raise f.fail("multiplies in no known way, or another number of arguments than two")
    left, right = f.given
    if pairing == "matrix":
        fits = len(left) > 1 and len(right) == len(left) and left[:-2] == right[:-2] and left[-1] == right[-2]
        fits = fits and f.shape == (*left[:-1], right[-1])
    else:
        fits = left == right == f.shape
    if not fits:
        raise f.fail("multiplies arguments whose shapes do not fit")
    return Product(left, right, pairing == "matrix")


_READERS: dict[str, tuple[Callable[[_Fields], Op], set[str]]] = {
    "linear": (_linear, {"weight", "bias"}),
    "conv": (_conv, {"weight", "bias", "stride", "padding", "dilation", "groups", "transposed"}),
    "gather": (_gather, {"index", "divisor"}),
    "add": (_add, {"signs"}),
    "scale": (_scale, {"factor"}),
    "divide": (_divide, {"divisor"}),
    "shift": (_shift, {"offset"}),
    "norm": (_norm, {"weight", "bias", "mean", "variance", "eps"}),
    "piecewise": (_piecewise, {"breakpoints", "slopes", "anchor"}),
    "max": (_max, {"groups"}),
    "curve": (_curve, {"function", "parameters"}),
    "product": (_product, {"pairing"}),
}
