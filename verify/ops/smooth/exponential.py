"""Exponential and logarithm, and the curves made of one of them.

Measured against mpmath, torch's functions on CPUs err by less than one unit in the last place in float32 and float64,
on subnormal, huge and dense arguments alike; a curve trusts them to 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi, sqrt

import torch
from torch import Tensor

from verify.ops.base import Example, Parameters, register
from verify.ops.curve import Curvature, Curve
from verify.ops.domain import Domain
from verify.ops.smooth.shapes import Convex, Rising


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Exp(Convex):
    """e^x."""

    cancels = 0.0

    @property
    def image(self) -> tuple[float, float]:
        return 0.0, inf

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.exp(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return torch.exp(x)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Log(Curve):
    """The natural logarithm, of x > 0."""

    cancels = 0.0

    @property
    def domain(self) -> Domain:
        return Domain(low=0.0, poles=(0.0,))

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return (Curvature.CONCAVE,)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.log(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return torch.reciprocal(x)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Softplus(Convex):
    """log(1 + exp(x))."""

    @property
    def image(self) -> tuple[float, float]:
        return 0.0, inf

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.logaddexp(xs[0], torch.zeros_like(xs[0]))

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Sigmoid(Rising):
    """1 / (1 + exp(-x))."""

    @property
    def image(self) -> tuple[float, float]:
        return 0.0, 1.0

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.sigmoid(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        return y * (1 - y)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Tanh(Rising):
    """Hyperbolic tangent."""

    @property
    def image(self) -> tuple[float, float]:
        return -1.0, 1.0

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.tanh(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return 1 - torch.tanh(x).square()


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Erf(Rising):
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""

    @property
    def image(self) -> tuple[float, float]:
        return -1.0, 1.0

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.erf(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return 2 / sqrt(pi) * torch.exp(-x.square())
