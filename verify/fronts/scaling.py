"""Scaling about the center of the image, bilinear, with 0 outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.errors import InputError
from verify.fronts.amount import Amount
from verify.fronts.base import Shape, spread
from verify.fronts.numbers import plane
from verify.fronts.warp import about_center, warped
from verify.ir.symbolic import SymbolicValue
from verify.registry import FrontEntry


@FrontEntry(name="scaling", place=70, help="scaling:0.1", example="scaling:1/8")
@dataclass(frozen=True)
class Scaling(Amount):
    """x'(center + d) = x(center + (1 + s) d), |s| <= by < 1: smaller by the factor 1 + s, or larger where s < 0."""

    what = "a scaling"
    widens = False

    def parameters(self, shape: Shape) -> int:
        plane(shape, self.what)
        if self.reach >= 1:
            raise InputError(f"{self.what} is {self.by} but must be less than 1, at which all pixels are one")
        return 1

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        across, down, column, row = about_center(x.shape)
        factor, by = spread(theta, 0, across.shape) + 1, float(self.reach)
        reach = [(middle + part - by * np.abs(part), middle + part + by * np.abs(part))
                 for part, middle in ((across, column), (down, row))]
        return warped(x, factor * across + column, factor * down + row, (reach[0], reach[1]))
