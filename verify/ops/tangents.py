"""What the lines of a curve are found with: vertices, tangents of curved pieces, and the extreme values over both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from verify.ops.base import IntervalBounds

BISECTIONS = 40


class Curvature(IntEnum):
    """How a piece bends; the sign of f''."""

    CONCAVE = -1
    LINEAR = 0
    CONVEX = 1


Vertices = tuple[Tensor, Tensor]  # x and f(x), both (count, batch, *shape), the ends of the box first


@dataclass(frozen=True)
class Tangent:
    """A tangent of a curved piece on its part of a box; all (batch, *shape)."""

    is_above: bool
    at: Tensor
    value: Tensor
    slope: Tensor
    part: IntervalBounds

    def offset(self, slope: Tensor) -> Tensor:
        """A bound of f(x) - slope x on the part, from above or below; that of the tangent."""
        rest = self.slope - slope
        first, second = (rest * (end - self.at) for end in self.part)
        beyond = first.maximum(second) if self.is_above else first.minimum(second)
        return self.value - slope * self.at + beyond


def intercepts(slope: Tensor, vertices: Vertices, tangents: Sequence[Tangent]) -> tuple[Tensor, Tensor]:
    """The extreme values of f(x) - slope x: over the vertices, and by the tangents over curved pieces."""
    offsets = vertices[1] - slope * vertices[0]
    lower, upper = offsets.amin(0), offsets.amax(0)
    for tangent in tangents:
        if tangent.is_above:
            upper = upper.maximum(tangent.offset(slope))
        else:
            lower = lower.minimum(tangent.offset(slope))
    return lower, upper


def size_of(slope: Tensor, vertices: Vertices, tangents: Sequence[Tangent]) -> Tensor:
    """What the rounding of an intercept is proportional to."""
    x, y = vertices
    size = y.abs().amax(0)
    for tangent in tangents:
        size = size.maximum(tangent.value.abs())
    return size + (slope * x).abs().amax(0)


def secant(x: Tensor, y: Tensor, left: int, right: int) -> Tensor:
    """The slope of the line through two points of the graph, by their places; 0 where they are one."""
    width = (x[right] - x[left]).clamp(min=torch.finfo(x.dtype).tiny)
    return (y[right] - y[left]) / width


def bisected(start: Tensor, end: Tensor, holds: Callable[[Tensor], Tensor]) -> Tensor:
    """The point nearest to `start` from which on to `end` a condition holds; `end` where it does nowhere."""
    for _ in range(BISECTIONS):
        middle = start.lerp(end, 0.5)
        there = holds(middle)
        start, end = torch.where(there, start, middle), torch.where(there, middle, end)
    return end


def better(best: Sequence[Tensor], other: Sequence[Tensor]) -> list[Tensor]:
    """Of two (slope, intercept, cost), at each place the one of less cost, `best` on ties; NaN wins, to stay seen."""
    worse = best[2] <= other[2]
    return [mine.where(worse, new) for mine, new in zip(best, other, strict=True)]
