"""Linf in which every second coordinate may change three times as much."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verify.registry import NormEntry
from verify.sets.norms.base import BoxNorm


@NormEntry(name="weighted", place=50, help="linf in which every second coordinate may change three times as much")
class Weighted(BoxNorm):
    """max of |d_0|, |d_1| / 3, |d_2|, |d_3| / 3, ..."""

    def reach(self, size: int) -> np.ndarray:
        return np.array([Fraction(1 + 2 * (k % 2)) for k in range(size)], dtype=object)
