"""ATen operators that compute entry by entry: arithmetic and activations, in terms of the IR."""

from __future__ import annotations

from fractions import Fraction
from math import inf, isfinite, prod
from typing import Any

import numpy as np
import torch

from verify.ir.aten import Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ops import Add, Clip, Concat, LeakyReLU, Max, Op, ReLU, piecewise, steps
from verify.ops.smooth import exponential, gated, power, trigonometric
from verify.rationals import exact_array

SOFTPLUS_THRESHOLD = 20.0  # torch's default


@aten("add.Tensor", "add.Scalar")
def add(c: Context, a: Any, b: Any, alpha: float) -> TracedValue:
    return combine(c, a, b, 1, alpha)


@aten("sub.Tensor", "sub.Scalar")
def sub(c: Context, a: Any, b: Any, alpha: float) -> TracedValue:
    return combine(c, a, b, -1, alpha)


def combine(c: Context, a: Any, b: Any, sign: int, alpha: float) -> TracedValue:
    """a + sign * alpha * b."""
    factor = sign * alpha
    if isinstance(b, TracedValue):
        if not isinstance(a, TracedValue):
            return c.shift(b if factor == 1 else c.scale(b, factor), a)
        a, b = c.align(a, b if alpha == 1 else c.scale(b, alpha))
        return c.emit(Add((1, sign)), a, b)
    constant = c.constant(b)
    if abs(factor) == 1:
        return c.shift(a, constant if factor == 1 else constant.map(torch.neg))
    # the product of two floats is the sum of two floats, so that no rounding of it enters (Dekker 1971)
    product = exact_array(constant.tensor.to(c.kind)) * c.scalar(factor)
    near = torch.from_numpy(product.astype(np.float64)).to(c.kind)
    rest = torch.from_numpy((product - exact_array(near)).astype(np.float64))
    a = c.shift(a, constant.map(lambda t: near))
    return c.shift(a, constant.map(lambda t: rest)) if bool(rest.any()) else a


@aten("neg.default")
def neg(c: Context, x: TracedValue) -> TracedValue:
    return c.scale(x, -1.0)


def sizes(value: list[int] | int, count: int) -> tuple[int, ...]:
    """One size an axis; a single one stands for all."""
    sizes = [value] if isinstance(value, int) else list(value)
    return tuple(sizes * count if len(sizes) == 1 else sizes)


PLAIN: dict[str, Op] = {
    "relu.default": piecewise.ReLU(),
    "abs.default": piecewise.Abs(),
    "hardsigmoid.default": piecewise.HardSigmoid(Fraction(1, 6), Fraction(1, 2)),
    "sigmoid.default": exponential.Sigmoid(),
    "tanh.default": exponential.Tanh(),
    "silu.default": gated.Swish(),
    "mish.default": gated.Mish(),
    "hardswish.default": gated.HardSwish(),
    "sign.default": steps.sign(),
    "floor.default": steps.Floor(),
    "ceil.default": steps.Ceil(),
    "round.default": steps.RoundToEven(),
    "exp.default": exponential.Exp(),
    "log.default": exponential.Log(),
    "erf.default": exponential.Erf(),
    "sin.default": trigonometric.Sin(),
    "cos.default": trigonometric.Cos(),
    "atan.default": trigonometric.Atan(),
    "sqrt.default": power.Power(Fraction(1, 2)),
    "rsqrt.default": power.Power(Fraction(-1, 2)),
    "reciprocal.default": power.Power(Fraction(-1)),
    "square.default": power.Power(Fraction(2)),
}


@aten(*PLAIN)
def plain(c: Context, x: TracedValue) -> TracedValue:
    """Operators of one argument that have an op of their own and no settings."""
    return c.emit(PLAIN[str(c.node.target).removeprefix("aten.")], x)


def relu(c: Context, x: TracedValue) -> TracedValue:
    """max(x, 0)."""
    return c.emit(ReLU(), x)


@aten("softplus.default")
def softplus(c: Context, x: TracedValue, beta: float, threshold: float) -> TracedValue:
    """log(1 + exp(beta x)) / beta. What torch computes is x where beta x is beyond the threshold, at 20 off by a share
    of 1e-10, which is taken for rounding."""
    if beta <= 0 or threshold < SOFTPLUS_THRESHOLD:
        raise c.refuse(f"has beta {beta} and threshold {threshold}, beyond which it jumps to x; let the first be "
                       f"positive and the second at least {SOFTPLUS_THRESHOLD}")
    if beta == 1:
        return c.emit(exponential.Softplus(), x)
    return c.divide(c.emit(exponential.Softplus(), c.scale(x, beta)), beta)


@aten("leaky_relu.default")
def leaky_relu(c: Context, x: TracedValue, slope: float) -> TracedValue:
    return c.emit(LeakyReLU(c.scalar(slope)), x)


@aten("rrelu_with_noise_functional.default", "rrelu_with_noise.default")
def rrelu(c: Context, x: TracedValue, noise: Any, lower: float, upper: float, training: bool, *options: Any) -> Any:
    """Outside training the slope is the mean of its range."""
    if training:
        raise c.refuse("draws slopes at random; export the module in eval mode")
    y = leaky_relu(c, x, (lower + upper) / 2)
    return [y, None] if "functional" in str(c.node.target) else y


@aten("clamp.default", "hardtanh.default")
def clamp(c: Context, x: TracedValue, low: float | None, high: float | None) -> TracedValue:
    low, high = None if low == -inf else low, None if high == inf else high
    if not all(v is None or isfinite(v) for v in (low, high)):
        raise c.refuse(f"clamps to [{low}, {high}]; give finite bounds, or leave a side out")
    if low is not None and high is not None:
        if low >= high:
            raise c.refuse(f"clamps to [{low}, {high}], where every result is one number; widen the range")
        return c.emit(Clip(c.scalar(low), c.scalar(high)), x)
    return _clamp_between(c, x, low, high)


@aten("clamp.Tensor")
def _clamp_between(c: Context, x: Any, low: Any, high: Any) -> TracedValue:
    x = c.varying(x) if low is None else maximum(c, x, low)
    return x if high is None else minimum(c, x, high)


@aten("maximum.default")
def maximum(c: Context, a: Any, b: Any) -> TracedValue:
    """max(x, k) = relu(x - k) + k for a constant k."""
    if isinstance(a, TracedValue) and isinstance(b, TracedValue):
        a, b = c.align(a, b)
        places = torch.arange(prod(a.ir)).reshape(a.ir)
        joined = c.emit(Concat(0, (a.ir[0], b.ir[0])), a, b)
        return largest(c, joined, torch.stack((places, places + places.numel()), -1))
    x, k = (a, c.constant(b)) if isinstance(a, TracedValue) else (c.varying(b), c.constant(a))
    if k.tensor.ndim == 0 and float(k.tensor) == 0:
        return relu(c, x)
    return c.shift(relu(c, c.shift(x, k.map(torch.neg))), k)


@aten("minimum.default")
def minimum(c: Context, a: Any, b: Any) -> TracedValue:
    turned = [neg(c, x) if isinstance(x, TracedValue) else c.constant(x).map(torch.neg) for x in (a, b)]
    return neg(c, maximum(c, *turned))


def largest(c: Context, x: TracedValue, groups: torch.Tensor) -> TracedValue:
    """The largest entry of each group of flat numbers (*result shape, size)."""
    return c.emit(Max(), x, parameters=(c.builder.parameter(f"{c.node.name}.groups", groups.contiguous()),))
