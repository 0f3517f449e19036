"""ATen operators that compute: arithmetic, layers and activations, in terms of the IR."""

from __future__ import annotations

from fractions import Fraction
from math import inf, isfinite, prod
from typing import Any

import torch

from verify.ir.aten import Constant, Context, Value, aten
from verify.ops import (
    Abs,
    Add,
    BatchNorm,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    HardSigmoid,
    LeakyReLU,
    Linear,
    Max,
    Permute,
    ReLU,
    Sigmoid,
    Tanh,
)


@aten("add.Tensor", "add.Scalar")
def add(c: Context, a: Any, b: Any, alpha: float) -> Value:
    return _combine(c, a, b, 1, alpha)


@aten("sub.Tensor", "sub.Scalar")
def sub(c: Context, a: Any, b: Any, alpha: float) -> Value:
    return _combine(c, a, b, -1, alpha)


def _combine(c: Context, a: Any, b: Any, sign: int, alpha: float) -> Value:
    """a + sign * alpha * b."""
    if not isinstance(b, Value):
        factor = sign * alpha
        return c.shift(a, b if factor == 1 else c.constant(b).map(lambda t: t * factor))
    if not isinstance(a, Value):
        return c.shift(b if sign * alpha == 1 else c.scale(b, sign * alpha), a)
    a, b = c.align(a, b if alpha == 1 else c.scale(b, alpha))
    return c.emit(Add((1, sign)), a, b)


@aten("mul.Tensor", "mul.Scalar")
def mul(c: Context, a: Any, b: Any) -> Value:
    return c.scale(a, b) if isinstance(a, Value) else c.scale(b, a)


@aten("div.Tensor", "div.Scalar")
def div(c: Context, a: Any, b: Any) -> Value:
    divisor = c.constant(b)
    if bool((divisor.tensor == 0).any()):
        raise c.refuse("divides by zero; mend the model")
    kind = c.builder.dtype
    return c.scale(c.varying(a), divisor.map(lambda t: t.double().reciprocal().to(kind)))


@aten("neg.default")
def neg(c: Context, x: Value) -> Value:
    return c.scale(x, -1.0)


@aten("linear.default")
def linear(c: Context, x: Any, weight: Any, bias: Any) -> Value:
    x, weight = c.varying(x), c.constant(weight)
    c.axis(x, -1)
    names = [c.parameter(weight, "weight")]
    offset = None if bias is None else c.constant(bias)
    if offset is not None and offset.tensor.shape == weight.tensor.shape[:1]:
        names.append(c.parameter(offset, "bias"))
        offset = None
    y = c.emit(Linear(), x, parameters=tuple(names))
    return y if offset is None else c.shift(y, offset)


@aten("addmm.default")
def addmm(c: Context, bias: Any, a: Any, b: Any, beta: float, alpha: float) -> Value:
    if isinstance(bias, Constant) and isinstance(a, Value) and beta == alpha == 1:
        return linear(c, a, _transpose(c.constant(b)), bias)
    product = mm(c, a, b)
    product = product if alpha == 1 else c.scale(product, alpha)
    return _combine(c, product, bias, 1, beta)


@aten("mm.default")
def mm(c: Context, a: Any, b: Any) -> Value:
    if isinstance(a, Value):
        return linear(c, a, _transpose(c.constant(b)), None)
    c.axis(b, 0)
    return _from_left(c, a, b)


@aten("bmm.default")
def bmm(c: Context, a: Any, b: Any) -> Value:
    x = a if isinstance(a, Value) else c.varying(b)
    if not x.lead:
        raise c.refuse("multiplies a stack of matrices that is not the batch; multiply each of them by itself")
    if isinstance(a, Value):
        return linear(c, a, _transpose(c.per_sample(a, b)), None)
    return _from_left(c, c.per_sample(x, a), x)


def _from_left(c: Context, matrix: Constant, x: Value) -> Value:
    """matrix @ x for a per-sample matrix x."""
    turned = c.emit(Permute((1, 0)), x)
    product = c.emit(Linear(), turned, parameters=(c.parameter(matrix, "weight"),))
    return c.emit(Permute((1, 0)), product)


def _transpose(matrix: Constant) -> Constant:
    return matrix.transposed or matrix.map(lambda t: t.t())


@aten("convolution.default")
def convolution(
    c: Context, x: Any, weight: Any, bias: Any, stride: list[int], padding: list[int], dilation: list[int],
    transposed: bool, output_padding: list[int], groups: int,
) -> Value:
    x, weight = c.varying(x), c.constant(weight)
    spatial = weight.tensor.ndim - 2
    if not x.lead:
        raise c.mixed()
    names = [c.parameter(weight, "weight")]
    if bias is not None:
        names.append(c.parameter(c.constant(bias), "bias"))
    step, ends, spread = sizes(stride, spatial), sizes(padding, spatial), sizes(dilation, spatial)
    if transposed:
        op = ConvTranspose(step, ends, sizes(output_padding, spatial), spread, groups)
    else:
        op = Conv(step, ends, spread, groups)
    return c.emit(op, x, parameters=tuple(names))


def sizes(value: list[int] | int, count: int) -> tuple[int, ...]:
    """One size an axis; a single one stands for all."""
    sizes = [value] if isinstance(value, int) else list(value)
    return tuple(sizes * count if len(sizes) == 1 else sizes)


@aten("_native_batch_norm_legit_no_training.default")
def batch_norm(
    c: Context, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float
) -> list[Value | None]:
    x = c.varying(x)
    if not x.lead:
        raise c.mixed()
    weight = Constant(torch.ones(x.ir[0])) if weight is None else c.constant(weight)
    bias = Constant(torch.zeros(x.ir[0])) if bias is None else c.constant(bias)
    roles = {"weight": weight, "bias": bias, "mean": c.constant(mean), "variance": c.constant(variance)}
    names = tuple(c.parameter(value, role) for role, value in roles.items())
    return [c.emit(BatchNorm(eps, len(x.ir) - 1), x, parameters=names), None, None]


@aten("relu.default")
def relu(c: Context, x: Value) -> Value:
    return c.emit(ReLU(), x)


@aten("leaky_relu.default")
def leaky_relu(c: Context, x: Value, slope: float) -> Value:
    return c.emit(LeakyReLU(c.scalar(slope)), x)


@aten("abs.default")
def abs_(c: Context, x: Value) -> Value:
    return c.emit(Abs(), x)


@aten("sigmoid.default")
def sigmoid(c: Context, x: Value) -> Value:
    return c.emit(Sigmoid(), x)


@aten("tanh.default")
def tanh(c: Context, x: Value) -> Value:
    return c.emit(Tanh(), x)


@aten("hardsigmoid.default")
def hardsigmoid(c: Context, x: Value) -> Value:
    return c.emit(HardSigmoid(Fraction(1, 6), Fraction(1, 2)), x)


@aten("clamp.default", "hardtanh.default")
def clamp(c: Context, x: Value, low: float | None, high: float | None) -> Value:
    low, high = None if low == -inf else low, None if high == inf else high
    if not all(v is None or isfinite(v) for v in (low, high)):
        raise c.refuse(f"clamps to [{low}, {high}]; give finite bounds, or leave a side out")
    if low is not None and high is not None:
        if low >= high:
            raise c.refuse(f"clamps to [{low}, {high}], where every result is one number; widen the range")
        return c.emit(Clip(c.scalar(low), c.scalar(high)), x)
    return _clamp_between(c, x, low, high)


@aten("clamp.Tensor")
def _clamp_between(c: Context, x: Any, low: Any, high: Any) -> Value:
    x = c.varying(x) if low is None else maximum(c, x, low)
    return x if high is None else minimum(c, x, high)


@aten("maximum.default")
def maximum(c: Context, a: Any, b: Any) -> Value:
    """max(x, k) = relu(x - k) + k for a constant k."""
    if isinstance(a, Value) and isinstance(b, Value):
        a, b = c.align(a, b)
        places = torch.arange(prod(a.ir)).reshape(a.ir)
        joined = c.emit(Concat(0, (a.ir[0], b.ir[0])), a, b)
        return largest(c, joined, torch.stack((places, places + places.numel()), -1))
    x, k = (a, c.constant(b)) if isinstance(a, Value) else (c.varying(b), c.constant(a))
    if k.tensor.ndim == 0 and float(k.tensor) == 0:
        return relu(c, x)
    return c.shift(relu(c, c.shift(x, k.map(torch.neg))), k)


@aten("minimum.default")
def minimum(c: Context, a: Any, b: Any) -> Value:
    turned = [neg(c, x) if isinstance(x, Value) else c.constant(x).map(torch.neg) for x in (a, b)]
    return neg(c, maximum(c, *turned))


def largest(c: Context, x: Value, groups: torch.Tensor) -> Value:
    """The largest entry of each group of flat numbers (*result shape, size)."""
    return c.emit(Max(), x, parameters=(c.builder.parameter(f"{c.node.name}.groups", groups.contiguous()),))
