"""Piecewise linear curves: continuous functions whose facts, and whose values at rational points, are rational.

An op states breakpoints, slopes and one anchor point on its graph. All its vertices are corners and it has no tangents
(see `verify.ops.curve`), its models of mixed-integer programs are exact, and it is proved in rationals.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ops.base import Encoder, Example, Hinge, IntervalBounds, Lines, Parameters, register
from verify.ops.curve import Curvature, Curve
from verify.ops.differentiation import Pull
from verify.ops.piecewise_rows import encode_piecewise


class Piecewise(Curve):
    """Elementwise f with `slopes` (m + 1) on the pieces between `breakpoints` (m), through `anchor` (x, f(x))."""

    is_exact = True
    ulps = 0
    encloses = False

    @property
    @abstractmethod
    def breakpoints(self) -> tuple[Fraction, ...]:
        """The places where the slope changes, ascending."""

    @property
    @abstractmethod
    def slopes(self) -> tuple[Fraction, ...]:
        """The slope of each piece, from left to right; one more than the breakpoints."""

    @property
    def anchor(self) -> tuple[Fraction, Fraction]:
        """A point on the graph; by default the first breakpoint is a zero of f."""
        return self.breakpoints[0], Fraction(0)

    @cached_property
    def intercepts(self) -> tuple[Fraction, ...]:
        """c_i with f(x) = slopes[i] x + c_i on piece i, from continuity and the anchor."""
        at, value = self.anchor
        home = sum(b < at for b in self.breakpoints)
        found = {home: value - self.slopes[home] * at}
        for i in range(home, len(self.breakpoints)):
            found[i + 1] = found[i] + (self.slopes[i] - self.slopes[i + 1]) * self.breakpoints[i]
        for i in range(home, 0, -1):
            found[i - 1] = found[i] + (self.slopes[i] - self.slopes[i - 1]) * self.breakpoints[i - 1]
        return tuple(found[i] for i in range(len(self.slopes)))

    def exact(self, x: Fraction) -> Fraction:
        """f at a rational point."""
        piece = sum(b < x for b in self.breakpoints)
        return self.slopes[piece] * x + self.intercepts[piece]

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        x = xs[0]
        out = float(self.slopes[0]) * x + float(self.intercepts[0])
        for b, s, c in zip(self.breakpoints, self.slopes[1:], self.intercepts[1:], strict=True):
            out = torch.where(x > float(b), float(s) * x + float(c), out)
        return out

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return (Curvature.LINEAR,) * len(self.slopes)

    @property
    def linear_breakpoints(self) -> tuple[float, ...]:
        return tuple(map(float, self.breakpoints))

    @property
    def hinge(self) -> Hinge | None:
        if len(self.breakpoints) != 1:
            return None
        return Hinge(self.breakpoints[0], (self.slopes[0], self.slopes[1]), (self.intercepts[0], self.intercepts[1]))

    def derivative(self, piece: int, x: Tensor) -> Tensor:
        return torch.full_like(x, float(self.slopes[piece]))

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Sound because the extremes of f lie at vertices; trusts float rounding."""
        if all(s >= 0 for s in self.slopes):
            return IntervalBounds(self.forward(p, boxes[0].low), self.forward(p, boxes[0].high))
        values = self.vertices(boxes[0])[1]
        return IntervalBounds(values.amin(0), values.amax(0))

    def unstable(self, p: Parameters, box: IntervalBounds) -> Tensor:
        """Where a breakpoint lies strictly inside the interval, so that f is not linear on it, or an end is no number;
        bool."""
        beside = torch.ones_like(box.low, dtype=torch.bool)
        for b in self.breakpoints:
            beside &= (box.low >= float(b)) | (box.high <= float(b))
        return ~beside

    def amplified(self, p: Parameters, box: IntervalBounds, error: Tensor) -> Tensor:
        return error * max(abs(float(s)) for s in self.slopes)

    def rounding(self, p: Parameters, box: IntervalBounds, unit: float) -> Tensor | float:
        """Slope, intercept and breakpoint are rounded, and so is the result, unless f only picks, or turns, signs."""
        if not any(self.intercepts) and {abs(s) for s in self.slopes} <= {0, 1}:
            return 0.0
        facts = (self.slopes, self.intercepts, self.breakpoints)
        steepest, highest, furthest = (max(abs(float(t)) for t in part) for part in facts)
        return 16 * unit * (steepest * (box.low.abs().maximum(box.high.abs()) + furthest) + highest)

    def perturbed(self, p: Parameters, x: Tensor, error: Tensor, unit: float) -> tuple[Tensor, Tensor]:
        """f is as steep as its steepest piece."""
        steepest = max(abs(float(s)) for s in self.slopes)
        return self.forward(p, x), steepest * error + self.rounding(p, IntervalBounds(x, x), unit)

    def linear_on(self, p: Parameters, box: IntervalBounds) -> tuple[Tensor, Tensor]:
        piece = torch.stack([box.high > b for b in self.linear_breakpoints]).sum(0)
        same = (~self.unstable(p, box) & (piece == piece[:1])).all(0)
        slopes = torch.tensor([float(s) for s in self.slopes], dtype=box.low.dtype, device=box.low.device)
        return same, slopes[piece[0]]

    def _limited(self, box: IntervalBounds) -> Callable[[Tensor], Tensor]:
        ends = float(min(self.slopes)), float(max(self.slopes))
        return lambda slope: slope.clamp(*ends)

    def encode(
        self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[IntervalBounds]
    ) -> np.ndarray:
        """Mixed-integer rows of the graph of f over the box; see verify.ops.piecewise_rows."""
        return encode_piecewise(self, model, columns[0], boxes[0])

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = np.empty(xs[0].shape, dtype=object)
        for place, x in np.ndenumerate(xs[0]):
            out[place] = self.exact(x)
        return out, out


@register(lambda op: [Example(op(), (), ((5,),)), Example(op(), (), ((2, 2, 2),))])
@dataclass(frozen=True)
class ReLU(Piecewise):
    """max(x, 0)."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return (Fraction(0),)

    @property
    def slopes(self) -> tuple[Fraction, ...]:
        return Fraction(0), Fraction(1)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return F.relu(xs[0])

    def with_gradient(self, p: Parameters, *xs: Tensor) -> tuple[Tensor, Pull]:
        y = self.forward(p, *xs)
        return y, lambda a: (torch.ops.aten.threshold_backward(a, y, 0),)

    def amplified(self, p: Parameters, box: IntervalBounds, error: Tensor) -> Tensor:
        return error * (box.high >= 0)

    def relax(self, p: Parameters, box: IntervalBounds, at: Tensor | None = None) -> Lines:
        """The family's lines at the midpoint in closed form, for a tenth of the time; differentiable in the box.

        Sound because the chord lies above a convex function, and max(x, 0) above 0 and x; trusts float rounding.
        """
        if at is not None:
            return super().relax(p, box, at)
        low, high = box
        slope, intercept = _Chord.apply(low, high)
        with torch.no_grad():
            lower = (low + high).gt_(0)  # as floats: masks of bools are several times slower on CPUs
        return Lines(lower, torch.zeros_like(low), slope, intercept)


class _Chord(torch.autograd.Function):
    """(low, high) -> slope and intercept of `chord`, differentiable, since training needs it often."""

    @staticmethod
    def forward(ctx: Any, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        *parts, intercept = chord(low, high)
        ctx.save_for_backward(*parts)
        return parts[2], intercept

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return chord_gradient(*ctx.saved_tensors, *gradients)


def chord(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """s = max(high, 0), n = max(-low, 0), and slope and intercept of the line through (low, max(low, 0)) and (high,
    max(high, 0)), all of one shape.

    Slope and intercept are s / (s + n) and s n / (s + n), on stable neurons too; the intercept is raised where rounding
    would leave the line below a vertex.
    """
    rise, fall = high.clamp(min=0), low.neg().clamp_(min=0)
    slope = rise / (rise + fall).clamp_(min=torch.finfo(low.dtype).tiny)
    return rise, fall, slope, (slope * fall).maximum(torch.addcmul(rise, slope, rise, value=-1))


def chord_gradient(
    rise: Tensor, fall: Tensor, slope: Tensor, in_slope: Tensor, in_intercept: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients in (low, high) of what has these in slope and intercept of the `chord`."""
    rest, width = 1 - slope, rise + fall
    tilt = torch.sign(width).mul_(in_slope).div_(width.clamp_(min=torch.finfo(slope.dtype).tiny))  # 0 where both are
    up = torch.addcmul(tilt, rest, in_intercept).mul_(rest)
    down = torch.addcmul(tilt, slope, in_intercept, value=-1).mul_(slope)
    return down.mul_(torch.sign(fall)), up.mul_(torch.sign(rise))


@register(lambda op: [
    Example(op(Fraction(float(torch.tensor(0.01)))), (), ((5,),)),
    Example(op(Fraction(3, 2)), (), ((3,),)),
])
@dataclass(frozen=True)
class LeakyReLU(Piecewise):
    """x for x > 0, else negative_slope * x; the slope is the float32 value used at run time."""

    negative_slope: Fraction

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return (Fraction(0),)

    @property
    def slopes(self) -> tuple[Fraction, ...]:
        return self.negative_slope, Fraction(1)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Abs(Piecewise):
    """|x|."""

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return (Fraction(0),)

    @property
    def slopes(self) -> tuple[Fraction, ...]:
        return Fraction(-1), Fraction(1)


@register(lambda op: [
    Example(op(Fraction(-1), Fraction(1)), (), ((5,),)),
    Example(op(Fraction(0), Fraction(6)), (), ((3,),)),
])
@dataclass(frozen=True)
class Clip(Piecewise):
    """min(max(x, low), high), low < high; HardTanh and ReLU6 are this op."""

    low: Fraction
    high: Fraction

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return self.low, self.high

    @property
    def slopes(self) -> tuple[Fraction, ...]:
        return Fraction(0), Fraction(1), Fraction(0)

    @property
    def anchor(self) -> tuple[Fraction, Fraction]:
        return self.low, self.low

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return xs[0].clamp(float(self.low), float(self.high))


@register(lambda op: [Example(op(Fraction(1, 6), Fraction(1, 2)), (), ((5,),))])
@dataclass(frozen=True)
class HardSigmoid(Piecewise):
    """min(max(slope * x + offset, 0), 1), slope > 0."""

    slope: Fraction
    offset: Fraction

    @property
    def breakpoints(self) -> tuple[Fraction, ...]:
        return -self.offset / self.slope, (1 - self.offset) / self.slope

    @property
    def slopes(self) -> tuple[Fraction, ...]:
        return Fraction(0), self.slope, Fraction(0)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return (float(self.slope) * xs[0] + float(self.offset)).clamp(0, 1)
