"""Patch: the pixels of a rectangle at a fixed place change by numbers of their own."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from verify.fronts.base import Perturbation, Ranges, Shape
from verify.fronts.numbers import reach_of
from verify.fronts.rectangle import Rectangle
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "a patch"


@FrontEntry(name="patch", place=120, help="patch:2,2,3,3 (row, column, height, width)", example="patch:1,0,2,1")
@dataclass(frozen=True)
class Patch(Perturbation):
    """x + d in the pixels of a rectangle, |d_i| <= by for every entry i of them: by 1 anything in a clip of [0, 1]."""

    where: Rectangle
    by: Number = 1

    @classmethod
    def read(cls, argument: str) -> Patch:
        return cls(Rectangle.of(argument, WHAT))

    def times(self, eps: Fraction) -> Patch:
        return Patch(self.where, eps * reach_of(self.by, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        return Ranges.about(*[reach_of(self.by, WHAT)] * int(self.where.mask(shape, WHAT).sum()))

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        inside = self.where.mask(x.shape, WHAT)
        places = (inside.cumsum() - 1).clip(min=0).reshape(x.shape)
        return x + theta.picked(places) * inside.astype(int)
