"""Values that are rounded to whole numbers and cut off at the ends of a type, as curves that jump, and the operators
that compute with whole numbers.

A whole number is held as the float that equals it. Products and sums of whole numbers are then exact, as those of a
file's integers are, as long as they stay below what floats hold; what may go beyond is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from verify.ir.onnx_reader.elementwise import entries
from verify.ir.onnx_reader.linear import conv
from verify.ir.onnx_reader.products import matmul
from verify.ir.onnx_reader.reader import NUMPY, Call, Operand, Reader, handles
from verify.ir.onnx_reader.values import Const, Value
from verify.ops import Clip, RoundToEven

KINDS = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}  # by ONNX's numbers of types
MAKE_WHOLE = {"QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
READ_WHOLE = {"DequantizeLinear", "Cast", *MAKE_WHOLE} - {"QuantizeLinear"}
KEEP_WHOLE = {"Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Relu", "Reshape", "Slice", "Split",
              "Squeeze", "Tile", "Transpose", "Unsqueeze"}
FURTHEST = 255.0  # a byte less the zero point of its type, at most


def check_whole(c: Call) -> None:
    """Raises UnsupportedOp where an operator reads whole numbers and does otherwise with them than with floats, as a
    division of integers, or a sum beyond their type."""
    if c.op not in READ_WHOLE | KEEP_WHOLE:
        c.refuse("computes with values that are whole numbers in a type of integers",
                 "put a DequantizeLinear or a Cast to floats before it")


@handles("QuantizeLinear", "DequantizeLinear")
def quantise(r: Reader, c: Call) -> Value:
    """round(x / scale) + zero point, cut off; or (x - zero point) scale."""
    x = c.value()
    scale, zero = _along(c, x, c.const(1)), _along(c, x, c.const(2)) if c.has(2) else None
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
    if not (scale.array > 0).all():
        c.refuse("rounds by a scale that is not positive", "use another scale")
    return _rounded(r, c, r.divide(c, x, factor, name), whole, offset)


def _rounded(r: Reader, c: Call, x: Value, whole: type[np.integer], offset: np.ndarray | None) -> Value:
    """round(x) + offset, cut off at the ends of a type of whole numbers."""
    if whole not in KINDS.values():
        c.refuse("rounds to a type other than 8 or 16 bits", "use another zero point")
    rounded = r.like(c, RoundToEven(), x)
    moved = rounded if offset is None else r.shift(c, rounded, offset, f"{c.name}.zero")
    ends = np.iinfo(np.dtype(whole))
    return r.like(c, Clip(Fraction(int(ends.min)), Fraction(int(ends.max))), moved)


@handles("ConvInteger", "QLinearConv")
def convolve(r: Reader, c: Call) -> Value:
    """A convolution of x - zero point with w - zero point, padded with the zero point of x; see `_scaled`."""
    whole = c.op == "ConvInteger"
    x, weight = c.value(), c.const(1 if whole else 3)
    zeros = (2, 3) if whole else (2, 5)
    kept = _less(r, c, weight, zeros[1], (-1, *[1] * (len(weight.shape) - 1)))
    assert isinstance(kept, Const)
    bias = [c.const(8)] if not whole and c.has(8) else []
    _check_sums(r, c, kept.array.reshape(len(kept.array), -1), bias)
    attributes = {name: c.attribute(name) for name in ("auto_pad", "dilations", "group", "kernel_shape", "pads",
                                                       "strides")}
    given = {name: value for name, value in attributes.items() if value is not None}
    parts = [Const(b.name, array, array) for b in bias for array in [b.array.astype(NUMPY[r.builder.dtype])]]
    made = conv(r, Call("Conv", c.name, c.opset, [_less(r, c, x, zeros[0], ()), kept, *parts], given, 1))
    assert isinstance(made, Value)
    spatial = (-1, *[1] * (made.rank - 2))
    return made if whole else _scaled(r, c, made, (1, 4, 6), 7, spatial)


@handles("MatMulInteger", "QLinearMatMul")
def multiply(r: Reader, c: Call) -> Value:
    """The product of a - zero point with b - zero point; see `_scaled`."""
    whole = c.op == "MatMulInteger"
    places, zeros = ((0, 1), (2, 3)) if whole else ((0, 3), (2, 5))
    factors = [_less(r, c, c.operand(place), zero, shape)
               for place, zero, shape in zip(places, zeros, ((-1, 1), (-1,)), strict=True)]
    inner = factors[0].shape[-1] if factors[0].shape else 0
    for k, factor in enumerate(factors):
        if isinstance(factor, Const):
            _check_sums(r, c, np.moveaxis(factor.array, -1 if k == 0 or factor.array.ndim == 1 else -2, -1), ())
    if not any(isinstance(factor, Const) for factor in factors):
        _check_sums(r, c, np.full((1, inner), FURTHEST), ())
    made = matmul(r, Call("MatMul", c.name, c.opset, factors, {}, 1))
    assert isinstance(made, Value)
    return made if whole else _scaled(r, c, made, (1, 4, 6), 7, (-1,))


def _less(r: Reader, c: Call, x: Operand, place: int, shape: Sequence[int]) -> Operand:
    """An operand of bytes less the zero point at this place, which has one entry, or so many along one axis of a
    constant."""
    zero = c.const(place).array.astype(np.int64) if c.has(place) else np.zeros((), np.int64)
    kind = NUMPY[r.builder.dtype]
    if isinstance(x, Value):
        if zero.size != 1:
            c.refuse("has a zero point for each row of a tensor that varies", "use one zero point")
        return r.shift(c, x, -zero.reshape(()).astype(kind), f"{c.name}.zero{place}")
    if x.array.dtype not in (np.uint8, np.int8) or x.depends_on_batch:
        c.refuse(f"reads {x.name}, which is no constant of bytes", "store it as whole numbers of 8 bits")
    array = (x.array.astype(np.int64) - (zero.reshape(shape) if zero.size > 1 else zero.reshape(()))).astype(kind)
    return Const(x.name, array, array)


def _check_sums(r: Reader, c: Call, weight: np.ndarray, bias: Sequence[Const]) -> None:
    """Refuses sums of bytes times rows of weights that may go beyond the whole numbers that floats hold."""
    sums = FURTHEST * np.abs(weight.astype(np.float64)).sum(-1)
    largest = sums.max(initial=0.0) + max((float(np.abs(b.array).max(initial=0)) for b in bias), default=0.0)
    limit = 2.0 ** (np.finfo(NUMPY[r.builder.dtype]).nmant + 1)
    if largest > limit:
        c.refuse(f"may sum up to {largest:.0f}, beyond {limit:.0f}, up to which floats hold all whole numbers",
                 "export it with QuantizeLinear and DequantizeLinear around operators of floats")


def _scaled(r: Reader, c: Call, x: Value, scales: Sequence[int], zero: int, shape: Sequence[int]) -> Value:
    """round(x times first scale times second scale / third scale) + zero point, cut off; the product of the scales is
    one float32, as onnxruntime has it. The second one may have an entry for each channel."""
    first, second, third = (c.const(place).array for place in scales)
    if first.size != 1 or third.size != 1 or c.const(zero).array.size != 1:
        c.refuse("has several scales of its first factor or of its result", "use one scale for each")
    with np.errstate(all="ignore"):
        factor = (first.reshape(()) * second) / third.reshape(())
    if not (np.isfinite(factor) & (factor > 0)).all():
        c.refuse("rounds by a scale that is not positive", "use another scale")
    factor = factor.reshape(shape) if factor.size > 1 else factor.reshape(())
    offset = c.const(zero).array.reshape(())
    scaled = r.scale(c, x, factor, f"{c.name}.scale")
    return _rounded(r, c, scaled, offset.dtype.type, offset.astype(NUMPY[r.builder.dtype]))


@handles("DynamicQuantizeLinear")
def dynamic(r: Reader, c: Call) -> Value:
    c.refuse("takes its scale from the values themselves, so that all of them jump together where the largest moves",
             "quantise by a fixed scale: QuantizeLinear")


def _along(c: Call, x: Value, const: Const) -> Const:
    """A constant with one entry, or with one for each place along the attribute `axis`, which it then broadcasts to."""
    axis = c.axis(c.attribute("axis", 1), x.rank) if len(const.shape) == 1 and const.array.size > 1 else None
    if axis is None:
        return Const(const.name, const.array.reshape(()), const.array.reshape(()))
    wide = const.array.reshape(-1, *[1] * (x.rank - axis - 1))
    return Const(const.name, wide, wide)
