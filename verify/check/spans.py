"""Intervals around real numbers, entry by entry, whose arithmetic is rounded outward.

In float64 every result is moved to the next number, since IEEE + - * / and sqrt are rounded to the nearest one; in
exact arithmetic ends are rounded to `DIGITS` bits, so that rationals stay short. What NaN and infinity make stays NaN
or infinite, or the largest number, which `Arithmetic.finite` rejects.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.check.numbers import Arithmetic

DIGITS = 160  # significant bits of the ends of exact intervals


def _rounded(value: Any, up: bool) -> Any:
    """A rational of at most DIGITS bits on one side of another; infinities stay."""
    if isinstance(value, float):
        return value
    value = Fraction(value)
    shift = DIGITS - (abs(value.numerator).bit_length() - value.denominator.bit_length())
    if value.denominator.bit_length() <= DIGITS and value.denominator & (value.denominator - 1) == 0:
        return value
    top = value.numerator << shift if shift >= 0 else value.numerator
    bottom = value.denominator if shift >= 0 else value.denominator << -shift
    whole = -((-top) // bottom) if up else top // bottom
    return Fraction(whole, 1 << shift) if shift >= 0 else Fraction(whole << -shift)


_DOWN, _UP = np.frompyfunc(lambda value: _rounded(value, False), 1, 1), np.frompyfunc(
    lambda value: _rounded(value, True), 1, 1)


def down(number: Arithmetic, value: np.ndarray) -> np.ndarray:
    """At most the real number that this one was rounded from."""
    return np.asarray(_DOWN(value), object) if number.exact else np.nextafter(value, -np.inf)


def up(number: Arithmetic, value: np.ndarray) -> np.ndarray:
    """At least the real number that this one was rounded from."""
    return np.asarray(_UP(value), object) if number.exact else np.nextafter(value, np.inf)


@dataclass(frozen=True, eq=False)
class Span:
    """low <= v <= high for every entry; both ends are one array where v is a number of the arithmetic."""

    number: Arithmetic
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def at(cls, number: Arithmetic, x: np.ndarray) -> Span:
        """Numbers themselves."""
        return cls(number, x, x)

    @classmethod
    def of(cls, number: Arithmetic, value: Fraction | int) -> Span:
        """One rational, without axes."""
        exact = np.array(Fraction(value), object)
        if number.exact:
            return cls(number, exact, exact)
        near = np.array(float(value))
        if Fraction(float(near)) == value:
            return cls(number, near, near)
        return cls(number, np.nextafter(near, -np.inf), np.nextafter(near, np.inf))

    @property
    def is_point(self) -> bool:
        return self.low is self.high

    @property
    def middle(self) -> np.ndarray:
        """About the middle, as float64: nothing is proved with it."""
        return self.low.astype(np.float64) / 2 + self.high.astype(np.float64) / 2

    def __add__(self, other: Span | Fraction | int) -> Span:
        other = self._span(other)
        low = self.low + other.low
        high = low if self.is_point and other.is_point else self.high + other.high
        return self._outward(low, high)

    def __neg__(self) -> Span:
        low = -self.high
        return Span(self.number, low, low if self.is_point else -self.low)

    def __sub__(self, other: Span | Fraction | int) -> Span:
        return self + -self._span(other)

    def __rsub__(self, other: Fraction | int) -> Span:
        return self._span(other) + -self

    def __mul__(self, other: Span | Fraction | int) -> Span:
        other = self._span(other)
        ends = [a * b for a in self._ends() for b in other._ends()]
        low = high = ends[0]
        for value in ends[1:]:
            low, high = np.minimum(low, value), np.maximum(high, value)
        return self._outward(low, high)

    def __truediv__(self, other: Span | Fraction | int) -> Span:
        """The quotient by what does not hold 0."""
        other = self._span(other)
        ends = [a / b for a in self._ends() for b in other._ends()]
        low = high = ends[0]
        for value in ends[1:]:
            low, high = np.minimum(low, value), np.maximum(high, value)
        return self._outward(low, high)

    __radd__, __rmul__ = __add__, __mul__

    def __rtruediv__(self, other: Fraction | int) -> Span:
        return self._span(other) / self

    def square(self) -> Span:
        """v * v, not below 0."""
        if self.is_point:
            return self * self
        most = np.maximum(np.abs(self.low), np.abs(self.high))
        crosses = (self.low <= 0) & (self.high >= 0)
        least = np.where(crosses, 0 * most, np.minimum(np.abs(self.low), np.abs(self.high)))
        found = self._outward(least * least, most * most)
        return Span(self.number, np.maximum(found.low, 0), found.high)

    def within(self, low: Any = None, high: Any = None) -> Span:
        """Met with a range that v is known to lie in."""
        bottom = self.low if low is None else np.maximum(self.low, low)
        top = self.high if high is None else np.minimum(self.high, high)
        return Span(self.number, bottom, top)

    def where(self, mask: np.ndarray, other: Span) -> Span:
        """These entries where the mask is true, others elsewhere."""
        low = np.where(mask, self.low, other.low)
        both = self.is_point and other.is_point
        return Span(self.number, low, low if both else np.where(mask, self.high, other.high))

    def _span(self, other: Span | Fraction | int) -> Span:
        return other if isinstance(other, Span) else Span.of(self.number, other)

    def _ends(self) -> tuple[np.ndarray, ...]:
        return (self.low,) if self.is_point else (self.low, self.high)

    def _outward(self, low: np.ndarray, high: np.ndarray) -> Span:
        return Span(self.number, down(self.number, low), up(self.number, high))
