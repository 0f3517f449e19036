"""A small Linf ball on top of another perturbation: every pixel changes by a number of its own."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from verify.fronts.amount import Amount
from verify.fronts.base import Shape
from verify.ir.symbolic import SymbolicValue
from verify.registry import FrontEntry


@FrontEntry(name="linf", place=200, help="linf:1/255 (after another, as in brightness:0.1+linf:1/255)",
            example="linf:1/255")
@dataclass(frozen=True)
class PixelNoise(Amount):
    """x + d, |d_i| <= by for every entry i."""

    what = "the radius of an Linf ball"

    def parameters(self, shape: Shape) -> int:
        return prod(shape)

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        return x + theta.reshape(*x.shape)
