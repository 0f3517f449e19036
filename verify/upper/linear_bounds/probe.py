"""Rows that are bounded to decide something need no more bounding once it is decided."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from verify.ops.base import IntervalBounds

KEEP = 0.8  # rows are dropped on their way where at most this share of them is left


class Probe:
    """Watches rows sign_i * e_i on their way to the input, and drops the entries that are decided."""

    def __init__(
        self, at: Tensor, sign: Tensor, known: IntervalBounds, is_open: Callable[[IntervalBounds], Tensor] | None
    ):
        """is_open: of bounds (m,), which entries (m,) bool are undecided; None where nothing decides one."""
        self.bounds = IntervalBounds(known.low.clone(), known.high.clone())  # (n,) the result
        self.is_open = is_open
        self.left = torch.arange(len(at), device=at.device)  # entries still on their way, and of these:
        self.at, self.sign, self.up = at, sign, sign > 0  # reference values; 1 for an upper bound, -1 for a lower one
        self.here = known

    def see(self, bound: Tensor) -> Tensor | None:
        """Notes the bounds (left,) of the rows on their way, NaN for none; the rows to keep, or None for all."""
        reached, (low, high) = self.at + self.sign * bound, self.here
        self.here = IntervalBounds(
            torch.where(self.up, low, low.fmax(reached)), torch.where(self.up, high.fmin(reached), high)
        )
        if self.is_open is None:
            return None
        keep = self.is_open(self.here).nonzero().flatten()
        if len(keep) > KEEP * len(self.left):
            return None
        self.settle()
        self.left, self.at, self.sign, self.up = (part[keep] for part in (self.left, self.at, self.sign, self.up))
        self.here = IntervalBounds(self.here.low[keep], self.here.high[keep])
        return keep

    def settle(self) -> IntervalBounds:
        """Writes what is known of the entries on their way into the result."""
        self.bounds.low[self.left], self.bounds.high[self.left] = self.here
        return self.bounds
