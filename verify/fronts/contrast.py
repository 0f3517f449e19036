"""Contrast: every pixel is multiplied by the same number."""

from __future__ import annotations

from dataclasses import dataclass

from verify.fronts.amount import Amount
from verify.fronts.base import spread
from verify.ir.symbolic import SymbolicValue
from verify.registry import FrontEntry


@FrontEntry(name="contrast", place=20, help="contrast:0.2", example="contrast:0.2")
@dataclass(frozen=True)
class Contrast(Amount):
    """(1 + c) x, |c| <= by."""

    what = "a change of contrast"

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        return x + x * spread(theta, 0, x.shape)
