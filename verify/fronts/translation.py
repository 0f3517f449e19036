"""Translation: the image moves by fractions of pixels, linearly interpolated in both axes; what comes in is 0."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import floor

import numpy as np

from verify.errors import InputError
from verify.fronts.base import Perturbation, Ranges, Shape
from verify.fronts.numbers import plane, reach_of
from verify.ir.symbolic import SymbolicValue, concatenate
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "a translation"


@FrontEntry(name="translation", place=50, help="translation:2 (pixels), translation:ACROSS,DOWN",
            example="translation:1,1/2")
@dataclass(frozen=True)
class Translation(Perturbation):
    """x moved by s columns and t rows, |s| <= across, |t| <= down: x'(i, j) = x(i - t, j - s), where x between pixels
    is bilinear and 0 outside.

    A moved row is, exactly and for all s at once, the row moved by the least whole number and the differences of the
    next ones, each times a ramp: x'(j) = x(j - m) + sum over k >= m of (x(j - k - 1) - x(j - k)) clip(s - k, 0, 1).
    """

    across: Number
    down: Number

    widens = False

    @classmethod
    def read(cls, argument: str) -> Translation:
        parts = argument.split(",")
        if len(parts) > 2:
            raise InputError(f"translation:{argument} has {len(parts)} numbers; write translation:2 or translation:2,1")
        return cls(*(reach_of(part, WHAT) for part in (parts * 2)[:2]))

    def times(self, eps: Fraction) -> Translation:
        return Translation(eps * reach_of(self.across, WHAT), eps * reach_of(self.down, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        plane(shape, WHAT)
        return Ranges.about(reach_of(self.across, WHAT), reach_of(self.down, WHAT))

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        for axis, which, reach in ((-1, 0, self.across), (-2, 1, self.down)):
            x = moved(x, theta, which, reach_of(reach, WHAT), axis)
        return x


def moved(x: SymbolicValue, theta: SymbolicValue, which: int, reach: Fraction, axis: int) -> SymbolicValue:
    """x moved along an axis by a parameter that lies between -reach and reach."""
    if reach == 0:
        return x
    least = floor(-reach)
    steps = range(least, -least)
    whole = [x.picked(_shifted(x.shape, k, axis)) for k in range(least, -least + 1)]
    ramp = (theta[np.full(len(steps), which)] - [*steps]).clip(0, 1)
    rise = concatenate([(after - before).reshape(1, *x.shape) for before, after in pairwise(whole)])
    share = ramp[np.arange(len(steps)).reshape(-1, *[1] * len(x.shape)) + np.zeros((1, *x.shape), int)]
    return whole[0] + (rise * share).sum(0)


def _shifted(shape: Shape, by: int, axis: int) -> np.ndarray:
    """Flat places in an image of what its entries are after a move by whole pixels, -1 for what comes in."""
    places = np.arange(np.prod(shape)).reshape(shape)
    rolled = np.roll(places, by, axis)
    n = np.arange(shape[axis])
    inside = ((n - by >= 0) & (n - by < shape[axis])).reshape(-1, *[1] * (-axis - 1))
    return np.where(inside, rolled, -1)
