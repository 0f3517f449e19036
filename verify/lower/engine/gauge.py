"""Distances from the points that sets surround, and the nearest points on the far side of a linear boundary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.sets import Ball, InputSet
from verify.sets.norms import norm_of
from verify.sets.norms.base import Norm, RoundNorm, clamp

FARTHER = 4.0  # a search for near points may go so many times as far as the set


@dataclass(frozen=True)
class Gauge:
    """How far points are from the nominal ones of sets: by the norm of a ball, else in half-widths of the hull.

    Args:
        norm: of differences in units of `scale`.
        center, scale: (n, size).
        low, high: (n, size), the range of what is considered.
    """

    norm: Norm
    center: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def select(self, index: Tensor) -> Gauge:
        """The gauge of the points at these positions, index (m,) long."""
        return Gauge(self.norm, *(part[index] for part in (self.center, self.scale, self.low, self.high)))

    def clamped(self, x: Tensor) -> Tensor:
        return clamp(x, self.low, self.high)

    def step(self, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        """The shortest d, up to rounding, within the range of x + d, with value + gradient . d = 0; the farthest that
        leads there where none does. x, gradient (..., n, size), value (..., n) -> (..., n, size)."""
        a = gradient * self.scale * -value.sign()[..., None]
        down, up = ((self.low - x) / self.scale).clamp(max=0), ((self.high - x) / self.scale).clamp(min=0)
        return self.norm.shortest(a, value.abs()[..., None], down, up) * self.scale

    def size(self, d: Tensor) -> Tensor:
        """How long differences d (n, size) are, (n,)."""
        return self.norm.measure(d / self.scale)

    def closest(self, d: Tensor, radius: Tensor) -> Tensor:
        """The differences from the centers within these radii (n, 1), and the range, that are nearest to d (n, size),
        up to rounding."""
        d, down, up = (part / self.scale for part in (d, self.low - self.center, self.high - self.center))
        down, up = down.clamp(max=0), up.clamp(min=0)
        if isinstance(self.norm, RoundNorm):
            radius = radius.clamp(min=torch.finfo(d.dtype).tiny)
            return self.norm.closest(d, down, up, radius) * self.scale
        reach = torch.as_tensor(self.norm.reach(d.shape[1]).astype("float64")).to(d)
        return clamp(clamp(d, -radius * reach, radius * reach), down, up) * self.scale


def gauge_of(inputs: InputSet) -> Gauge:
    """The gauge of balls, over a wider range that stays in the clip; of other sets that of their hulls."""
    center = inputs.nominal().flatten(1)
    low, high = (end.flatten(1) for end in (inputs.low, inputs.high))
    if not isinstance(inputs, Ball):
        half = ((high - low) / 2).clamp(min=torch.finfo(low.dtype).tiny)
        return Gauge(norm_of("linf"), center, half, low, high)
    low, high = center + FARTHER * (low - center), center + FARTHER * (high - center)
    if inputs.clip is not None:
        low, high = low.clamp(min=float(inputs.clip[0])), high.clamp(max=float(inputs.clip[1]))
    return Gauge(inputs.norm, center, torch.ones_like(center), low, high)
