"""Where a curve has values, and what its bounds are where it has none: infinite."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from verify.ops.base import IntervalBounds, Lines


@dataclass(frozen=True)
class Domain:
    """The numbers of [low, high] other than the poles. Every pole inside is a breakpoint of the curve, and 1 lies in
    every domain."""

    low: float = -inf
    high: float = inf
    poles: tuple[float, ...] = ()

    def left_by(self, box: IntervalBounds) -> Tensor | None:
        """The boxes that hold a point where there is no value, bool; None if no box does. A NaN leaves no domain, and
        so stays a NaN."""
        if self == REALS:
            return None
        gone = (box.low < self.low) | (box.high > self.high)
        for pole in self.poles:
            gone = gone | ((box.low <= pole) & (box.high >= pole))
        return gone

    def part(self, box: IntervalBounds) -> IntervalBounds:
        """The boxes, but the point 1 in place of those that leave the domain."""
        gone = self.left_by(box)
        return box if gone is None else IntervalBounds(*(end.masked_fill(gone, 1.0) for end in box))

    def fails(self, box: IntervalBounds, values: Tensor) -> Tensor:
        """Where lines cannot be found, as the box leaves the domain or one of the values (count, batch, *shape) that
        they would clear is not finite; bool."""
        overflows, gone = ~values.isfinite().all(0), self.left_by(box)
        return overflows if gone is None else overflows | gone


REALS = Domain()


def unbounded(values: IntervalBounds, gone: Tensor | None) -> IntervalBounds:
    """The same bounds, but none where a box has left the domain."""
    if gone is None:
        return values
    return IntervalBounds(values.low.masked_fill(gone, -torch.inf), values.high.masked_fill(gone, torch.inf))


def sloped(values: IntervalBounds, box: IntervalBounds, slope: Tensor) -> tuple[Tensor, Tensor]:
    """(lower, upper) intercepts of lines of this slope over the box that clear these bounds of the values, rounded
    outward; infinite where they are beyond the largest float."""
    rise = torch.stack([(slope * end).masked_fill(slope == 0, 0) for end in box])
    slack = 2 * torch.finfo(rise.dtype).eps * (rise.abs().amax(0) + values.low.abs().maximum(values.high.abs()))
    slack = slack.where(slope != 0, 0)
    lower, upper = values.low - rise.amax(0) - slack, values.high - rise.amin(0) + slack
    return lower.masked_fill(~lower.isfinite(), -torch.inf), upper.masked_fill(~upper.isfinite(), torch.inf)


def flattened(lines: Lines, fails: Tensor, values: IntervalBounds) -> Lines:
    """The lines, but one of slope 0 at the end of the interval of values on each side where `fails` holds (bool) or
    that is not finite."""
    sides = []
    for slope, intercept, value in zip(lines.parts[::2], lines.parts[1::2], values, strict=True):
        flat = fails | ~(slope.isfinite() & intercept.isfinite())
        sides += [slope.masked_fill(flat, 0), value.where(flat, intercept)]
    return Lines(*sides)
