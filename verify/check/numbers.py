"""The two arithmetics of the checker: float64 with bounds on every rounding error, and exact rationals.

All bounds are written once, over NumPy arrays; in exact arithmetic the arrays hold `Fraction`s and every error bound is
zero. In float64 nothing is rounded in a direction: results are nearest, and a bound on their error, made of magnitudes,
is added at the end (Higham 2002, chapter 3: |fl(x . y) - x . y| <= gamma_n |x| . |y|, in any order of summation).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from fractions import Fraction
from typing import Any

import numpy as np

DOUBLE, SINGLE = 2.0**-53, 2.0**-24  # unit roundoffs of float64 and float32
TINY = 2.0**-700  # above every underflow of float64 (2^-1022, flushed to zero or not) times numbers below 2^200
TINY_SINGLE = 2.0**-126  # the least normal float32
INFLATION = 1 + 2.0**-20  # covers the rounding of sums of non-negative terms, of which there are at most 2^26
MOST_TERMS = 1 << 26
Scalar = Any  # a float, or a Fraction in exact arithmetic


class Rejected(Exception):
    """The certificate does not prove its claim; the text is the first reason."""


def shown_above(bound: float, digits: int) -> str:
    """An upper bound with so many digits, rounded up."""
    return f"{float(Context(digits, ROUND_CEILING).create_decimal_from_float(bound)):.{digits}g}"


def gamma(terms: int, unit: float) -> float:
    """n u / (1 - n u), rounded up: the relative error of a sum of n products. Rejects n u >= 1/2, where it blows up."""
    if terms * unit >= 0.5 or terms > MOST_TERMS:
        raise Rejected(f"a sum of {terms} terms is too long for the error bounds")
    return terms * unit / (1 - terms * unit) * (1 + 2.0**-40)


@dataclass(frozen=True)
class Arithmetic:
    """How numbers are held: float64, or exact rationals in object arrays."""

    exact: bool = False

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(object if self.exact else np.float64)

    def of(self, values: np.ndarray) -> np.ndarray:
        """Floats or integers as numbers of this arithmetic, exactly."""
        if not self.exact:
            return np.asarray(values, np.float64)
        flat = np.empty(values.size, object)
        flat[:] = [Fraction(v) for v in values.reshape(-1).tolist()]
        return flat.reshape(values.shape)

    def nearest(self, rationals: np.ndarray) -> np.ndarray:
        """Rationals (object array) as numbers of this arithmetic, with at most one rounding each."""
        return rationals if self.exact else rationals.astype(np.float64)

    def zeros(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.of(np.zeros(shape))

    def factor(self, value: float) -> Scalar:
        """A float as a number of this arithmetic."""
        return Fraction(value) if self.exact else value

    def relative(self, terms: int) -> Scalar:
        """A factor for sums of magnitudes that covers a few roundings beside a sum of `terms` products."""
        return 0 if self.exact else 4 * gamma(terms + 4, DOUBLE)

    def absolute(self, terms: int) -> Scalar:
        """What underflow may cost in such a sum, beside factors that `finite` keeps below 2^200."""
        return 0 if self.exact else 4.0 * terms * TINY

    def down(self, rationals: np.ndarray) -> np.ndarray:
        """The largest number at or below each rational."""
        return rationals if self.exact else _toward(rationals, -np.inf)

    def up(self, rationals: np.ndarray) -> np.ndarray:
        """The least number at or above each rational."""
        return rationals if self.exact else _toward(rationals, np.inf)

    def finite(self, what: str, *arrays: np.ndarray) -> None:
        """Rejects NaN, infinity and magnitudes from 2^200 on, beyond which products of bounds may overflow."""
        for values in arrays:
            wide = values.astype(np.float64) if values.dtype == np.float32 else values  # which 2^200 overflows
            if not bool(np.all(np.abs(wide) < 2.0**200)):
                raise Rejected(f"{what} is beyond 2^200 or not a number")


def _toward(rationals: np.ndarray, end: float) -> np.ndarray:
    """The numbers of float64 next to rationals, in the direction of an end. Products of integers compare them, which is
    several times as fast as fractions are."""
    near = rationals.astype(np.float64)
    flat, sign = near.reshape(-1), 1 if end < 0 else -1
    beyond = []
    for place, (here, value) in enumerate(zip(flat.tolist(), rationals.reshape(-1).tolist(), strict=True)):
        top, bottom = here.as_integer_ratio()
        if sign * (top * value.denominator - value.numerator * bottom) > 0:
            beyond.append(place)
    flat[beyond] = np.nextafter(flat[beyond], end)
    return near


def single_hull(rationals: np.ndarray, end: float) -> np.ndarray:
    """float32 numbers, as float64, at or beyond each rational in a direction: they enclose whatever the rational is
    rounded to, since rounding is monotone."""
    wide = _toward(rationals, end)
    short = wide.astype(np.float32)
    beyond = (short > wide) if end < 0 else (short < wide)
    return np.where(beyond, np.nextafter(short, np.float32(end)), short).astype(np.float64)
