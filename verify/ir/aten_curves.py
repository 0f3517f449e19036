"""ATen functions of one varying tensor that have settings, or are made of another one."""

from __future__ import annotations

from math import isfinite

from verify.ir.aten import Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ops.smooth import Exp, Log, Power


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
