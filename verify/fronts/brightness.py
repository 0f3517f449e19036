"""Brightness: every pixel changes by the same number."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from verify.fronts.base import Perturbation, Ranges, Shape, spread
from verify.fronts.numbers import reach_of
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "a change of brightness"


@FrontEntry(name="brightness", place=10, help="brightness:0.1", example="brightness:0.1")
@dataclass(frozen=True)
class Brightness(Perturbation):
    """x + b, |b| <= by."""

    by: Number

    @classmethod
    def read(cls, argument: str) -> Brightness:
        return cls(reach_of(argument, WHAT))

    def times(self, eps: Fraction) -> Brightness:
        return Brightness(eps * reach_of(self.by, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        return Ranges.about(reach_of(self.by, WHAT))

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        return x + spread(theta, 0, x.shape)
