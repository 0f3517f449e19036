"""Shear: rows move sideways, in proportion to their distance from the center; bilinear, with 0 outside."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verify.fronts.base import Perturbation, Ranges, Shape, spread
from verify.fronts.numbers import plane, reach_of
from verify.fronts.warp import about_center, warped
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "a shear"


@FrontEntry(name="shear", place=80, help="shear:0.1 (columns for each row)", example="shear:1/8")
@dataclass(frozen=True)
class Shear(Perturbation):
    """x'(i, j) = x(i, j + k (i - center)), |k| <= by: rows move by k columns for each row away from the center."""

    by: Number

    widens = False

    @classmethod
    def read(cls, argument: str) -> Shear:
        return cls(reach_of(argument, WHAT))

    def times(self, eps: Fraction) -> Shear:
        return Shear(eps * reach_of(self.by, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        plane(shape, WHAT)
        return Ranges.about(reach_of(self.by, WHAT))

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        across, down, column, row = about_center(x.shape)
        slope, by = spread(theta, 0, across.shape), float(reach_of(self.by, WHAT)) * np.abs(down)
        left, right = across + column - by, across + column + by
        still = slope * 0 + (down + row)
        return warped(x, slope * down + (across + column), still, ((left, right), (down + row, down + row)))
