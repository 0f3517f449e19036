"""Linf: the largest change of a coordinate."""

from __future__ import annotations

import numpy as np

from verify.registry import NormEntry
from verify.sets.norms.base import ONE, BoxNorm


@NormEntry(name="linf", place=10, help="the largest change of a coordinate")
class Linf(BoxNorm):
    """max |d_i|; its dual is L1."""

    def reach(self, size: int) -> np.ndarray:
        return ONE
