"""Gain of channels: every channel is multiplied by a number of its own, as a change of white balance does."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verify.fronts.base import Perturbation, Ranges, Shape
from verify.fronts.numbers import plane, reach_of
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "a gain"


@FrontEntry(name="gain", place=30, help="gain:0.1 (of each channel)", example="gain:0.1")
@dataclass(frozen=True)
class Gain(Perturbation):
    """(1 + g_c) x_c in channel c, |g_c| <= by; of one channel it is `Contrast`."""

    by: Number

    @classmethod
    def read(cls, argument: str) -> Gain:
        return cls(reach_of(argument, WHAT))

    def times(self, eps: Fraction) -> Gain:
        return Gain(eps * reach_of(self.by, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        return Ranges.about(*[reach_of(self.by, WHAT)] * plane(shape, WHAT)[0])

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        channels, rows, columns = plane(x.shape, WHAT)
        return x + x * theta[np.arange(channels).repeat(rows * columns).reshape(x.shape)]
