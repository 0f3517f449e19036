"""Lines in the shared perturbation: every row of every sample lies below a linear function of delta over the ball.

A backward walk leaves of a row at sample i a constant and a row over the input, relative to the center of the sample's
set. With x_i + delta for the input it is a line in delta; where a clip moves x_i + delta, each coordinate of the
clipped sum is held below or above a line of its own first, on the side that its coefficient asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
import torch
from torch import Tensor

from verify.ir.evaluate import UNIT
from verify.sets import Box, InputSet
from verify.sets.norms.base import clamp
from verify.uap.problem import SharedProblem
from verify.upper.crown import cheap_forward, sweep
from verify.upper.linear_bounds.backward import Backward, Trail
from verify.upper.linear_bounds.second_guess import moved_to

TINY = 2.0**-900
SHALLOW = 1e-3  # least depth of a line, in units of what its terms may add up to
ROUGH = 16  # units in the last place, for each term of a sum, that cover what is done to lines here


@dataclass(frozen=True)
class SharedLines:
    """slope . delta + offset, each above a row of a sample wherever delta lies in the ball; all of them float64.

    Args:
        owner, row: (lines,) long, the sample and its row in the specification.
        slope: (lines, size).
        offset: (lines,).
    """

    owner: Tensor
    row: Tensor
    slope: Tensor
    offset: Tensor

    def take(self, index: Tensor) -> Self:
        """The lines at these positions."""
        return type(self)(*(part[index] for part in (self.owner, self.row, self.slope, self.offset)))

    def at(self, delta: Tensor) -> Tensor:
        """Their values at a perturbation (*shape), up to rounding; (lines,)."""
        return self.slope @ delta.flatten().to(self.slope) + self.offset

    def finite(self) -> Self:
        """The same, and the line 0 where a row has no finite line, so that it counts as one that may be violated.

        Sound because all that is concluded of a line is where it is negative, and 0 never is.
        """
        lost = ~(self.slope.isfinite().all(1) & self.offset.isfinite())
        slope, offset = self.slope.masked_fill(lost[:, None], 0.0), self.offset.masked_fill(lost, 0.0)
        return type(self)(self.owner, self.row, slope, offset)

    def most(self, ball: InputSet) -> Tensor:
        """Upper bounds of their values over the ball (a batch of one); (lines,).

        Sound because the support function is; the rounding of its sums is added.
        """
        return highest(self.slope, self.offset, ball)

    def __add__(self, other: SharedLines) -> SharedLines:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return SharedLines(*(torch.cat(pair) for pair in pairs))


def highest(slope: Tensor, offset: Tensor, ball: InputSet) -> Tensor:
    """Upper bounds of slope . delta + offset over a ball (a batch of one); slope (n, size), offset (n,) -> (n,).

    Sound because the support function is; the rounding of its sums is added.
    """
    reach = torch.maximum(ball.low.abs(), ball.high.abs()).double().flatten()
    size = slope.abs() @ reach + offset.abs()
    support = ball.support(slope.reshape(1, len(slope), *ball.shape))[0]
    return support + offset + size * (ROUGH * (len(reach) + ROUGH) * UNIT)


def depths(lines: SharedLines, ball: InputSet) -> np.ndarray:
    """Positive numbers m with lines >= -m over a ball (a batch of one), (lines,).

    Sound because `highest` is, of the negated lines.
    """
    reach = torch.maximum(ball.low.abs(), ball.high.abs()).double().flatten()
    size = lines.slope.abs() @ reach + lines.offset.abs()
    return highest(-lines.slope, -lines.offset, ball).maximum(SHALLOW * size).clamp(min=TINY).cpu().numpy()


class SharedRelaxation:
    """All samples relaxed over one ball, or box, of perturbations: the boxes of their layers, and lines of their rows.

    Args:
        problem: the samples.
        part: (low, high) of a box of perturbations (*shape each) inside the ball, or None for all of it.
    """

    def __init__(self, problem: SharedProblem, part: tuple[Tensor, Tensor] | None = None):
        self.problem, self.each = problem, problem.each.in_float64.merged
        self.ball = problem.ball.double() if part is None else Box(part[0].double()[None], part[1].double()[None])
        self.inputs = self.each.inputs if part is None else _moved_box(problem, part)
        network = self.each.network
        self.backward, self.boxes = sweep(network, self.inputs, cheap_forward(network, self.inputs))
        self.trail: Trail = {}

    def first(self) -> SharedLines:
        """The line of every row of every sample by the usual slopes."""
        owner, row = self.each.spec.mask.nonzero(as_tuple=True)
        return self._lines(self.backward, owner, owner, row)

    def near(self, lines: SharedLines, delta: Tensor, step: float = 1.0) -> SharedLines:
        """New lines of the rows of these, with slopes that are tight where the relaxed network is at delta (*shape)."""
        trail = dict[str, Tensor]()
        self._bound(self.backward, lines.owner, lines.owner, lines.row, trail)
        x = self.problem.moved(delta.to(self.problem.x))
        everything = torch.arange(len(lines.owner), device=delta.device)
        points = self.inputs.select(lines.owner).project(x[lines.owner].to(self.inputs.low))
        again = moved_to(self.backward, self.backward, trail, lines.owner, lines.owner, points, step)
        return self._lines(again, everything, lines.owner, lines.row)

    def _bound(
        self, backward: Backward, mine: Tensor, owner: Tensor, row: Tensor, trail: Trail
    ) -> tuple[Tensor, Tensor]:
        """(bounds (n,), rows over the input (n, size)) of rows of samples, whose lines are those of `mine` (n,)."""
        network, spec = self.each.network, self.each.spec
        a = spec.output[owner, row].reshape(-1, *network.output_shape)
        bound, found = backward.maximum(network.graph.output, a, mine)
        trail.update(found)
        return bound - spec.offset[owner, row], found[network.graph.input].flatten(1)

    def _lines(self, backward: Backward, mine: Tensor, owner: Tensor, row: Tensor) -> SharedLines:
        """Sound because a bound of a row over the input set is its constant and the most that the row over the input
        adds, which is taken off again with what rounding may lose there; clipping by `_clipped`."""
        bound, slope = self._bound(backward, mine, owner, row, {})
        inputs = backward.inputs.select(mine)
        top = inputs.support(slope.reshape(len(slope), 1, *inputs.shape))[:, 0]
        size = (slope.abs() * torch.maximum(inputs.low.abs(), inputs.high.abs()).flatten(1)).sum(1) + bound.abs()
        offset = bound - top + size * (ROUGH * (slope.shape[1] + ROUGH) * UNIT)
        return self._shifted(SharedLines(owner, row, slope, offset), self.problem.x.double().flatten(1)[owner]).finite()

    def _shifted(self, lines: SharedLines, x: Tensor) -> SharedLines:
        """Lines over the input at x + delta, clipped, as lines over delta; x (lines, size).

        Sound because each coordinate of the input is exchanged for a line on the side that its coefficient asks for;
        sums of rounded products are allowed for.
        """
        low, high = (end.double().flatten() for end in (self.ball.low, self.ball.high))
        one, shift = torch.ones_like(x), x
        if self.problem.clip is not None:
            one, shift = _clipped(x, low, high, self.problem.clip, lines.slope >= 0)
        terms = lines.slope * shift
        rough = (ROUGH * (x.shape[1] + ROUGH) * UNIT) * (terms.abs().sum(1) + lines.offset.abs())
        slack = (ROUGH * UNIT) * (lines.slope.abs() * (x.abs() + low.abs() + high.abs())).sum(1)
        return SharedLines(lines.owner, lines.row, lines.slope * one, lines.offset + terms.sum(1) + rough + slack)


def _clipped(
    x: Tensor, low: Tensor, high: Tensor, clip: tuple[Fraction, Fraction], is_above: Tensor
) -> tuple[Tensor, Tensor]:
    """(s, t) with s d + t above, or else below, the clipped x + d for all d in [low, high], entry by entry and up to
    rounding; x, is_above (lines, size), low, high (size,).

    Sound for any s, since the difference of two piecewise linear functions is extreme at an end or a breakpoint.
    """
    ends = tuple(map(float, clip))
    places = [low.expand_as(x), high.expand_as(x), *(clamp(end - x, low, high) for end in ends)]
    values = [(x + d).clamp(*ends) for d in places]
    slope = ((values[1] - values[0]) / (high - low).clamp(min=TINY)).clamp(0, 1)
    rest = torch.stack([value - slope * d for value, d in zip(values, places, strict=True)])
    return slope, torch.where(is_above, rest.amax(0), rest.amin(0))


def _moved_box(problem: SharedProblem, part: tuple[Tensor, Tensor]) -> Box:
    """The boxes of x_i + delta, clipped, for delta of a box, rounded outward."""
    x = problem.x.double()
    low, high = (x + end.double() for end in part)
    if problem.clip is not None:
        low, high = (end.clamp(*map(float, problem.clip)) for end in (low, high))
    infinite = torch.full_like(low, torch.inf)
    return Box(torch.nextafter(low, -infinite), torch.nextafter(high, infinite))
