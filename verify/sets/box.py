"""Boxes: the product of an interval for each coordinate, degenerate ones included."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.rationals import exact_array, round_down, round_up
from verify.sets.base import InputSet, box_support


class Box(InputSet):
    """{x : low <= x <= high}; low, high (batch, *shape), float tensors or object arrays of rationals.

    Rationals are kept: membership is decided on them, and the float hull is rounded outward. A coordinate with
    low == high is allowed. Raises InputError where low > high or a bound is not finite.
    """

    def __init__(self, low: Tensor | np.ndarray, high: Tensor | np.ndarray, dtype: torch.dtype = torch.float32):
        if tuple(low.shape) != tuple(high.shape):
            raise InputError(f"a box has low of shape {tuple(low.shape)} but high of {tuple(high.shape)}; give equal shapes")
        self._exact = (low, high) if isinstance(low, np.ndarray) else None
        self.low = round_down(low, dtype) if isinstance(low, np.ndarray) else low
        self.high = round_up(high, dtype) if isinstance(high, np.ndarray) else high
        if not bool(torch.isfinite(self.low).all() and torch.isfinite(self.high).all()):
            raise InputError("a box has a bound that is not finite; bound every input coordinate")
        bad = low > high
        if bool(bad.any()):
            where = np.argwhere(np.asarray(bad))[0].tolist()
            raise InputError(f"a box is empty: low > high at position {where}; swap or widen the bounds")

    @property
    def exact(self) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) as object arrays of rationals, (batch, *shape)."""
        if self._exact is None:
            return exact_array(self.low), exact_array(self.high)
        return self._exact

    @property
    def is_box(self) -> bool:
        return True

    def support(self, a: Tensor) -> Tensor:
        """Sound because a linear function on a box is maximal at a corner; trusts float rounding."""
        return box_support(self.low, self.high, a)

    def maximiser(self, a: Tensor) -> Tensor:
        return torch.where(a > 0, self.high, torch.where(a < 0, self.low, (self.low + self.high) / 2))

    def project(self, x: Tensor) -> Tensor:
        low, high = self._inner()
        return torch.minimum(torch.maximum(x, low), high)

    def contains(self, x: Tensor) -> Tensor:
        if self._exact is None:
            return ((x >= self.low) & (x <= self.high)).flatten(1).all(1)
        low, high = self._exact
        # x >= low in rationals iff x >= the smallest float at or above low
        inside = (x.cpu() >= round_up(low, x.dtype)) & (x.cpu() <= round_down(high, x.dtype))
        return inside.flatten(1).all(1).to(x.device)

    def select(self, index: Tensor) -> Box:
        out = object.__new__(Box)
        out.low, out.high = self.low[index], self.high[index]
        picked = index.cpu().numpy()
        out._exact = None if self._exact is None else (self._exact[0][picked], self._exact[1][picked])
        return out

    def to(self, device: torch.device | str) -> Box:
        out = object.__new__(Box)
        out.low, out.high, out._exact = self.low.to(device), self.high.to(device), self._exact
        return out

    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        size = self.low[0].numel()
        return np.zeros((0, size)), np.zeros(0)

    def _inner(self) -> tuple[Tensor, Tensor]:
        """The box rounded inward, except where no float lies inside: there the nearest ones stay."""
        if self._exact is None:
            return self.low, self.high
        low = round_up(self._exact[0], self.low.dtype).to(self.low.device)
        high = round_down(self._exact[1], self.low.dtype).to(self.low.device)
        empty = low > high
        return torch.where(empty, self.low, low), torch.where(empty, self.high, high)
