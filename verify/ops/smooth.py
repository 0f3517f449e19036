"""Smooth curves: f and f' of the library, and the inflections between convex and concave pieces."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from verify.ops.base import Example, Parameters, register
from verify.ops.curve import Curvature, Curve


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Sigmoid(Curve):
    """1 / (1 + exp(-x))."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return (Fraction(0),)

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return Curvature.CONVEX, Curvature.CONCAVE

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.sigmoid(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        return y * (1 - y)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Tanh(Curve):
    """Hyperbolic tangent."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return (Fraction(0),)

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return Curvature.CONVEX, Curvature.CONCAVE

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.tanh(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return 1 - torch.tanh(x).square()


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Softplus(Curve):
    """log(1 + exp(x)), convex everywhere."""

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return (Curvature.CONVEX,)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.logaddexp(xs[0], torch.zeros_like(xs[0]))

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return torch.sigmoid(x)
