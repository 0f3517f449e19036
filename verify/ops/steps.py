"""Functions that jump: linear pieces that do not meet, and staircases with a step at every whole number.

At a jump f has the value that it is defined to have there, which may be any. An interval that ends at a jump holds that
value and those of the side on which it lies; one that has the jump inside holds both one-sided values too. Lines are no
steeper than a piece, or than 1 for a staircase, as the steepest line over ever smaller intervals has no bound. Models
of mixed-integer programs do not know jumps, and refuse them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.ops.base import Example, IntervalBounds, Parameters, register
from verify.ops.curve import Curve
from verify.ops.tangents import Curvature, Vertices


class Jumping(Curve):
    """A function that is not continuous; its values at rational points are rational."""

    is_continuous = False
    encloses = False

    @abstractmethod
    def exact(self, x: Fraction) -> Fraction:
        """f at a rational point."""

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = np.empty(xs[0].shape, dtype=object)
        for place, x in np.ndenumerate(xs[0]):
            out[place] = self.exact(x)
        return out, out


@dataclass(frozen=True)
class JumpingLines(Jumping):
    """slope x + intercept on each piece, and at each breakpoint a value of its own; it may jump there.

    Args:
        places: the breakpoints, ascending, numbers of float32; raises InputError for others.
        lines: (slope, intercept) of each piece, one more.
        values: f at the breakpoints.
    """

    places: tuple[Fraction, ...]
    lines: tuple[tuple[Fraction, Fraction], ...]
    values: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        odd = [float(b) for b in self.places if Fraction(float(np.float32(float(b)))) != b]
        if odd:
            raise InputError(f"the function jumps at {odd[0]!r}, which float32 does not hold; choose one that it does")

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return self.places

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return (Curvature.LINEAR,) * len(self.lines)

    @property
    def jumps(self) -> tuple[int, ...]:
        return tuple(range(len(self.places)))

    @property
    def linear_breakpoints(self) -> tuple[float, ...]:
        return tuple(map(float, self.places))

    def exact(self, x: Fraction) -> Fraction:
        if x in self.places:
            return self.values[self.places.index(x)]
        slope, intercept = self.lines[sum(b < x for b in self.places)]
        return slope * x + intercept

    def vertices(self, box: IntervalBounds) -> Vertices:
        """With the values at the jumps, which need not lie between those of both sides."""
        x, y = super().vertices(box)
        inside = (torch.full_like(box.low, float(b)).minimum(box.high).maximum(box.low) for b in self.places)
        at = torch.stack([*inside])
        return torch.cat([x, at]), torch.cat([y, self.forward((), at)])

    def beside(self, piece: int, x: Tensor) -> Tensor:
        slope, intercept = map(float, self.lines[piece])
        return slope * x + intercept if slope else x.masked_fill(~x.isnan(), intercept)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        (x,) = xs
        out = self.beside(0, x)
        for i, (b, value) in enumerate(zip(self.places, self.values, strict=True)):
            out = torch.where(x > float(b), self.beside(i + 1, x), out).masked_fill(x == float(b), float(value))
        return out

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return torch.full_like(x, float(self.lines[piece][0]))


class Staircase(Jumping):
    """A function that rises by 1 at every jump j = k + `offset`, k whole, from j - `drop` to j - `drop` + 1, and is
    constant between.

    For any slope s, f(x) - s x is extreme at an end of the interval or beside a jump, where it is linear in j on each
    side: so at the ends, and at the first and the last jump on each side, which are its vertices. Where floats are so
    far apart that jumps are lost the slack of a few units in the last place is more than a step.
    """

    offset: ClassVar[float]  # where the jumps are beside whole numbers; 0 or 1/2
    drop: ClassVar[float]  # by how much f lies below the jump before it

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return (Curvature.LINEAR,)

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def steepness(self, box: IntervalBounds) -> Tensor:
        return torch.ones_like(box.low)

    def vertices(self, box: IntervalBounds) -> Vertices:
        """The ends, and where the interval holds jumps the first and the last whose left and whose right it holds."""
        low, high = box
        ends = self.forward((), low), self.forward((), high)
        with torch.no_grad():  # f has no slope
            a, b = low - self.offset, high - self.offset
            left = [j + self.offset for j in (a.floor() + 1, b.floor())]  # in (low, high]
            right = [j + self.offset for j in (a.ceil(), b.ceil() - 1)]  # in [low, high)
            held = [(j, j - self.drop, left[0] <= high) for j in left]
            held += [(j, j - self.drop + 1, right[0] < high) for j in right]
        x = [low, high, *(torch.where(inside, j, low) for j, _, inside in held)]
        y = [*ends, *(torch.where(inside, value, ends[0]) for _, value, inside in held)]
        return torch.stack(x), torch.stack(y)

    def _limited(self, box: IntervalBounds) -> Callable[[Tensor], Tensor]:
        return lambda slope: slope.clamp(0.0, 1.0)

    def _candidate_slopes(self, box: IntervalBounds, x: Tensor, y: Tensor) -> list[Tensor]:
        return [*super()._candidate_slopes(box, x, y), torch.ones_like(box.low)]


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Floor(Staircase):
    """The largest whole number that is not above x."""

    offset: ClassVar[float] = 0.0
    drop: ClassVar[float] = 1.0

    def exact(self, x: Fraction) -> Fraction:
        return Fraction(floor(x))

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.floor(xs[0])


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Ceil(Staircase):
    """The least whole number that is not below x."""

    offset: ClassVar[float] = 0.0
    drop: ClassVar[float] = 0.0

    def exact(self, x: Fraction) -> Fraction:
        return Fraction(ceil(x))

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.ceil(xs[0])


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class RoundToEven(Staircase):
    """The nearest whole number, of two the even one."""

    offset: ClassVar[float] = 0.5
    drop: ClassVar[float] = 0.5

    def exact(self, x: Fraction) -> Fraction:
        return Fraction(round(x))

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.round(xs[0])


ZERO, ONE = Fraction(0), Fraction(1)


def sign() -> JumpingLines:
    """1 above 0, -1 below it, and 0 there."""
    return JumpingLines((ZERO,), ((ZERO, -ONE), (ZERO, ONE)), (ZERO,))


def heaviside(value: Fraction) -> JumpingLines:
    """1 above 0, 0 below it, and this value there."""
    return JumpingLines((ZERO,), ((ZERO, ZERO), (ZERO, ONE)), (value,))


def threshold(place: Fraction, value: Fraction) -> JumpingLines:
    """x above a place, else a value."""
    return JumpingLines((place,), ((ZERO, value), (ONE, ZERO)), (value,))


def shrink(place: Fraction, bias: Fraction) -> JumpingLines:
    """x + bias below -place, x - bias above a place > 0, and 0 between."""
    return JumpingLines((-place, place), ((ONE, bias), (ZERO, ZERO), (ONE, -bias)), (ZERO, ZERO))


register(lambda op: [
    Example(made, (), ((5,),)) for made in (sign(), heaviside(Fraction(1, 2)), threshold(ONE, ZERO),
                                            shrink(Fraction(1, 2), Fraction(1, 4)), heaviside(Fraction(3)))
])(JumpingLines)
