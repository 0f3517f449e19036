"""Brightness: every pixel changes by the same number."""

from __future__ import annotations

from dataclasses import dataclass

from verify.fronts.amount import Amount
from verify.fronts.base import spread
from verify.ir.symbolic import SymbolicValue
from verify.registry import FrontEntry


@FrontEntry(name="brightness", place=10, help="brightness:0.1", example="brightness:0.1")
@dataclass(frozen=True)
class Brightness(Amount):
    """x + b, |b| <= by."""

    what = "a change of brightness"

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        return x + spread(theta, 0, x.shape)
