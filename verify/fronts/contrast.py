"""Contrast: every pixel is multiplied by the same number."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from verify.fronts.base import Perturbation, Ranges, Shape, spread
from verify.fronts.numbers import reach_of
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "a change of contrast"


@FrontEntry(name="contrast", place=20, help="contrast:0.2", example="contrast:0.2")
@dataclass(frozen=True)
class Contrast(Perturbation):
    """(1 + c) x, |c| <= by."""

    by: Number

    @classmethod
    def read(cls, argument: str) -> Contrast:
        return cls(reach_of(argument, WHAT))

    def times(self, eps: Fraction) -> Contrast:
        return Contrast(eps * reach_of(self.by, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        return Ranges.about(reach_of(self.by, WHAT))

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        return x + x * spread(theta, 0, x.shape)
