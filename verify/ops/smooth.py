"""The smooth family: elementwise differentiable functions with at most one inflection point.

Where f is concave on an interval, every tangent lies above it and the chord below; where it is convex, the other way
round. On an interval that holds the inflection, a line from one end that touches the curve on the far side bounds it
(Zhang et al. 2018, CROWN, section 3.3); bisection finds the touching point. Intercepts are moved outward by a few ulps
for the rounding of f itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from verify.errors import UnsupportedMethod
from verify.ops.base import Encoder, Example, IntervalBounds, Lines, Nonlinear, Op, Parameters, register

BISECTIONS = 40
ULPS = 16

Function = Callable[[Tensor], Tensor]  # elementwise


class Smooth(Nonlinear):
    """Increasing f, convex below `inflection` and concave above it."""

    is_exact = False
    inflection: float = 0.0

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """f'(x), same shape."""

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Sound because f is increasing; the ends are moved outward for the rounding of f; trusts the library's f to
        a few ulps."""
        low, high = self.forward(p, boxes[0].low), self.forward(p, boxes[0].high)
        return IntervalBounds(low - _slack(low), high + _slack(high))

    def unstable(self, p: Parameters, box: IntervalBounds) -> Tensor:
        """Where the interval is more than what rounding makes of a point; bool."""
        return box.is_wide

    def steepness(self, p: Parameters, box: IntervalBounds) -> Tensor:
        """f' is largest where the box is nearest to the inflection; trusts the library's f' to a few ulps."""
        return _steepest(box, self.derivative, self.inflection)

    def rounding(self, p: Parameters, box: IntervalBounds, unit: float) -> Tensor | float:
        return _slack(self.forward(p, box.low).abs().maximum(self.forward(p, box.high).abs()))

    def relax(self, p: Parameters, box: IntervalBounds) -> Lines:
        """Sound as the module's text says; trusts the library's f and f' to a few ulps."""
        slope, intercept = _upper_line(box, lambda x: self.forward((), x), self.derivative, self.inflection)
        # the lower line is the upper one of -f(-x), which is convex below -inflection and concave above it too
        mirror = IntervalBounds(-box.high, -box.low)
        lower_slope, lower_intercept = _upper_line(
            mirror, lambda x: -self.forward((), -x), lambda x: self.derivative(-x), -self.inflection
        )
        return Lines(lower_slope, -lower_intercept, slope, intercept)

    def encode(
        self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[IntervalBounds]
    ) -> np.ndarray:
        """The relaxation's two lines; a MILP refuses this op by `is_exact`."""
        box = IntervalBounds(*(v.double() for v in boxes[0]))
        out, lines = self.interval(p, box), self.relax(p, box)
        y = model.add_columns(out.low[0].cpu().numpy(), out.high[0].cpu().numpy())
        x, flat = columns[0].ravel(), y.ravel()
        one, free = np.ones(flat.size), np.full(flat.size, np.inf)
        arrays = [v[0].cpu().numpy().ravel() for v in
                  (lines.lower_slope, lines.lower_intercept, lines.upper_slope, lines.upper_intercept)]
        model.add_rows([(one, flat), (-arrays[0], x)], arrays[1], free)
        model.add_rows([(one, flat), (-arrays[2], x)], -free, arrays[3])
        return y

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Float64 evaluation widened by 2^-46 relative and 2^-1000 absolute: the stated width of the enclosure."""
        low, high = np.empty(xs[0].shape, dtype=object), np.empty(xs[0].shape, dtype=object)
        for place, x in np.ndenumerate(xs[0]):
            near = torch.tensor([float(x)], dtype=torch.float64)
            moved = abs(Fraction(float(near)) - x) * Fraction(float(self.derivative(near)) + 1)
            value = Fraction(float(self.forward(p, near)))
            width = abs(value) / (1 << 46) + moved + Fraction(1, 1 << 1000)
            low[place], high[place] = value - width, value + width
        return low, high


def _upper_line(box: IntervalBounds, f: Function, derivative: Function, inflection: float) -> tuple[Tensor, Tensor]:
    """(slope, intercept) of a line above f, convex below the inflection and concave above it.

    Sound because f(x) - slope x is largest at an end of the box or, in the concave part, where f' = slope: at the
    point whose tangent is taken, wherever that lies. A chord is taken only where f' exceeds it in all of the concave
    part.
    """
    low, high = box
    f_low, f_high = f(low), f(high)
    width = (high - low).clamp(min=torch.finfo(low.dtype).tiny)
    concave = low >= inflection
    with torch.no_grad():  # any point gives a bound; its choice is no part of the gradient
        touch = _touching_point(box, f, derivative, inflection)
        at = touch.maximum((low + high) / 2)  # least area: of the tangents above f, the lowest at the midpoint
    use_chord = ~concave & (touch >= high)
    chord = ((f_high - f_low) / width).minimum(_steepest(box, derivative, inflection))  # steeper is but rounding
    slope = torch.where(use_chord, chord, derivative(at))
    base = (f_low - slope * low).maximum(f_high - slope * high)
    base = torch.where(use_chord, base, base.maximum(f(at) - slope * at))
    size = f_low.abs().maximum(f_high.abs()) + (slope * low).abs().maximum((slope * high).abs())
    return slope, base + _slack(size)


def _touching_point(box: IntervalBounds, f: Function, derivative: Function, inflection: float) -> Tensor:
    """The least d of the box's concave part whose tangent passes through or above (low, f(low)); high if none does."""
    low, high = box
    left = torch.full_like(low, inflection).maximum(low)
    right = high.maximum(left)
    f_low = f(low)
    for _ in range(BISECTIONS):
        middle = (left + right) / 2
        above = f(middle) + derivative(middle) * (low - middle) >= f_low
        left, right = torch.where(above, left, middle), torch.where(above, middle, right)
    return right


def _steepest(box: IntervalBounds, derivative: Function, inflection: float) -> Tensor:
    """At least f' over the box, a few ulps of f' and of 1 more."""
    slack = ULPS * torch.finfo(box.low.dtype).eps
    return derivative(box.low.clamp(min=inflection).minimum(box.high)) * (1 + slack) + slack


def _slack(value: Tensor) -> Tensor:
    """A few units in the last place, and the smallest normal numbers for values that are flushed to zero."""
    kind = torch.finfo(value.dtype)
    return ULPS * (kind.eps * value.abs() + kind.tiny)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Sigmoid(Smooth):
    """1 / (1 + exp(-x))."""

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.sigmoid(xs[0])

    def derivative(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        return y * (1 - y)


@register(lambda op: [Example(op(), (), ((5,),))])
@dataclass(frozen=True)
class Tanh(Smooth):
    """Hyperbolic tangent."""

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.tanh(xs[0])

    def derivative(self, x: Tensor) -> Tensor:
        return 1 - torch.tanh(x).square()


def refuse_inexact(op: Op, name: str) -> None:
    """Raises UnsupportedMethod for an op that a MILP cannot encode exactly."""
    if not op.is_exact:
        raise UnsupportedMethod(f"MILP cannot encode node {name} ({type(op).__name__}) exactly; use CROWN or LP")
