"""Layers with weights: Gemm, Conv, ConvTranspose, BatchNormalization."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np

from verify.ir.onnx_reader.elementwise import entries
from verify.ir.onnx_reader.pairs import varying_matmul
from verify.ir.onnx_reader.reader import LARGEST, NUMPY, Call, Reader, handles
from verify.ir.onnx_reader.values import Const, Value
from verify.ir.onnx_reader.windows import pad_lengths, spatial_attribute
from verify.ops import BatchNorm, Conv, ConvTranspose, Linear

Bias = tuple[np.ndarray, str]


def times(r: Reader, c: Call, x: Value, weight: np.ndarray, name: str, bias: Bias | None = None) -> Value:
    """x @ weight + bias over the last axis of x; weight (k, n) or (k,), bias (n,)."""
    if x.rank == 0 or x.batch == x.rank - 1:
        c.refuse_batch()
    if weight.shape[0] != x.shape[-1]:
        c.refuse(f"multiplies rows of {x.shape[-1]} entries with a matrix of {weight.shape[0]} rows")
    shape = (*x.shape[:-1], weight.size // len(weight))
    r.limit(c, shape)
    parameters = [r.parameter(c, name, weight.reshape(len(weight), -1).T)]
    if bias is not None:
        parameters.append(r.parameter(c, bias[1], bias[0]))
    out = r.emit(c, Linear(), (x,), parameters, shape=shape, batch=x.batch)
    return out if weight.ndim == 2 else r.lay(c, out, x.shape[:-1], x.batch)


def swapped(r: Reader, c: Call, x: Value) -> Value:
    """With its last two axes exchanged."""
    return r.transpose(c, x, (*range(x.rank - 2), x.rank - 1, x.rank - 2))


@handles("Gemm")
def gemm(r: Reader, c: Call) -> Value:
    """alpha A B + beta C with one of A and B constant; a bias of one row joins the matrix product if alpha is 1."""
    kind = NUMPY[r.builder.dtype]
    if isinstance(c.operand(0), Value) and isinstance(c.operand(1), Value):
        return _varying_gemm(r, c)
    x, const, right = c.value_and_const()  # where the constant is left, the whole product is transposed
    flips = [bool(c.attribute(name, 0)) for name in ("transA", "transB")]
    alpha, beta = (np.array(c.attribute(name, 1.0), kind) for name in ("alpha", "beta"))
    weight = r.constant(c, const)
    if x.rank != 2 or weight.ndim != 2:
        c.refuse("needs two matrices")
    x = swapped(r, c, x) if flips[0 if right else 1] == right else x
    weight = weight if flips[1 if right else 0] != right else weight.T
    offset = c.const(2) if c.has(2) else Const("", np.zeros(()), np.zeros(()))
    added = _parts(c, beta, offset)
    if right and alpha == 1 and len(added) == 1 and offset.shape in (weight.shape[1:], (1, *weight.shape[1:])):
        return times(r, c, x, weight, const.name, (added[0].reshape(-1), offset.name))
    out = times(r, c, x, weight, const.name)
    out = out if right else swapped(r, c, out)
    if alpha != 1:
        out = r.scale(c, out, alpha, f"{c.name}.alpha")
    if np.broadcast_shapes(offset.shape, out.shape) != out.shape:
        c.refuse("adds a matrix that is larger than its product")
    for part in added:
        out = r.shift(c, out, entries(r, c, Const(offset.name, part, part), out.shape, out.batch), offset.name)
    return out


def _varying_gemm(r: Reader, c: Call) -> Value:
    """alpha A B + beta C of varying matrices A and B, C constant."""
    kind = NUMPY[r.builder.dtype]
    factors = [c.value(i) for i in range(2)]
    flips = [bool(c.attribute(name, 0)) for name in ("transA", "transB")]
    a, b = (swapped(r, c, x) if flip else x for x, flip in zip(factors, flips, strict=True))
    alpha, beta = (np.array(c.attribute(name, 1.0), kind) for name in ("alpha", "beta"))
    out = varying_matmul(r, c, a, b)
    out = out if alpha == 1 else r.scale(c, out, alpha, f"{c.name}.alpha")
    for part in _parts(c, beta, c.const(2)) if c.has(2) else ():
        out = r.shift(c, out, entries(r, c, Const(c.const(2).name, part, part), out.shape, out.batch), c.const(2).name)
    return out


def _parts(c: Call, factor: np.ndarray, const: Const) -> list[np.ndarray]:
    """Arrays of the factor's type whose exact sum is factor times a constant: the rounded product and what it lacks."""
    if factor == 1 or not np.isfinite(const.array).all():
        return [const.array]
    left = np.array([Fraction(float(factor)) * Fraction(v) for v in const.array.ravel().tolist()], object)
    parts: list[np.ndarray] = []
    while left.any() or not parts:
        part = left.astype(np.float64).astype(factor.dtype)
        if len(parts) == 2 or not np.isfinite(part).all():
            c.refuse(f"multiplies {const.name} by beta {float(factor)}, beyond the range of floats",
                     "store the product and leave out beta")
        left = left - np.array([Fraction(v) for v in part.tolist()], object)
        parts.append(part.reshape(const.shape))
    return parts


@handles("Conv")
def conv(r: Reader, c: Call) -> Value:
    """Uneven padding is zeros put in front; a node of zero padding before this one joins its own."""
    x, weight = r.sample(c, c.value()), c.const(1)
    spatial = _spatial(c, x, weight)
    kernel = weight.shape[2:]
    stride, dilation = (spatial_attribute(c, name, spatial) for name in ("strides", "dilations"))
    c.attribute("kernel_shape")
    low, high = pad_lengths(c, x.shape[2:], kernel, stride, dilation)
    if x.name in r.padded:
        x, more_low, more_high = r.padded[x.name]
        low, high = low + more_low, high + more_high
    r.limit(c, (len(weight.array), *((x.shape[2:] + low + high) // np.array(stride)).tolist()))
    both = np.minimum(low, high)
    x = pad_zeros(r, c, x, low - both, high - both)
    op = Conv(stride, tuple(int(n) for n in both), dilation, c.attribute("group", 1))
    return r.emit(c, op, (x,), _weights(r, c, weight))


def pad_zeros(r: Reader, c: Call, x: Value, low: np.ndarray, high: np.ndarray) -> Value:
    """Zeros around the spatial axes of (1, channels, *spatial)."""
    widths = [(0, 0), (0, 0), *zip(low, high, strict=True)]
    return r.move(c, x, np.pad(x.positions(), widths, constant_values=-1), x.batch)


@handles("ConvTranspose")
def conv_transpose(r: Reader, c: Call) -> Value:
    """`pads` cut the full output; what is uneven in them is cut off afterwards."""
    x, weight = r.sample(c, c.value()), c.const(1)
    spatial = _spatial(c, x, weight)
    stride, dilation = (spatial_attribute(c, name, spatial) for name in ("strides", "dilations"))
    extra = spatial_attribute(c, "output_padding", spatial, 0)
    c.attribute("kernel_shape")
    reach = np.multiply(dilation, np.subtract(weight.shape[2:], 1)) + 1
    low, high = _cuts(c, x, np.multiply(stride, np.subtract(x.shape[2:], 1)) + reach + extra, stride)
    r.limit(c, (weight.shape[1], *(np.multiply(stride, x.shape[2:]) + reach + extra - low - high).tolist()))
    both = np.minimum(low, high)
    if (both < 0).any():
        c.refuse("has an output that is larger than the transposed convolution")
    op = ConvTranspose(stride, tuple(int(n) for n in both), extra, dilation, c.attribute("group", 1))
    out = r.emit(c, op, (x,), _weights(r, c, weight))
    kept = tuple(slice(int(a), n - int(b)) for n, a, b in zip(out.shape[2:], low - both, high - both, strict=True))
    return r.move(c, out, out.positions()[(slice(None), slice(None), *kept)], out.batch)


def _cuts(c: Call, x: Value, reach: np.ndarray, stride: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """How much of the full output is cut at each end; `reach` is its length with the output padding."""
    mode, wanted = c.attribute("auto_pad", "NOTSET"), c.attribute("output_shape")
    pads = np.array(c.attribute("pads") or [0, 0] * len(stride)).reshape(2, -1)
    if (pads < 0).any() or (pads.any() and mode != "NOTSET") or prod(reach.tolist()) > LARGEST:
        c.refuse(f"has pads {pads.tolist()} with auto_pad {mode}, and reaches {reach.tolist()}",
                 "give its pads as numbers, without auto_pad")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = np.multiply(x.shape[2:], stride)
    if wanted is None:
        return pads[0], pads[1]
    total = reach - np.array(wanted)[-len(stride) :]
    small = total // 2
    return (small, total - small) if mode == "SAME_UPPER" else (total - small, small)


@handles("BatchNormalization")
def batch_normalization(r: Reader, c: Call) -> Value:
    c.attribute("momentum")
    if c.attribute("training_mode", 0) or not c.attribute("spatial", 1) or (c.opset < 14 and c.outputs > 1):
        c.refuse("is in training mode or normalises each place by itself", "export the model in evaluation mode")
    x = r.sample(c, c.value())
    statistics = [c.const(i) for i in range(1, 5)]
    op = BatchNorm(float(np.float32(c.attribute("epsilon", 1e-5))), x.rank - 2)
    return r.like(c, op, x, [r.parameter(c, s.name, s.array) for s in statistics])


def _spatial(c: Call, x: Value, weight: Const) -> int:
    spatial = x.rank - 2
    if spatial not in (1, 2, 3) or len(weight.shape) != x.rank:
        c.refuse("is a convolution over other than 1, 2 or 3 axes")
    return spatial


def _weights(r: Reader, c: Call, weight: Const) -> list[str]:
    parts = [weight, c.const(2)] if c.has(2) else [weight]
    return [r.parameter(c, part.name, part.array) for part in parts]
