"""Functions that jump: staircases with a step at every whole number or half way between, and lines that do not meet.

Between jumps f is linear, so f(x) - s x over a box is extreme at an end of the box or beside a jump, where both
one-sided values count, and the value at the jump. Of a staircase the jumps j have the values j - c on one side, so
f(x) - s x is linear in j there, and extreme at the first or the last of those whose side the box holds. No slope but
those of `steep` is tried, as the steepest lines over ever smaller boxes have no bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import final

import numpy as np

from verify.check.curves import Curve, Vertex
from verify.check.numbers import Arithmetic
from verify.check.spans import Span

FARTHEST = 2.0**40  # beyond which floats are too far apart to tell jumps from each other


class _Jumping(Curve):
    """No piece bends."""

    signs = ()
    is_monotone = False

    def slope(self, piece: int, x: Span) -> Span:
        return Span.of(x.number, 0)

    def outside(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return (np.maximum(np.abs(low), np.abs(high)) > FARTHEST).astype(bool)


class _Staircase(_Jumping):
    """Rises by 1 at every jump, from j - `drop` to j - `drop` + 1."""

    steep = (0, 1)
    halves = 1  # how many halves lie between 0 and the first jump on both sides, 0 or 1
    drop: Fraction

    def vertices(self, number: Arithmetic, low: np.ndarray, high: np.ndarray) -> Iterator[Vertex]:
        yield from super().vertices(number, low, high)
        first, last = self._from(number, low, True), -self._from(number, -high, False)
        yield from (self._beside(number, low, j, first <= high, -self.drop) for j in (first, last))
        first, last = self._from(number, low, False), -self._from(number, -high, True)
        yield from (self._beside(number, low, j, first < high, 1 - self.drop) for j in (first, last))

    def _from(self, number: Arithmetic, x: np.ndarray, is_beyond: bool) -> np.ndarray:
        """The first jump at x or above, or above x; in halves, where all is exact."""
        twice = x * 2
        half = np.floor(twice) + 1 if is_beyond else np.ceil(twice)
        return (half + (half + self.halves) % 2) * number.factor(0.5)

    def _beside(self, number: Arithmetic, low: np.ndarray, j: np.ndarray, held: np.ndarray, by: Fraction) -> Vertex:
        """A jump and the value beside it, or an end of the box where it holds no such side of a jump."""
        held = held.astype(bool)
        x = np.where(held, j, low)
        beside = Span.at(number, j + number.factor(float(by)))
        return Span.at(number, x), beside.where(held, self.value(Span.at(number, low)))


@final
class Floor(_Staircase):
    """The largest whole number that is not above x."""

    halves, drop = 0, Fraction(1)

    def value(self, x: Span) -> Span:
        return Span.at(x.number, np.floor(x.low))


@final
class Ceil(_Staircase):
    """The least whole number that is not below x."""

    halves, drop = 0, Fraction(0)

    def value(self, x: Span) -> Span:
        return Span.at(x.number, np.ceil(x.low))


@final
class Round(_Staircase):
    """The nearest whole number; half way between two, either of them."""

    drop = Fraction(1, 2)

    def value(self, x: Span) -> Span:
        half = x.number.factor(0.5)  # a sum that is rounded passes no whole number
        return Span(x.number, np.ceil(x.low - half), np.floor(x.low + half))


@final
class Lines(_Jumping):
    """slope x + intercept on each piece, and a value of its own at each place between two, which floats hold."""

    def __init__(self, places: list[Fraction], lines: list[tuple[Fraction, Fraction]], values: list[Fraction]):
        self.places, self.lines, self.values = places, lines, values
        self.steep = (0, *(float(slope) for slope, _ in lines))

    def value(self, x: Span) -> Span:
        found = self._line(0, x)
        for k, (place, value) in enumerate(zip(self.places, self.values, strict=True)):
            at = x.number.factor(float(place))
            found = self._line(k + 1, x).where((x.low > at).astype(bool), found)
            found = Span.of(x.number, value).where((x.low == at).astype(bool), found)
        return found

    def vertices(self, number: Arithmetic, low: np.ndarray, high: np.ndarray) -> Iterator[Vertex]:
        yield from super().vertices(number, low, high)
        for k, (place, value) in enumerate(zip(self.places, self.values, strict=True)):
            at = Span.at(number, np.full_like(low, number.factor(float(place))))
            end, before, behind = Span.at(number, low), low < at.low, at.low < high
            sides = ((before & (at.low <= high), self._line(k, at)), (behind & (low <= at.low), self._line(k + 1, at)),
                     ((low <= at.low) & (at.low <= high), Span.of(number, value)))
            for held, found in sides:
                here = held.astype(bool)
                yield at.where(here, end), found.where(here, self.value(end))

    def _line(self, k: int, x: Span) -> Span:
        slope, intercept = self.lines[k]
        return x * slope + intercept
