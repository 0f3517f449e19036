"""Scaling about the center of the image, bilinear, with 0 outside."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verify.errors import InputError
from verify.fronts.base import Perturbation, Ranges, Shape, spread
from verify.fronts.numbers import plane, reach_of
from verify.fronts.warp import about_center, warped
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "a scaling"


@FrontEntry(name="scaling", place=70, help="scaling:0.1", example="scaling:1/8")
@dataclass(frozen=True)
class Scaling(Perturbation):
    """x'(center + d) = x(center + (1 + s) d), |s| <= by < 1: smaller by the factor 1 + s, or larger where s < 0."""

    by: Number

    widens = False

    @classmethod
    def read(cls, argument: str) -> Scaling:
        return cls(reach_of(argument, WHAT))

    def times(self, eps: Fraction) -> Scaling:
        return Scaling(eps * reach_of(self.by, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        plane(shape, WHAT)
        by = reach_of(self.by, WHAT)
        if by >= 1:
            raise InputError(f"{WHAT} is {self.by} but must be less than 1, at which all pixels are one")
        return Ranges.about(by)

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        across, down, column, row = about_center(x.shape)
        factor, by = spread(theta, 0, across.shape) + 1, float(reach_of(self.by, WHAT))
        reach = [(middle + part - by * np.abs(part), middle + part + by * np.abs(part))
                 for part, middle in ((across, column), (down, row))]
        return warped(x, factor * across + column, factor * down + row, (reach[0], reach[1]))
