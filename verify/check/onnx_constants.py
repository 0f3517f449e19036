"""ONNX operators on constants alone: those whose results are exact, or rounded once as IEEE says.

What one runtime may round otherwise than another, such as a sum of several products, is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod

import numpy as np

from verify.check.onnx_graph import MOST_ENTRIES, WHOLE, Call

FLOATS = {1: np.dtype(np.float32), 11: np.dtype(np.float64)}
_CASTS = {**FLOATS, 6: np.dtype(np.int32), 7: np.dtype(np.int64)}


def _plain(call: Call) -> np.ndarray:
    """A constant, as it is or in another type."""
    if call.op == "Constant":
        whole = call.listed("value_ints")
        return call.tensor("value") if whole is None else np.array(whole, np.int64)
    if call.op == "Identity":
        return call.const(0)
    kind = _CASTS.get(call.integer("to", 0))
    found = call.const(0)
    if kind is None or (kind.kind == "i" and found.dtype.kind == "f"):
        call.refuse("casts a constant to a type that is not read")
    with np.errstate(all="ignore"):
        return found.astype(kind)


def _dequantized(call: Call) -> np.ndarray:
    """(x - zero point) scale of whole numbers, each a float32 number: the difference is exact, the product is rounded
    once, as the operator's type says. One scale and zero point for all, or one for each place along an axis."""
    x, scale = call.const(0), call.const(1)
    zero = call.const(2) if call.has(2) else np.zeros(scale.shape, x.dtype)
    axis = call.axis(call.integer("axis", 1), max(x.ndim, 2)) if call.opset >= 13 else 0
    if x.dtype.kind not in "iu" or zero.dtype != x.dtype or scale.dtype != np.float32 or zero.shape != scale.shape:
        call.refuse(f"has numbers of {x.dtype} with zero points of {zero.dtype} and scales of {scale.dtype}")
    if scale.size != 1:
        if call.opset < 13 or scale.ndim != 1 or x.shape[axis : axis + 1] != scale.shape:
            call.refuse(f"has scales of shape {scale.shape} for numbers of shape {x.shape}")
        along = [-1 if i == axis else 1 for i in range(x.ndim)]
        scale, zero = scale.reshape(along), zero.reshape(along)
    else:
        scale, zero = scale.reshape(()), zero.reshape(())
    whole = x.astype(np.int64) - zero.astype(np.int64)
    if np.abs(whole).max(initial=0) > 1 << 24:
        call.refuse("has whole numbers that float32 does not hold")
    with np.errstate(all="ignore"):
        return whole.astype(np.float32) * scale


def _arithmetic(call: Call) -> np.ndarray:
    """Of two tensors of one type; whole numbers are divided where nothing is left over."""
    x, y = call.const(0), call.const(1)
    whole = x.dtype in WHOLE
    if len(call.inputs) != 2 or x.dtype != y.dtype or not (whole or x.dtype.kind == "f"):
        call.refuse(f"joins constants of {x.dtype} and {y.dtype}")
    _spend(call, np.broadcast_shapes(x.shape, y.shape))
    if whole and max(np.abs(part.astype(float)).max(initial=0) for part in (x, y)) > 2**20:
        call.refuse("computes with whole numbers beyond 2^20")
    if call.op == "Mod":
        if not whole or not y.all() or call.integer("fmod", 0):
            call.refuse("takes another rest than that of whole numbers, with the sign of the divisor")
        return x % y
    if whole and call.op == "Div":
        if not y.all() or (x % np.where(y == 0, 1, y)).any():
            call.refuse("divides whole numbers with a remainder")
        return x // y
    with np.errstate(all="ignore"):
        return {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[call.op](x, y)


def _power(call: Call) -> np.ndarray:
    """With one exponent for all, where a power of the numbers is a number of their type."""
    x, exponent = call.const(0), call.const(1)
    if x.dtype.kind != "f" or exponent.size != 1 or exponent.item() not in (0.5, 1, 2):
        call.refuse("raises constants to another power than 1/2, 1 or 2")
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        found = {0.5: np.sqrt(wide), 1: wide, 2: wide * wide}[float(exponent.item())].astype(x.dtype)
    for value, power in zip(x.reshape(-1).tolist(), found.reshape(-1).tolist(), strict=True):
        if not (np.isfinite(value) and np.isfinite(power)) or _squares(call, value, power):
            call.refuse("has powers that its type does not hold")
    return np.broadcast_to(found, np.broadcast_shapes(found.shape, exponent.shape))


def _squares(call: Call, x: float, power: float) -> bool:
    """Whether a power of x is another number."""
    exponent = float(call.const(1).item())
    first, second = (power, x) if exponent == 0.5 else (x, power)
    return Fraction(first) ** (1 if exponent == 1 else 2) != Fraction(second)


def _filled(call: Call) -> np.ndarray:
    shape = tuple(call.integers(0) or ())
    value = call.tensor("value") if call.names("value") else np.zeros(1, np.float32)
    if value.size != 1 or min(shape, default=0) < 0:
        call.refuse(f"has the shape {shape[:8]} and {value.size} values")
    _spend(call, shape)
    return np.full(shape, value.reshape(()))


def _where(call: Call) -> np.ndarray:
    condition, x, y = (call.const(place) for place in range(3))
    if condition.dtype != np.bool_ or x.dtype != y.dtype:
        call.refuse(f"chooses by {condition.dtype} between {x.dtype} and {y.dtype}")
    _spend(call, np.broadcast_shapes(condition.shape, x.shape, y.shape))
    return np.where(condition, x, y)


def _equal(call: Call) -> np.ndarray:
    x, y = call.const(0), call.const(1)
    if x.dtype != y.dtype or x.dtype not in WHOLE:
        call.refuse(f"compares {x.dtype} with {y.dtype}")
    _spend(call, np.broadcast_shapes(x.shape, y.shape))
    return x == y


def _negated(call: Call) -> np.ndarray:
    x = call.const(0)
    return -x if x.dtype.kind == "f" or x.dtype in WHOLE else call.refuse(f"negates {x.dtype}")


def _spend(call: Call, shape: tuple[int, ...]) -> None:
    if prod(shape) > MOST_ENTRIES:
        call.refuse(f"makes a constant of {prod(shape)} entries")


FOLDS: dict[str, Callable[[Call], np.ndarray]] = {
    **dict.fromkeys(("Constant", "Cast", "Identity"), _plain), "DequantizeLinear": _dequantized,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod"), _arithmetic), "Pow": _power, "ConstantOfShape": _filled,
    "Where": _where, "Equal": _equal, "Neg": _negated,
}
