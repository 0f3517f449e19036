"""Blur: every pixel becomes a mean of its neighbours, with weights that fall as those of a Gaussian do."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, exp

import numpy as np
import torch

from verify.errors import InputError
from verify.fronts.base import Perturbation, Ranges, Shape, spread
from verify.fronts.numbers import moved_places, plane, reach_of
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number, round_up
from verify.registry import FrontEntry

WHAT = "the deviation of a blur"
REACH = 3  # deviations beyond which weights are cut off
LARGEST = 8  # pixels of deviation
LEAST = 2.0**-149  # the least positive float32


@FrontEntry(name="blur", place=90, help="blur:1 (deviation in pixels)", example="blur:1/2")
@dataclass(frozen=True)
class Blur(Perturbation):
    """Gaussian blur of any deviation s <= by: with q = exp(-1 / (2 s^2)), the pixel at offset (a, b) has the weight
    q^(a^2 + b^2) / (1 + 2 q + 2 q^4 + .. + 2 q^(R^2))^2 for |a|, |b| <= R; pixels at the edge go on outside.

    The parameter is q, from 0, which is no blur. Weights are polynomials of q and one reciprocal, pixels at equal
    distances share theirs, and where the image is pinned its sums of such pixels are constants. R is `reach`, by
    default ceil(3 by); of a blur times eps it stays, so that the smaller ranges are parts of the larger ones.
    """

    by: Number
    reach: int | None = None

    widens = False

    @classmethod
    def read(cls, argument: str) -> Blur:
        return cls(reach_of(argument, WHAT))

    def times(self, eps: Fraction) -> Blur:
        return Blur(eps * reach_of(self.by, WHAT), self._pixels)

    @property
    def _pixels(self) -> int:
        return ceil(REACH * reach_of(self.by, WHAT)) if self.reach is None else self.reach

    def ranges(self, shape: Shape) -> Ranges:
        plane(shape, "a blur")
        by = reach_of(self.by, WHAT)
        if by > LARGEST:
            raise InputError(f"{WHAT} is {self.by} pixels, more than {LARGEST}; give less")
        twice = 2 * float(by) ** 2  # variances; the exponential is below the least float32 long before this is 0
        most = max(exp(-1 / twice) * (1 + 1e-9), LEAST) if twice else LEAST
        exact = np.array([Fraction(most) if by else Fraction(0)], object)
        high = Fraction(float(round_up(exact, torch.float32)[0]))  # above the exponential, which no rational is
        zero = np.array([Fraction(0)], object)
        return Ranges(zero, np.array([high], object), zero)

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        reach = self._pixels
        if not reach:
            return x
        total = sum((theta ** (k * k) * 2 for k in range(2, reach + 1)), theta * 2 + 1)
        share = total**-2
        near = [(a, b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1)]
        found = x  # weights add up to 1, so each moves the pixel toward the mean of its ring
        for square in sorted({a * a + b * b for a, b in near} - {0}):
            ring = [moved_places(x.shape, a, b) for a, b in near if a * a + b * b == square]
            weight = share * (theta if square == 1 else theta**square)
            rise = x.picked(np.stack(ring, -1)).sum(len(x.shape)) - x * len(ring)
            found = found + rise * spread(weight, 0, x.shape)
        return found
