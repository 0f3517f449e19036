"""Powers with a constant exponent: squares, roots, reciprocals."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import inf

import torch
from torch import Tensor

from verify.errors import InputError
from verify.ops.base import Example, Parameters, register
from verify.ops.curve import Curvature, Curve
from verify.ops.domain import REALS, Domain


@register(lambda op: [
    Example(op(Fraction(n)), (), ((5,),)) for n in ("2", "3", "-1", "-2", "1/2", "-1/2", "5/2", "-3/4")
])
@dataclass(frozen=True)
class Power(Curve):
    """x ** exponent: of all reals if the exponent is whole, of x >= 0 if not, and never of 0 if it is negative.

    Args:
        exponent: any number of float64 but 0 and 1. Raises InputError for others.
    """

    exponent: Fraction
    cancels = 0.0

    def __post_init__(self) -> None:
        if self.exponent in (0, 1) or Fraction(float(self.exponent)) != self.exponent:
            raise InputError(f"the exponent {self.exponent} makes no curve of float64; give one that float64 holds, "
                             "neither 0 nor 1")

    @property
    def is_whole(self) -> bool:
        """Whether f has values on both sides of 0."""
        return self.exponent.denominator == 1

    @property
    def is_odd(self) -> bool:
        """Whether f(-x) = -f(x)."""
        return self.is_whole and self.exponent % 2 == 1

    @property
    def domain(self) -> Domain:
        if self.is_whole and self.exponent > 0:
            return REALS
        return Domain(low=-inf if self.is_whole else 0.0, poles=(0.0,) if self.exponent < 0 else ())

    @property
    def image(self) -> tuple[float, float]:
        return (-inf if self.is_odd else 0.0), inf

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return (Fraction(0),) if self.is_whole and (self.is_odd or self.exponent < 0) else ()

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        if self.breakpoints:
            return (Curvature.CONCAVE if self.is_odd else Curvature.CONVEX), Curvature.CONVEX
        return (Curvature.CONCAVE if 0 < self.exponent < 1 else Curvature.CONVEX,)

    @property
    def turns(self) -> tuple[float, ...]:
        return (0.0,) if self.is_whole and self.exponent > 0 and not self.is_odd else ()

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        exponent = float(self.exponent)
        if Fraction(float(torch.tensor(exponent, dtype=xs[0].dtype))) == self.exponent:
            return xs[0].pow(exponent)
        return xs[0].double().pow(exponent).to(xs[0].dtype)  # an exponent of float64 would be rounded

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        exponent = float(self.exponent)
        if self.is_whole:
            return exponent * x.pow(exponent - 1)
        inside = x.masked_fill(x == 0, 1.0)
        slope = exponent * self.forward((), inside) / inside  # as the exponent less 1 may be no float
        return slope.masked_fill(x == 0, 0.0 if exponent > 1 else inf)
