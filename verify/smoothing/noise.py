"""Gaussian noise rounded to a grid, drawn exactly.

Floats do not hold Gaussian noise, and what rounding makes of x + noise tells x from its neighbours: certificates of
noise in floats can be false (Voracek and Hein, Sound Randomized Smoothing in Floating-Point Arithmetics, ICLR 2023).
Here x is a multiple of a unit h, and so is the noise. For such x, x + round(noise) = round(x + noise): the network
after rounding to the grid, a function on all real inputs, is what noise with real values is added in front of.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor, log2, prod

import mpmath
import numpy as np
from scipy.special import ndtri

BITS = 64  # of a uniform number before more are asked for
MORE = 192  # bits of those that 64 do not settle
FINE = 20  # a standard deviation has 2^20 to 2^21 units
SURE = 1e-12  # what SciPy's inverse of the normal distribution errs by at most, relative to 1 + its value
FEW = 1 << 40  # a uniform number of fewer units of 2^-64 is an interval too wide for one float;
FAR = 6  # others have quantiles below this
PART = 1 << 15  # numbers at a time, which a processor keeps near


@dataclass(frozen=True)
class GridNoise:
    """round(N(0, sigma^2) / unit), whole numbers that are drawn independently.

    Args:
        sigma: the standard deviation, > 0.
    """

    sigma: Fraction

    @property
    def unit(self) -> Fraction:
        """A power of 2 that fits into sigma 2^20 to 2^21 times."""
        return Fraction(2) ** (floor(log2(self.sigma)) - FINE)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Whole numbers (*shape) int64.

        Their distribution is that of rounded Gaussian noise, to 2^-192: a number is the quantile of uniform random
        bits, by SciPy where its error cannot change the result, else by more bits and 60 digits. Sound because the
        quantile is monotone; trusts the generator's bits, SciPy's `ndtri` to 1e-12, and mpmath.
        """
        found = np.empty(prod(shape), np.int64)
        for start in range(0, len(found), PART):
            found[start : start + PART] = self._part(min(PART, len(found) - start), rng)
        return found.reshape(shape)

    def _part(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """So many numbers (count,), whole ones as float64."""
        scale = float(self.sigma / self.unit)
        bits = rng.integers(0, 1 << 64, size=count, dtype=np.uint64, endpoint=False)
        tail = bits >> np.uint64(1)  # of the half of the distribution that the last bit names, units of 2^-64
        size = np.maximum(tail, 1).astype(np.float64)
        size *= 2.0**-BITS
        ndtri(size, out=size)
        size *= -scale
        whole = np.rint(size)
        size -= whole
        unsure = (np.abs(size, out=size) >= 0.5 - SURE * (1 + FAR) * scale) | (tail < FEW)
        for k in np.flatnonzero(unsure):
            whole[k] = self._settled(int(tail[k]), int(whole[k]), rng)
        return np.negative(whole, out=whole, where=(bits & np.uint64(1)) == 0)

    def _settled(self, tail: int, guess: int, rng: np.random.Generator) -> int:
        """The rounded quantile of the tail probability between `tail` and tail + 1 units of 2^-64, of which more bits
        are drawn."""
        more = int.from_bytes(rng.bytes((MORE - BITS) // 8), "big")
        share = Fraction((tail << (MORE - BITS)) + more, 1 << MORE)
        low, high, step = guess, guess, 1  # the quantile is above low - 1/2 and not above high + 1/2
        while self._beyond(low) < share:
            low, step = low - step, 2 * step
        step = 1
        while self._beyond(high + 1) >= share:
            high, step = high + step, 2 * step
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._beyond(middle) >= share else (low, middle - 1)
        return low

    def _beyond(self, whole: int) -> Fraction:
        """The probability that noise, rounded, is at least this whole number of units."""
        with mpmath.workdps(60):
            at = (whole - Fraction(1, 2)) * self.unit / self.sigma
            value = mpmath.ncdf(-mpmath.mpf(at.numerator) / at.denominator)
            return Fraction(int(value * 2**MORE), 1 << MORE)
