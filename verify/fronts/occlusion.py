"""Occlusion: a rectangle at a fixed place grows dark."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verify.errors import InputError
from verify.fronts.base import Perturbation, Ranges, Shape, spread
from verify.fronts.numbers import reach_of
from verify.fronts.rectangle import Rectangle
from verify.ir.symbolic import SymbolicValue
from verify.rationals import Number
from verify.registry import FrontEntry

WHAT = "an occlusion"


@FrontEntry(name="occlusion", place=110, help="occlusion:2,2,3,3 (row, column, height, width)",
            example="occlusion:1,0,2,3")
@dataclass(frozen=True)
class Occlusion(Perturbation):
    """(1 - t) x in the pixels of a rectangle, 0 <= t <= by <= 1: at t = 1 they are 0."""

    where: Rectangle
    by: Number = 1

    widens = False

    @classmethod
    def read(cls, argument: str) -> Occlusion:
        return cls(Rectangle.of(argument, WHAT))

    def times(self, eps: Fraction) -> Occlusion:
        return Occlusion(self.where, eps * reach_of(self.by, WHAT))

    def ranges(self, shape: Shape) -> Ranges:
        self.where.mask(shape, WHAT)
        by = reach_of(self.by, WHAT)
        if by > 1:
            raise InputError(f"{WHAT} takes a share {self.by} of the light, more than all of it; give at most 1")
        zero = np.array([Fraction(0)], object)
        return Ranges(zero, np.array([by], object), zero)

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        return x - x * self.where.mask(x.shape, WHAT).astype(int) * spread(theta, 0, x.shape)
