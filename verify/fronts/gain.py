"""Gain of channels: every channel is multiplied by a number of its own, as a change of white balance does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.fronts.amount import Amount
from verify.fronts.base import Shape
from verify.fronts.numbers import plane
from verify.ir.symbolic import SymbolicValue
from verify.registry import FrontEntry


@FrontEntry(name="gain", place=30, help="gain:0.1 (of each channel)", example="gain:0.1")
@dataclass(frozen=True)
class Gain(Amount):
    """(1 + g_c) x_c in channel c, |g_c| <= by; of one channel it is `Contrast`."""

    what = "a gain"

    def parameters(self, shape: Shape) -> int:
        return plane(shape, self.what)[0]

    def perturb(self, x: SymbolicValue, theta: SymbolicValue) -> SymbolicValue:
        channels, rows, columns = plane(x.shape, self.what)
        return x + x * theta[np.arange(channels).repeat(rows * columns).reshape(x.shape)]
