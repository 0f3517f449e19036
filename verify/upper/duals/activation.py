"""The elementwise nonlinear nodes of a network as linear bounds see them: few entries are open, the others linear."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.ops.base import IntervalBounds, Lines, Parameters
from verify.ops.curve import Curve


@dataclass(frozen=True)
class ActivationLayer:
    """An elementwise nonlinear node: the flat entries that are tracked, and the slope of f at all others."""

    op: Curve
    parameters: Parameters
    source: str  # the node's argument
    tracked: Tensor  # (n,) long
    span: slice  # where these tracked entries lie among those of all layers
    slope: Tensor  # (entries,), 0 at tracked ones
    breakpoint: float | None  # for a hinge: its breakpoint
    ends: tuple[float, float]  # for a hinge: its slopes before and after the breakpoint

    @property
    def convex(self) -> bool | None:
        """For a hinge: whether its lower line is the free one; None where no line is free."""
        return None if self.breakpoint is None else self.ends[0] < self.ends[1]

    @property
    def free(self) -> tuple[float, float] | None:
        """Between what a tracked entry's free number lies; None where it has none."""
        if self.breakpoint is None:
            return (0.0, 1.0) if self.op.curved else None
        return self.ends

    def pick(self, flat: Tensor) -> Tensor:
        """The tracked entries of values (rows, entries); (rows, n)."""
        return flat if self.is_full else flat.index_select(1, self.tracked)

    def spread(self, flat: Tensor, new: Tensor) -> Tensor:
        """Values (rows, entries) times the slopes, with new ones (rows, n) at tracked entries."""
        return new if self.is_full else (flat * self.slope).index_copy_(1, self.tracked, new)

    @property
    def is_full(self) -> bool:
        """Whether every entry of the layer is an unstable neuron, and tracked."""
        return len(self.tracked) == len(self.slope)

    def relax(self, box: IntervalBounds) -> Lines:
        """The usual lines over boxes of the tracked entries, (rows, n)."""
        return self.op.relax(self.parameters, box)

    def chord(self, box: IntervalBounds) -> tuple[Tensor, Tensor]:
        """(slope, intercept) of the line opposite to the free one of a hinge, over boxes of the tracked entries; (rows,
        n).

        Sound because f minus a line is extreme at an end or at the breakpoint; trusts float rounding.
        """
        assert self.breakpoint is not None
        ends = sorted(self.ends)
        at = torch.full_like(box.low, self.breakpoint).clamp(box.low, box.high)
        low, high, middle = (self.op.forward((), x) for x in (*box, at))
        width = (box.high - box.low).clamp(min=torch.finfo(box.low.dtype).tiny)
        slope = ((high - low) / width).clamp(*ends)
        first, second, third = low - slope * box.low, high - slope * box.high, middle - slope * at
        if self.convex:
            return slope, first.maximum(second).maximum(third)
        return slope, first.minimum(second).minimum(third)

    def free_slopes(self, box: IntervalBounds) -> tuple[Tensor, Tensor]:
        """Least and largest slope of the free line of a hinge through its breakpoint, or the nearer end of the box
        if f is linear there: that piece's; (rows, n)."""
        assert self.breakpoint is not None
        small, big = sorted(self.ends)
        # comparisons into floats, since those into booleans are several times slower
        on = torch.ge(box.low, self.breakpoint, out=torch.empty_like(box.low))
        off = torch.le(box.high, self.breakpoint, out=torch.empty_like(box.low))
        steep, flat = (on, off) if self.convex else (off, on)
        least, most = small + (big - small) * steep, big - (big - small) * flat
        return least, most.maximum(least)

    def usual_slope(self, box: IntervalBounds) -> Tensor:
        """The slope of the free line that leaves the least area (Zhang et al. 2018, section 3.2); for no hinge the
        middle, as a share of the range."""
        if self.breakpoint is None:
            return torch.full_like(box.low, 0.5)
        left, right = self.ends
        middle = (box.low + box.high) / 2
        return left + (right - left) * torch.gt(middle, self.breakpoint, out=torch.empty_like(box.low))

    def costs(self, box: IntervalBounds, a: Tensor, z: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """What the relaxation of each tracked entry costs rows with coefficients a of f, in the two measures of
        `branching`, where the tracked entries are z; all (rows, n)."""
        lines = self.relax(box)
        at = (box.low + box.high) / 2
        if self.op.linear_breakpoints:
            at = torch.full_like(at, self.op.linear_breakpoints[0]).clamp(box.low, box.high)
        f = self.op.forward(self.parameters, at)
        upper, lower = lines.upper_slope * z + lines.upper_intercept, lines.lower_slope * z + lines.lower_intercept
        if self.convex is False:
            height = a.clamp(max=0) * (lines.lower_slope * at + lines.lower_intercept - f)
            upper = slope * (z - at) + f
        else:
            height = a.clamp(min=0) * (lines.upper_slope * at + lines.upper_intercept - f)
            lower = lower if self.convex is None else slope * (z - at) + f
        line = torch.where(a >= 0, upper, lower)
        return height, a.abs() * (line - self.op.forward(self.parameters, z)).abs()

    def unstable(self, box: IntervalBounds) -> Tensor:
        """Where f is not linear over boxes of the tracked entries; bool (rows, n)."""
        return self.op.unstable(self.parameters, box)


def activation_layer(
    op: Curve, p: Parameters, source: str, box: IntervalBounds, start: int, tracked: Tensor | None = None
) -> ActivationLayer:
    """A node with its tracked entries: those that are not one and the same linear piece on every sample's range, or the
    entries given, which must contain those. Raises ValueError where they do not."""
    same, slope = (part.flatten() for part in op.linear_on(p, box))
    if tracked is None:
        tracked = (~same).nonzero().flatten()
    elif not bool(same.index_fill(0, tracked, True).all()):
        raise ValueError(f"an entry of {source} is neither linear nor tracked; its box must lie in theirs")
    span = slice(start, start + len(tracked))
    breakpoint, ends = None, (0.0, 0.0)
    if op.hinge is not None:
        breakpoint, ends = float(op.hinge.breakpoint), (float(op.hinge.slopes[0]), float(op.hinge.slopes[1]))
    return ActivationLayer(op, p, source, tracked, span, slope.index_fill(0, tracked, 0), breakpoint, ends)
