"""The smooth family: elementwise differentiable functions with at most one inflection point.

Where f is concave on an interval, every tangent lies above it and the chord below; where it is convex, the other way
round. On an interval that holds the inflection, a line from one end that touches the curve on the far side bounds it;
the touching point is found by bisection and taken from the side on which the tangent is still a bound
(Zhang et al. 2018, CROWN, section 3.3). Intercepts are moved outward by a few ulps for the rounding of f itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from verify.errors import UnsupportedMethod
from verify.ops.base import Encoder, Example, Interval, Lines, Op, Parameters, register

BISECTIONS = 40
ULPS = 16


class Smooth(Op):
    """Increasing f, convex below `inflection` and concave above it."""

    is_exact = False
    inflection: float = 0.0

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """f'(x), same shape."""

    def interval(self, p: Parameters, *boxes: Interval) -> Interval:
        """Sound because f is increasing; the ends are moved outward for the rounding of f; trusts the library's f to
        a few ulps."""
        low, high = self.forward(p, boxes[0].low), self.forward(p, boxes[0].high)
        return Interval(low - self._slack(low), high + self._slack(high))

    def unstable(self, box: Interval) -> Tensor:
        """Where the interval is more than a point; bool."""
        return box.high > box.low

    def relax(self, box: Interval) -> Lines:
        """Sound as the module's text says; trusts the library's f and f' to a few ulps."""
        upper = self._upper(box.low, box.high, self.forward, self.derivative, self.inflection)
        # the lower line is the upper one of the mirrored function -f(-x), convex below -inflection too
        def mirrored(p: Parameters, x: Tensor) -> Tensor:
            return -self.forward(p, -x)

        def mirrored_derivative(x: Tensor) -> Tensor:
            return self.derivative(-x)

        slope, intercept = self._upper(-box.high, -box.low, mirrored, mirrored_derivative, -self.inflection)
        return Lines(slope, -intercept, *upper)

    def _upper(self, low: Tensor, high: Tensor, f, derivative, inflection: float) -> tuple[Tensor, Tensor]:  # noqa: ANN001
        """(slope, intercept) of a line above f, convex then concave, on [low, high]."""
        f_low, f_high = f((), low), f((), high)
        width = high - low
        chord = torch.where(width > 0, (f_high - f_low) / width.clamp(min=torch.finfo(low.dtype).tiny), derivative(low))
        touch = self._touching_point(low, high, f, derivative, inflection)
        concave = low >= inflection
        at = torch.where(concave, (low + high) / 2, touch)
        use_chord = ~concave & ((high <= inflection) | (touch >= high))
        slope = torch.where(use_chord, chord, derivative(at))
        base = torch.where(use_chord, f_low - slope * low, f((), at) - slope * at)
        # the chord and the tangent must hold at both ends also after rounding
        base = base.maximum(f_low - slope * low).maximum(f_high - slope * high)
        return slope, base + self._slack(f_low) + self._slack(slope * low) + self._slack(slope * high)

    def _touching_point(self, low: Tensor, high: Tensor, f, derivative, inflection: float) -> Tensor:  # noqa: ANN001
        """d in the concave part whose tangent passes through or above (low, f(low)); from the safe side."""
        left = torch.full_like(low, inflection).maximum(low)
        right = high.maximum(left)
        f_low = f((), low)
        for _ in range(BISECTIONS):
            middle = (left + right) / 2
            above = f((), middle) + derivative(middle) * (low - middle) >= f_low
            left, right = torch.where(above, left, middle), torch.where(above, middle, right)
        return right

    @staticmethod
    def _slack(value: Tensor) -> Tensor:
        return ULPS * torch.finfo(value.dtype).eps * value.abs()

    def encode(self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[Interval]) -> np.ndarray:
        """The relaxation's two lines; a MILP refuses this op by `is_exact`."""
        box = Interval(*(v.double() for v in boxes[0]))
        out, lines = self.interval(p, box), self.relax(box)
        y = model.add_columns(*(v[0].cpu().numpy() for v in out))
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


@register(lambda: [Example(Sigmoid(), (), ((5,),))])
@dataclass(frozen=True)
class Sigmoid(Smooth):
    """1 / (1 + exp(-x))."""

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.sigmoid(xs[0])

    def derivative(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        return y * (1 - y)


@register(lambda: [Example(Tanh(), (), ((5,),))])
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
