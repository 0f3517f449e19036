"""ATen functions of one varying tensor that have settings, or are made of another one."""

from __future__ import annotations

from math import inf, isfinite
from typing import Any

from verify.ir.aten import Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_ops import maximum
from verify.ops import steps
from verify.ops.smooth import ELU, GELU, Exp, Log, Power, TanhGELU

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # torch's own (Klambauer et al. 2017)


@aten("gelu.default")
def gelu(c: Context, x: TracedValue, approximate: str) -> TracedValue:
    if approximate not in ("none", "tanh"):
        raise c.refuse(f"approximates in a way called {approximate}; use none or tanh")
    return c.emit(TanhGELU() if approximate == "tanh" else GELU(), x)


@aten("elu.default")
def elu(c: Context, x: TracedValue, alpha: float, scale: float, rate: float) -> TracedValue:
    """scale x for x > 0, else scale alpha (exp(rate x) - 1)."""
    if alpha == 0 or scale == 0 or not 0 < rate < inf:
        raise c.refuse(f"has alpha {alpha}, scale {scale} and input scale {rate}; use relu, or another scale")
    return c.emit(ELU(c.scalar(alpha), c.scalar(scale), c.scalar(rate)), x)


@aten("selu.default")
def selu(c: Context, x: TracedValue) -> TracedValue:
    return elu(c, x, SELU_ALPHA, SELU_SCALE, 1.0)


@aten("celu.default")
def celu(c: Context, x: TracedValue, alpha: float) -> TracedValue:
    if alpha <= 0:
        raise c.refuse(f"has alpha {alpha}; give one above 0")
    return elu(c, x, alpha, 1.0, 1 / alpha)


@aten("threshold.default")
def threshold(c: Context, x: TracedValue, place: float, value: float) -> TracedValue:
    """x above a place, else a value: continuous, and a hinge, where both are one number."""
    at, floor = c.scalar(place), c.scalar(value)
    if at == floor:
        return maximum(c, x, place)
    return c.emit(steps.threshold(at, floor), x)


@aten("heaviside.default")
def heaviside(c: Context, x: TracedValue, value: Any) -> TracedValue:
    constant = c.constant(value).tensor
    if constant.numel() == 0 or not bool((constant == constant.flatten()[0]).all()):
        raise c.refuse("has several values at 0; give one")
    return c.emit(steps.heaviside(c.scalar(float(constant.flatten()[0]))), x)


@aten("pow.Tensor_Scalar")
def power(c: Context, x: TracedValue, exponent: float) -> TracedValue:
    if exponent == 0 or not isfinite(exponent):
        raise c.refuse(f"has the exponent {exponent}, so its result is constant or no number; leave it out")
    return x if exponent == 1 else c.emit(Power(c.scalar(exponent)), x)


@aten("log1p.default")
def log1p(c: Context, x: TracedValue) -> TracedValue:
    return c.emit(Log(), c.shift(x, 1.0))


@aten("expm1.default")
def expm1(c: Context, x: TracedValue) -> TracedValue:
    return c.shift(c.emit(Exp(), x), -1.0)


@aten("sinh.default", "cosh.default", "tan.default")
def composed(c: Context, x: TracedValue) -> TracedValue:
    """Sums of exponentials, or sine over cosine."""
    name, made = str(c.node.target).removeprefix("aten."), c.complete(x).name
    return c.written(x, c.composer.tangent(made) if name == "tan.default" else
                     c.composer.hyperbolic(made, name == "cosh.default"))
