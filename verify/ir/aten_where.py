"""ATen operators that choose by a comparison, in terms of the IR.

where(x > t, f(x), g(x)) is continuous and piecewise linear where f and g are affine in each entry and meet at t. Then,
with h = relu(x - t), the smaller of x and t is x - h, and

    where(x > t, f(x), g(x)) = (f(h + t) - f(t)) + g(x - h)

whose first part is f without its offsets, of h. A comparison itself has no value in the IR, since it jumps: it waits
here for the operator that chooses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from verify.ir.aten import Constant, Context, aten
from verify.ir.aten_copy import mix
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_ops import maximum, minimum, relu
from verify.ir.aten_products import multiply
from verify.ir.aten_shapes import beside
from verify.ops import Abs, Add, Entrywise, Scale, Shift, steps
from verify.rationals import exact_array

JUMPS = ("of jumps the IR has sign, floor, ceil, round, heaviside, threshold and hardshrink; write it with these, or "
         "choose with torch.where between values that are equal where it switches")


@dataclass(frozen=True)
class Comparison:
    """Where x > t, or where x < t (`less`), and whether x = t is among that (`closed`), which does not matter where
    values meet there."""

    x: TracedValue
    threshold: Any
    less: bool
    closed: bool

    @property
    def inverse(self) -> Comparison:
        return replace(self, less=not self.less, closed=not self.closed)


@aten("gt.Scalar", "gt.Tensor", "ge.Scalar", "ge.Tensor")
def greater(c: Context, a: Any, b: Any) -> Comparison:
    closed = str(c.node.target).split(".")[1] in ("ge", "lt")  # the latter asks for what it is the inverse of
    if isinstance(a, TracedValue):
        return Comparison(a, b, less=False, closed=closed)
    return Comparison(c.varying(b), a, less=True, closed=closed)


@aten("lt.Scalar", "lt.Tensor", "le.Scalar", "le.Tensor")
def less(c: Context, a: Any, b: Any) -> Comparison:
    return greater(c, a, b).inverse


@aten("logical_not.default", "bitwise_not.default", compares=True)
def negated(c: Context, x: Any) -> Comparison:
    return x.inverse


@aten("where.self", compares=True)
def where(c: Context, condition: Any, a: Any, b: Any) -> Any:
    if isinstance(condition, Comparison):
        above, below = (b, a) if condition.less else (a, b)
        shrunk = _shrunk(c, condition, above, below)
        return shrunk if shrunk is not None else _choose(c, condition.x, condition.threshold, above, below)
    chosen, is_first = c.constant(condition).tensor, isinstance(a, TracedValue)
    like = a if is_first else b
    return mix(c, [a, b], lambda a, b: torch.where(beside(c, like, chosen, a if is_first else b), a, b))


@aten("mul.Tensor", "mul.Scalar", compares=True)
def mul(c: Context, a: Any, b: Any) -> Any:
    """A product, also with a comparison, which is 1 where it holds and else 0."""
    if isinstance(a, Comparison) or isinstance(b, Comparison):
        x, condition = (b, a) if isinstance(a, Comparison) else (a, b)
        if not isinstance(x, TracedValue):
            raise c.refuse(f"has a product of a comparison and a constant, which jumps; {JUMPS}")
        return where(c, condition, x, c.constant(0.0))
    return multiply(c, a, b)


def _shrunk(c: Context, condition: Comparison, above: Any, below: Any) -> TracedValue | None:
    """Hard shrinkage, x where |x| > t and else 0, which jumps; None for anything else."""
    node = c.builder.named.get(condition.x.name)
    if node is None or node.op != Abs() or not isinstance(above, TracedValue) or above.name != node.inputs[0]:
        return None
    if isinstance(below, TracedValue) or isinstance(condition.threshold, TracedValue):
        return None
    zeros, places = c.constant(below).tensor, c.constant(condition.threshold).tensor
    if bool(zeros.any()) or places.numel() != 1 or float(places) <= 0 or condition.less != condition.closed:
        return None
    return c.emit(steps.shrink(c.scalar(float(places)), Fraction(0)), above)


def _choose(c: Context, x: TracedValue, threshold: Any, above: Any, below: Any) -> Any:
    """where(x > threshold, above, below)."""
    if isinstance(threshold, TracedValue):
        if {above, below} != {x, threshold}:
            raise c.refuse("chooses by a comparison of varying tensors between others than these; "
                           "use torch.maximum, or compare one tensor with a constant")
        return maximum(c, x, threshold) if above == x else minimum(c, x, threshold)
    x, at = c.beside(x, threshold)
    up, down = (None if isinstance(branch, Constant) else _chain(c, x, branch) for branch in (above, below))
    start = exact_array(at.tensor.to(c.kind))
    ends = [_value(c, branch, chain, start, x) for branch, chain in ((above, up), (below, down))]
    if not bool(np.all(ends[0] == ends[1])):
        raise c.refuse(f"jumps where its comparison switches; {JUMPS}")
    hinge = relu(c, c.shift(x, at.map(torch.neg)) if bool(at.tensor.any()) else x)
    risen = None if up is None else _again(c, [link for link in up if not isinstance(link[0], Shift)], hinge)
    if down is None:
        return below if risen is None else c.shift(risen, below) if bool(below.tensor.any()) else risen
    rest = _again(c, down, c.emit(Add((1, -1)), x, hinge))
    return rest if risen is None else c.emit(Add((1, 1)), risen, rest)


Chain = list[tuple[Entrywise, str]]  # the op and the parameter of entrywise affine nodes, one after the other


def _chain(c: Context, x: TracedValue, y: Any) -> Chain:
    """The nodes that lead from `x` to `y`."""
    made = {node.name: node for node in c.builder.nodes}
    chain: Chain = []
    name = y.name
    while name != x.name:
        node = made.get(name)
        if node is None or not isinstance(node.op, Entrywise):
            raise c.refuse("chooses between values that are not shown to be affine in each entry of the tensor "
                           f"that is compared; {JUMPS}")
        chain.insert(0, (node.op, node.parameters[0]))
        name = node.inputs[0]
    return chain


def _value(c: Context, branch: Any, chain: Chain | None, start: np.ndarray, x: TracedValue) -> np.ndarray:
    """The exact value of a branch at the threshold, an object array that broadcasts to the shape of `x`."""
    if chain is None:
        return exact_array(c.per_sample(x, branch).tensor.to(c.kind))
    for op, name in chain:
        constant = exact_array(op.constant((c.builder.parameters[name],)))
        start = start + constant if isinstance(op, Shift) else (
            start * constant if isinstance(op, Scale) else start / constant)
    return start


def _again(c: Context, chain: Chain, x: TracedValue) -> TracedValue:
    """The nodes of a chain applied to another value of the same shape."""
    for op, name in chain:
        x = c.emit(op, x, parameters=(name,))
    return x
