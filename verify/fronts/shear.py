"""Shear: rows move sideways, in proportion to their distance from the center; bilinear, with 0 outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.fronts.amount import Amount
from verify.fronts.base import Shape, spread
from verify.fronts.numbers import plane
from verify.fronts.warp import about_center, warped
from verify.ir.symbolic import SymbolicValue
from verify.registry import FrontEntry


@FrontEntry(name="shear", place=80, help="shear:0.1 (columns for each row)", example="shear:1/8")
@dataclass(frozen=True)
class Shear(Amount):
    """x'(i, j) = x(i, j + k (i - center)), |k| <= by: rows move by k columns for each row away from the center."""

    what = "a shear"
    widens = False

    def parameters(self, shape: Shape) -> int:
        plane(shape, self.what)
        return 1

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        across, down, column, row = about_center(x.shape)
        slope, by = spread(theta, 0, across.shape), float(self.reach) * np.abs(down)
        left, right = across + column - by, across + column + by
        still = slope * 0 + (down + row)
        return warped(x, slope * down + (across + column), still, ((left, right), (down + row, down + row)))
