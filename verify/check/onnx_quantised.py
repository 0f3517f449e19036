"""ONNX's rounding of values to whole numbers and back: curves that jump, and cut off at the ends of a type.

A whole number is held as the float that equals it, and read back by DequantizeLinear alone: what computes with integers
does otherwise than with floats.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verify.check.onnx_graph import Call, Value, Writer

KINDS = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}  # by ONNX's numbers of types
MAKES, READS = "QuantizeLinear", "DequantizeLinear"


def quantised(w: Writer, c: Call) -> Value:
    """round(x / scale) + zero point, halves to even, cut off."""
    x, scale, zero = _facts(w, c)
    wanted = KINDS.get(c.integer("output_dtype", 0), np.uint8)
    whole = np.dtype(wanted if zero is None else zero.dtype)
    if whole.type not in KINDS.values() or not (scale > 0).all():
        c.refuse(f"rounds to {whole}, or by a scale that is not positive")
    rounded = w.emit(c, "curve", [w.divide(c, x, scale)], x.shape, function="round", parameters=[])
    moved = rounded if zero is None else w.shift(c, rounded, zero.astype(w.kind))
    low, high = (Fraction(int(end)) for end in (np.iinfo(whole).min, np.iinfo(whole).max))
    return w.piecewise(c, moved, [low, high], [0, 1, 0], (low, low))


def dequantised(w: Writer, c: Call) -> Value:
    """(x - zero point) scale."""
    x, scale, zero = _facts(w, c)
    return w.scale(c, x if zero is None else w.shift(c, x, -zero.astype(w.kind)), scale)


def _facts(w: Writer, c: Call) -> tuple[Value, np.ndarray, np.ndarray | None]:
    """The value, its scale and its zero point; one for all entries, or one for each place along an axis."""
    x, scale = c.value(), w.floats(c, c.const(1))
    zero = c.const(2) if c.has(2) else None
    if c.integer("saturate", 1) != 1 or c.integer("block_size", 0) or c.integer("precision", 0):
        c.refuse("rounds in blocks, or to another type than whole numbers")
    if zero is not None and (zero.dtype.kind not in "iu" or zero.shape != scale.shape):
        c.refuse(f"has a scale of shape {scale.shape} and zero points of {zero.dtype} of shape {zero.shape}")
    if scale.size == 1:
        return x, scale.reshape(()), None if zero is None else zero.reshape(())
    axis = c.axis(c.integer("axis", 1), x.rank)
    if c.opset < 13 or scale.ndim != 1 or scale.shape != x.shape[axis : axis + 1]:
        c.refuse(f"has a scale of shape {scale.shape} for values of shape {x.shape}")
    along = [-1 if i == axis else 1 for i in range(x.rank)]
    return x, scale.reshape(along), None if zero is None else zero.reshape(along)
