"""Whether lines can all be >= 0 at one perturbation: where the least of them is largest, or weights that exclude it.

It is a linear program over the hull of the ball. Where the ball is no box, and the program's point lies outside, the
hull is cut by the half-space that touches the ball between the two, and the program is solved again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from verify.deadline import check_time
from verify.sets import InputSet
from verify.solvers.highs import Highs
from verify.solvers.model import LinearModel
from verify.uap.conflicts import excluded
from verify.uap.lines import SharedLines, depths, highest

ROUNDS = 12  # of cuts of a ball


@dataclass(frozen=True)
class BallCut:
    """normal . delta <= side for all delta of the ball; normal (size,)."""

    normal: np.ndarray
    side: float

    def state(self, model: LinearModel, delta: np.ndarray, reach: np.ndarray) -> None:
        """Adds it as a row over the columns `delta`, which are in units of `reach`."""
        row = sp.csr_matrix((self.normal * reach)[None] / self.side)
        model.add_rows([(row, delta)], np.array([-np.inf]), np.ones(1))


@dataclass(frozen=True)
class Separated:
    """Either a perturbation (*shape) where the least of the lines is large, or weights (lines,) that `excluded` has
    accepted, or neither."""

    delta: Tensor | None = None
    weights: Tensor | None = None


class Separation:
    """Asks sets of lines over one ball; `cuts` grows."""

    def __init__(self, ball: InputSet):
        self.ball = ball
        self.reach = torch.maximum(ball.low.abs(), ball.high.abs()).double().flatten().cpu().numpy()
        self.cuts: list[BallCut] = []

    def of(self, lines: SharedLines) -> Separated:
        """What can be said of these lines."""
        scale = depths(lines, self.ball)
        delta, tried = None, None
        for _ in range(ROUNDS):
            check_time()
            point, duals = self._program(lines, scale)
            if duals is not None:
                tried = torch.from_numpy(np.maximum(duals, 0) / scale).to(lines.offset)
                if excluded(lines, tried, self.ball):
                    return Separated(weights=tried)
            if point is None:
                break
            outside = torch.from_numpy(point).reshape(1, *self.ball.shape).to(lines.offset)
            delta = self.ball.project(outside)
            if self.ball.is_box or not self._cut(outside, delta):
                break
        return Separated(None if delta is None else delta[0])

    def _program(self, lines: SharedLines, scale: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(delta, duals of the lines) of the program: max t with slope . delta + offset >= t scale for each."""
        model, count = LinearModel(), len(scale)
        delta = model.add_columns(-np.ones(len(self.reach)), np.ones(len(self.reach)))
        least = model.add_columns(np.array([-2.0]), np.array([2.0]))
        slope = sp.csr_matrix(lines.slope.cpu().numpy() * self.reach / scale[:, None])
        terms = [(slope, delta), (sp.csr_matrix(-np.ones((count, 1))), least)]
        model.add_rows(terms, -lines.offset.cpu().numpy() / scale, np.full(count, np.inf))
        for cut in self.cuts:
            cut.state(model, delta, self.reach)
        cost = np.zeros(model.columns)
        cost[least] = 1.0
        found = Highs(model.arrays(), relaxed=True).maximise(cost)
        point = None if found.x is None else found.x[delta] * self.reach
        return point, None if found.duals is None else -found.duals[:count]

    def _cut(self, outside: Tensor, nearest: Tensor) -> bool:
        """Cuts the hull between a point and the nearest of the ball; False where there is no room."""
        normal = outside - nearest
        size = float(normal.abs().amax())
        if not size > 1e-9 * float(self.reach.max()):
            return False
        normal = (normal / size).flatten()
        side = float(highest(normal[None], normal.new_zeros(1), self.ball)[0])
        self.cuts.append(BallCut(normal.cpu().numpy(), side))
        return side > 0
