"""A comparison with 0 jumps, yet what it picks may not: where(x > 0, x, 0) and x * (x > 0) are ReLUs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.ir.onnx_reader.reader import Call, Operand, Reader
from verify.ir.onnx_reader.values import Const, Value
from verify.ops import ReLU

COMPARISONS = {"Greater": True, "GreaterOrEqual": True, "Less": False, "LessOrEqual": False}  # whether left is larger


@dataclass(frozen=True)
class Sign:
    """Whether a value is above 0, or below; at 0 it may be said to be either, as its users take 0 on both sides."""

    value: Value
    above: bool


def compared(c: Call) -> Sign:
    """The result of a comparison of a varying tensor with zeros."""
    value, const, right = c.value_and_const()
    if const.array.any() or np.broadcast_shapes(const.shape, value.shape) != value.shape:
        c.refuse("compares with something else than 0, so its result jumps")
    return Sign(value, COMPARISONS[c.op] == right)


def follow(r: Reader, c: Call, sign: Sign) -> Sign | Value:
    """What a node makes of a sign, which is None among its inputs."""
    if c.op in ("Cast", "Identity") and c.attribute("to", 1) in (1, 9, 11):
        return sign
    if c.op == "Not":
        return Sign(sign.value, not sign.above)
    if c.op == "Mul":
        return _chosen(r, c, sign, c.operand(0) if c.has(0) else c.operand(1), None)
    if c.op == "Where" and not c.has(0):
        return _chosen(r, c, sign, c.operand(1), c.operand(2))
    c.refuse("reads a comparison, which jumps where both sides are equal")


def _chosen(r: Reader, c: Call, sign: Sign, yes: Operand, no: Operand | None) -> Value:
    """One of two operands, of which one is the compared value and the other 0 (None)."""
    x, shape = sign.value, sign.value.shape
    high, low = (yes, no) if sign.above else (no, yes)
    if high == x and _vanishes(low, shape):
        return r.like(c, ReLU(), x)
    if low == x and _vanishes(high, shape):
        return r.negate(c, r.like(c, ReLU(), r.negate(c, x)))
    c.refuse("picks by a comparison something else than the compared value or 0, and may jump")


def _vanishes(operand: Operand | None, shape: tuple[int, ...]) -> bool:
    if operand is None:
        return True
    zero = isinstance(operand, Const) and not operand.array.any()
    return zero and np.broadcast_shapes(operand.shape, shape) == shape
