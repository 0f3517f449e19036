"""Values that are rounded to whole numbers and cut off at the ends of a type, as curves that jump."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verify.ir.onnx_reader.elementwise import entries
from verify.ir.onnx_reader.reader import NUMPY, Call, Reader, handles
from verify.ir.onnx_reader.values import Const, Value
from verify.ops import Clip, RoundToEven

KINDS = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}  # by ONNX's numbers of types


@handles("QuantizeLinear", "DequantizeLinear")
def quantise(r: Reader, c: Call) -> Value:
    """round(x / scale) + zero point, cut off; or (x - zero point) scale."""
    x = c.value()
    scale, zero = _along(r, c, x, c.const(1)), _along(r, c, x, c.const(2)) if c.has(2) else None
    if c.attribute("saturate", 1) != 1 or c.attribute("block_size", 0) or c.attribute("precision", 0):
        c.refuse("rounds in blocks, or to another type than whole numbers", "quantise by one scale, or one a channel")
    kind = NUMPY[r.builder.dtype]
    offset = None if zero is None else entries(r, c, zero, x.shape, x.batch).astype(kind)
    factor, name = entries(r, c, scale, x.shape, x.batch), scale.name
    if c.op == "DequantizeLinear":
        c.attribute("output_dtype", 0)
        x = x if offset is None else r.shift(c, x, -offset, f"{c.name}.zero")
        return r.scale(c, x, factor, name)
    wanted = KINDS.get(c.attribute("output_dtype", 0), np.uint8)
    whole = wanted if zero is None else zero.array.dtype.type
    if whole not in KINDS.values() or not (scale.array > 0).all():
        c.refuse("rounds to a type other than 8 or 16 bits, or by a scale that is not positive", "use another scale")
    rounded = r.like(c, RoundToEven(), r.divide(c, x, factor, name))
    moved = rounded if offset is None else r.shift(c, rounded, offset, f"{c.name}.zero")
    ends = np.iinfo(whole)
    return r.like(c, Clip(Fraction(int(ends.min)), Fraction(int(ends.max))), moved)


def _along(r: Reader, c: Call, x: Value, const: Const) -> Const:
    """A constant with one entry, or with one for each place along the attribute `axis`, which it then broadcasts to."""
    axis = c.axis(c.attribute("axis", 1), x.rank) if len(const.shape) == 1 and const.array.size > 1 else None
    if axis is None:
        return Const(const.name, const.array.reshape(()), const.array.reshape(()))
    wide = const.array.reshape(-1, *[1] * (x.rank - axis - 1))
    return Const(const.name, wide, wide)
