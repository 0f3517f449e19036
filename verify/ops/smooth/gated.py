"""Activations that let a share of x through, or bend below 0.

Inflections and turns were computed to 40 digits as the roots of f'' and f', and are rounded to the nearest float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import pi, sqrt

import torch
from torch import Tensor

from verify.errors import InputError
from verify.ops.base import Example, Parameters, register
from verify.ops.curve import Curvature, Curve
from verify.ops.smooth.shapes import Rising

CONCAVE, LINEAR, CONVEX = Curvature


class Gate(Curve):
    """Convex between two inflections and concave beyond both; it falls first, turns once and then rises like x."""

    tail = 2.0**-5  # measured: 2^-6, near -3, where f is the product of x and of a steep exponential

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return CONCAVE, CONVEX, CONCAVE


@register(lambda op: [Example(op(), (), ((5,),)), Example(op(Fraction(1702, 1000)), (), ((3,),))])
@dataclass(frozen=True)
class Swish(Gate):
    """x / (1 + exp(-beta x)), beta > 0: SiLU (1), and an approximation of GELU (1.702). With z = beta x, f'' = 0 where
    z tanh(z / 2) = 2, and f' = 0 where 1 + z + exp(z) = 0.

    Args:
        beta: how fast the gate opens. Raises InputError where it is not positive.
    """

    beta: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise InputError(f"Swish has the factor {float(self.beta)}; give one above 0")

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        place = Fraction(2.3993572805154677) / self.beta
        return -place, place

    @property
    def turns(self) -> tuple[float, ...]:
        return (float(Fraction(-1.2784645427610738) / self.beta),)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0] * torch.sigmoid(float(self.beta) * xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        z = float(self.beta) * x
        return torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))


@register(lambda op: [Example(op(), (), ((5,),)), Example(op(Fraction(1)), (), ((3,),))])
@dataclass(frozen=True)
class GELU(Gate):
    """x (1 + erf(rate x)) / 2, rate > 0: x times the normal distribution function of x where the rate is sqrt(1 / 2).
    By the complementary error function, which is precise in both tails; f'' = 0 where rate x is 1 or -1.

    Args:
        rate: how fast the gate opens. Raises InputError where it is not positive.
    """

    rate: Fraction = Fraction(sqrt(0.5))

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise InputError(f"GELU has the factor {float(self.rate)}; give one above 0")

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return -1 / self.rate, 1 / self.rate

    @property
    def turns(self) -> tuple[float, ...]:
        return (-0.7517915246935645 * sqrt(0.5) / float(self.rate),)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0] * (torch.erfc(-float(self.rate) * xs[0]) / 2)

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        z = float(self.rate) * x
        return torch.erfc(-z) / 2 + z * torch.exp(-z.square()) / sqrt(pi)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class TanhGELU(Gate):
    """The approximation of GELU by tanh (Hendrycks and Gimpel 2016): x (1 + tanh(u)) / 2 = x / (1 + exp(-2 u)) with
    2 u = sqrt(8 / pi) (x + 0.044715 x^3)."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return Fraction(-1.4185040087908284), Fraction(1.4185040087908284)

    @property
    def turns(self) -> tuple[float, ...]:
        return (-0.7524614220710163,)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0] * torch.sigmoid(self._gate(xs[0]))

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        z, slope = self._gate(x), sqrt(8 / pi) * (1 + 3 * 0.044715 * x.square())
        steep = (x * torch.sigmoid(-z)) * slope  # infinity times 0 beyond the largest float
        return torch.sigmoid(z) * (1 + steep.nan_to_num(0.0))

    def _gate(self, x: Tensor) -> Tensor:
        return sqrt(8 / pi) * x * (1 + 0.044715 * x.square())


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Mish(Gate):
    """x tanh(log(1 + exp(x))) (Misra 2019)."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return Fraction(-2.256376396360793), Fraction(1.4905711794854284)

    @property
    def turns(self) -> tuple[float, ...]:
        return (-1.1924312145154952,)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0] * torch.tanh(torch.logaddexp(xs[0], torch.zeros_like(xs[0])))

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        s = torch.logaddexp(x, torch.zeros_like(x))
        return torch.tanh(s) + x * torch.sigmoid(x) * (4 * torch.sigmoid(2 * s) * torch.sigmoid(-2 * s))


@register(lambda op: [
    Example(op(), (), ((5,),)), Example(op(Fraction(2)), (), ((3,),)), Example(op(Fraction(-1, 2)), (), ((3,),)),
    Example(op(Fraction(1), Fraction(1), Fraction(1, 3)), (), ((3,),)),
])
@dataclass(frozen=True)
class ELU(Curve):
    """scale x for x > 0, else scale alpha (exp(rate x) - 1): ELU, SELU, and CELU, whose rate is 1 / alpha.

    Args:
        alpha, scale, rate: Raises InputError where alpha or scale is 0, or the rate not positive.
    """

    alpha: Fraction = Fraction(1)
    scale: Fraction = Fraction(1)
    rate: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if not self.alpha or not self.scale or self.rate <= 0:
            raise InputError(f"ELU has alpha {float(self.alpha)}, scale {float(self.scale)} and rate "
                             f"{float(self.rate)}; the first two are not 0 and the last is above 0")

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return (Fraction(0),)

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return (CONVEX if self.scale * self.alpha > 0 else CONCAVE), LINEAR

    @property
    def turns(self) -> tuple[float, ...]:
        return () if self.alpha > 0 else (0.0,)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        (x,) = xs
        below = torch.expm1(float(self.rate) * x.clamp(max=0))
        return torch.where(x > 0, float(self.scale) * x, float(self.scale * self.alpha) * below)

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        if piece:
            return torch.full_like(x, float(self.scale))
        steepest = float(self.scale * self.alpha * self.rate)
        return steepest * torch.exp(float(self.rate) * x.clamp(max=0))


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class HardSwish(Curve):
    """x min(max(x + 3, 0), 6) / 6: a parabola between two lines, with breakpoints where they meet."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return Fraction(-3), Fraction(3)

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return LINEAR, CONVEX, LINEAR

    @property
    def turns(self) -> tuple[float, ...]:
        return -3.0, -1.5

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0] * ((xs[0] + 3) / 6).clamp(0, 1)

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return (torch.zeros_like(x), x / 3 + 0.5, torch.ones_like(x))[piece]


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Softsign(Rising):
    """x / (1 + |x|)."""

    @property
    def image(self) -> tuple[float, float]:
        return -1.0, 1.0

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0] / (1 + xs[0].abs())

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return (1 + x.abs()).square().reciprocal()
