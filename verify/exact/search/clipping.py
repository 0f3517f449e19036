"""Cuts boxes with linear bounds: what lies outside cannot hold what is sought (Zhou et al. 2025, Clip-and-Verify)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SWEEPS = 2  # over all planes; a cut by one makes room for another
MARGIN = 1e-9  # by which a plane must miss what is sought before a point is cut off, relative to its size


class Planes(NamedTuple):
    """value <= height + slope . (x - center) on each of n boxes, for each of k values.

    Args:
        slope: (n, k, inputs).
        height: (n, k), inf where a value is not bounded.
    """

    slope: Tensor
    height: Tensor


def clipped(low: Tensor, high: Tensor, planes: Planes) -> tuple[Tensor, Tensor]:
    """The boxes (n, inputs) without parts where some plane is below -MARGIN; low > high where nothing is left.

    Sound because x_j >= c where slope_j x_j >= slope_j c for the largest that the other coordinates allow, and
    conversely; trusts float rounding, against which the margin stands.
    """
    ends, center, infinity = (low, high), (low + high) / 2, torch.full_like(low, torch.inf)
    low, high = low - center, high - center
    for _ in range(SWEEPS):
        for slope, height in zip(planes.slope.unbind(1), planes.height.unbind(1), strict=True):
            best = (slope * low).maximum(slope * high)
            total = best.sum(1) + height
            room = total + MARGIN * (1 + height.abs() + best.abs().sum(1))  # how far it is above what is sought
            # moving x_j from its best end by more than room / |slope_j| loses all of it
            reach = room[:, None] / slope.abs()
            rising, falling = high - reach, low + reach
            low = torch.where((slope > 0) & (rising > low), rising, low)
            high = torch.where((slope < 0) & (falling < high), falling, high)
    low, high = torch.nextafter(low + center, -infinity), torch.nextafter(high + center, infinity)
    return low.maximum(ends[0]), high.minimum(ends[1])
