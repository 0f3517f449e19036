"""A small Linf ball on top of another perturbation: every pixel changes by a number of its own."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from verify.fronts.base import Perturbation, Ranges, Shape
from verify.fronts.numbers import reach_of
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "the radius of an Linf ball"


@FrontEntry(name="linf", place=200, help="linf:1/255 (after another, as in brightness:0.1+linf:1/255)",
            example="linf:1/255")
@dataclass(frozen=True)
class PixelNoise(Perturbation):
    """x + d, |d_i| <= by for every entry i."""

    by: Number

    @classmethod
    def read(cls, argument: str) -> PixelNoise:
        return cls(reach_of(argument, WHAT))

    def times(self, eps: Fraction) -> PixelNoise:
        return PixelNoise(eps * reach_of(self.by, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        return Ranges.about(*[reach_of(self.by, WHAT)] * prod(shape))

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        return x + theta.reshape(*x.shape)
