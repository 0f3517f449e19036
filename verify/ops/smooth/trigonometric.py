"""Sine, cosine and the arc tangent."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from verify.ops.base import Example, IntervalBounds, Lines, Parameters, register
from verify.ops.curve import Curvature, Curve
from verify.ops.domain import flattened, sloped
from verify.ops.smooth.shapes import Rising

ROUNDINGS = 4  # units in the last place of the sizes of numbers: of what k pi and the sums with it err by, 3


class Reduced(NamedTuple):
    """Intervals of z = sign * x + offset, both ends about the middle of a wave and rounded outward; (batch, *shape).
    `fills`: those, by now the middle alone, over which a wave has all its values."""

    box: IntervalBounds
    sign: Tensor
    offset: Tensor
    fills: Tensor


class Wave(Curve):
    """A sine with the period 2 pi, whose pieces are stated about one of its zeros, `middle`.

    With m the middle, k whole and s = (-1)^k, f(x) = f(z) for z = m + s (x - m - k pi). So with the k that brings the
    midpoint of an interval nearest to m, one that is less than a period wide lies between m - 2 pi and m + 2 pi, where
    f has four pieces. A line a z + c is one of x, a s x + a (m - s (m + k pi)) + c. Over wider intervals f fills
    [-1, 1], and lines are level.

    Sound because the interval of z is widened by more than pi, k pi and the sums are rounded by, and so is the
    intercept; what is far too large to be reduced so fills [-1, 1].
    """

    @property
    @abstractmethod
    def middle(self) -> float:
        """A zero of f, to the nearest float64."""

    @property
    @abstractmethod
    def rises(self) -> bool:
        """Whether f rises there."""

    @property
    def window(self) -> tuple[float, float]:
        """Where the pieces are those of f."""
        return self.middle - 2 * pi, self.middle + 2 * pi

    @property
    def image(self) -> tuple[float, float]:
        return -1.0, 1.0

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return tuple(Fraction(self.middle + k * pi) for k in (-1, 0, 1))

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        pair = (Curvature.CONCAVE, Curvature.CONVEX) if self.rises else (Curvature.CONVEX, Curvature.CONCAVE)
        return pair * 2

    @property
    def turns(self) -> tuple[float, ...]:
        return tuple(self.middle + k * pi / 2 for k in (-3, -1, 1, 3))

    def reduced(self, box: IntervalBounds) -> Reduced:
        """The same intervals about the middle, computed in float64."""
        low, high = box.low.double(), box.high.double()
        middle, kind = self.middle, torch.finfo(box.low.dtype)
        infinite = low.isinf() | high.isinf()
        low, high = low.masked_fill(infinite, middle), high.masked_fill(infinite, middle)
        count = ((low / 2 + high / 2 - middle) / pi).detach().round()
        sign = 1 - 2 * count.remainder(2)
        offset = middle - sign * (middle + count * pi)
        first, last = sign * low + offset, sign * high + offset
        error = ROUNDINGS * torch.finfo(low.dtype).eps * (low.abs() + high.abs() + 4)
        error = error + 2 * kind.eps * first.abs().maximum(last.abs())  # of the type of the box
        error = error.masked_fill(offset == 0, 0.0)  # where only the sign may change
        start, end = first.minimum(last) - error, first.maximum(last) + error
        fills = infinite | (high - low >= 2 * pi) | (start < self.window[0]) | (end > self.window[1])
        start, end = (v.masked_fill(fills, middle).to(box.low.dtype) for v in (start, end))
        return Reduced(IntervalBounds(start, end), sign, offset, fills)

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Sound because f is extreme at an end or where it turns, which is looked for in the widened reduced interval;
        trusts the library's f to `ulps`."""
        (box,) = boxes
        first, last = self.forward(p, box.low), self.forward(p, box.high)
        low, high = first.minimum(last), first.maximum(last)
        with torch.no_grad():
            near, *_, fills = self.reduced(box)
            tops, bottoms = self.turns[::2], self.turns[1::2]  # of a wave that rises: m - 3 pi / 2 and m + pi / 2
            tops, bottoms = (tops, bottoms) if self.rises else (bottoms, tops)
            wide = box.high > box.low
            top, bottom = (
                wide & (fills | torch.stack([(near.low <= t) & (t <= near.high) for t in turns]).any(0))
                for turns in (tops, bottoms)
            )
        return self._outward(low.masked_fill(bottom, -1.0), high.masked_fill(top, 1.0))

    def steepness(self, box: IntervalBounds) -> Tensor:
        near, *_, fills = self.reduced(box)
        return super().steepness(near).masked_fill(fills, 1.0)

    def relax(self, p: Parameters, box: IntervalBounds, at: Tensor | None = None) -> Lines:
        """The lines of the reduced interval. Sound as said above; trusts what the lines of curves do."""
        near, sign, offset, fills = self.reduced(box)
        if at is not None:
            at = (sign * at.double() + offset).to(box.low.dtype).maximum(near.low).minimum(near.high)
        lines = super().relax(p, near, at)
        moved = []
        for slope, intercept, outward in zip(lines.parts[::2], lines.parts[1::2], (-1, 1), strict=True):
            moved += [slope * sign.to(slope.dtype), self._moved(intercept, slope, offset, outward)]
        return flattened(Lines(*moved), fills, self.interval(p, box))

    def line(self, box: IntervalBounds, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Sound as said above; trusts what the lines of curves do."""
        near, sign, offset, fills = self.reduced(box)
        turned = slope * sign.to(slope.dtype)
        ends = super().line(near, turned)
        lower, upper = (self._moved(c, turned, offset, side) for c, side in zip(ends, (-1, 1), strict=True))
        values = sloped(self.interval((), box), box, slope)
        return values[0].where(fills, lower), values[1].where(fills, upper)

    def _moved(self, intercept: Tensor, slope: Tensor, offset: Tensor, outward: int) -> Tensor:
        """The intercept of a line of z as one of x, moved outward by what rounding makes of it."""
        rise = slope * offset
        size = (intercept.abs() + slope.abs() * (offset.abs() + 4)).masked_fill(offset == 0, 0.0)
        slack = ROUNDINGS * torch.finfo(slope.dtype).eps * size.to(slope.dtype)
        return (intercept + rise).to(slope.dtype) + outward * slack


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Sin(Wave):
    """The sine of radians."""

    @property
    def middle(self) -> float:
        return 0.0

    @property
    def rises(self) -> bool:
        return True

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.sin(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return torch.cos(x)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Cos(Wave):
    """The cosine of radians."""

    @property
    def middle(self) -> float:
        return pi / 2

    @property
    def rises(self) -> bool:
        return False

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.cos(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return -torch.sin(x)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Atan(Rising):
    """The inverse of the tangent, between -pi / 2 and pi / 2."""

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.atan(xs[0])

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return torch.reciprocal(1 + x.square())
