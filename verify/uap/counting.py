"""How many elements of different samples lines allow at one delta: a mixed-integer program (Zeng et al., ICLR 2023).

    max sum_e w_e    slope_l . delta + offset_l >= -m_l (1 - w_e(l)),  ||delta|| <= eps (by its hull),  w_e in {0, 1}

with -m_l the least value of a line over the ball, at most one element of each sample and of each set of elements that
exclude each other, and not all elements of a set that no delta violates at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
import scipy.sparse as sp
import torch

from verify.deadline import deadline
from verify.ir.evaluate import UNIT
from verify.sets import InputSet
from verify.solvers.highs import Highs, SolverStatus
from verify.solvers.model import LinearModel
from verify.solvers.repair import SafeBound
from verify.uap.conflicts import Elements
from verify.uap.lines import ROUGH, SharedLines, depths
from verify.uap.separation import BallCut

ROOM = 2e-6  # of scaled rows, more than HiGHS's tolerance: no point of the ball is cut off by it
WHOLE = 1e-3  # what a solver's count may lie below a whole number and still means it
DEAR = 1000.0  # what a unit of slack costs, in units of the largest count
WIDER = 1 + 1e-9  # than 1, by more than rounding
THIN = 0.5  # share of the lines up to which their rank makes the program a smaller one


@dataclass(frozen=True)
class Counted:
    """What HiGHS says: a claimed bound, the elements of its best point, and whether that is optimal."""

    upper: int
    chosen: list[int]
    is_optimal: bool


class CountingProgram:
    """The program of a pool of lines.

    Args:
        lines: the pool, at least one of every element; element (lines,) says of which each is.
        elements: what may be counted.
        rules: (elements, how many of them count at most).
        cuts: of the hull of the ball.
    """

    def __init__(
        self, lines: SharedLines, element: np.ndarray, elements: Elements, ball: InputSet,
        rules: Sequence[tuple[list[int], int]], cuts: Sequence[BallCut] = (),
    ):
        model, count = LinearModel(), len(elements)
        reach = torch.maximum(ball.low.abs(), ball.high.abs()).double().flatten().cpu().numpy()
        longest = max([4.0, *(float(len(members)) for members, _ in rules)])
        self.choice = model.add_columns(np.zeros(count), np.ones(count), integer=True)
        self.slack = model.add_columns(np.zeros(1), np.full(1, longest))  # of all rows of choices; only bounds use it
        delta = model.add_columns(-np.ones(len(reach)), np.ones(len(reach)))  # in units of its reach
        depth = depths(lines, ball)
        slope, offset = lines.slope.cpu().numpy() * reach / depth[:, None], lines.offset.cpu().numpy() / depth
        rough = ROUGH * (len(reach) + ROUGH) * UNIT * (np.abs(slope).sum(1) + np.abs(offset) + 1)
        terms, error = _thin(model, slope, delta)
        model.doubt(model.rows, error + rough)
        loose = sp.csr_matrix(np.ones((len(offset), 1))), self.slack
        model.add_rows([terms, (-np.ones(len(offset)), self.choice[element]), loose], -1 - offset - ROOM,
                       np.full(len(offset), np.inf))
        for cut in cuts:
            cut.state(model, delta, reach)
        sets = [(np.flatnonzero(elements.owner == i).tolist(), 1) for i in elements.samples] + [*rules]
        rows = [i for i, (members, _) in enumerate(sets) for _ in members]
        places = [e for members, _ in sets for e in members]
        matrix = sp.csr_matrix((np.ones(len(rows)), (rows, places)), shape=(len(sets), count))
        sides = np.array([float(most) for _, most in sets])
        loose = sp.csr_matrix(-np.ones((len(sets), 1))), self.slack
        model.add_rows([(matrix, self.choice), loose], np.full(len(sets), -np.inf), sides)
        self.arrays = model.arrays()
        self.cost = np.zeros(model.columns)
        self.cost[self.choice] = 1.0

    def solve(self) -> Counted:
        """HiGHS's bound on the count within the time that is left, as a whole number.

        Sound where HiGHS's dual bound is above every feasible point; trusts that, to its tolerances, by which rows are
        wider than the lines.
        """
        high = self.arrays.high.copy()
        high[self.slack] = 0.0
        found = Highs(self.arrays._replace(high=high)).maximise(self.cost)
        chosen = [] if found.x is None else np.flatnonzero(found.x[self.choice] > 0.5).tolist()
        upper = floor(found.upper + WHOLE) if np.isfinite(found.upper) else len(self.choice)
        return Counted(upper, chosen, found.status == SolverStatus.OPTIMAL)

    def proves(self, most: int) -> bool:
        """Whether a search of our own shows within the time that is left that no more than so many count.

        Parts without a point are closed as others are, since what rows lack costs more than all counts.
        Sound because every part of the choices is closed by a bound that `SafeBound` rebuilds from an LP's duals, and
        counts are whole; trusts float64 rounding.
        """
        highs, safe, cost = Highs(self.arrays, relaxed=True), SafeBound(self.arrays), self.cost.copy()
        cost[self.slack] = -DEAR * len(self.choice)
        parts = [(self.arrays.low, self.arrays.high)]
        while parts:
            if deadline().is_over:
                return False
            low, high = parts.pop()
            highs.restrict(low, high)
            found = highs.maximise(cost)
            if floor(safe.upper(cost, found.duals, (low, high))) <= most:
                continue
            if found.x is None:
                return False
            share = np.where(low[self.choice] < high[self.choice], np.abs(found.x[self.choice] - 0.5), 1.0)
            e = int(np.argmin(share))
            if share[e] == 1.0:
                return False
            column = self.choice[e]
            for side in (0.0, 1.0):
                ends = low.copy(), high.copy()
                ends[0][column] = ends[1][column] = side
                parts.append(ends)
        return True


def _thin(model: LinearModel, slope: np.ndarray, delta: np.ndarray) -> tuple[tuple[object, np.ndarray], np.ndarray]:
    """(terms, error): slope (lines, size) times delta, over few columns in between where the rank of the slopes is
    small, as in a linear network; and how far the terms may be from it over [-1, 1]^size, (lines,)."""
    u, s, v = np.linalg.svd(slope, full_matrices=False)
    rank = int((s > 1e-9 * s.max(initial=0.0)).sum())
    if rank > THIN * len(slope):
        return (sp.csr_matrix(slope), delta), np.zeros(len(slope))
    left, right = u[:, :rank] * s[:rank], v[:rank]
    reach = np.abs(right).sum(1)
    middle = model.add_columns(np.full(rank, -WIDER), np.full(rank, WIDER))
    model.doubt(model.rows, np.full(rank, ROUGH * (slope.shape[1] + ROUGH) * UNIT))
    scaled = right / reach[:, None]
    model.add_rows([(sp.csr_matrix(scaled), delta), (-np.ones(rank), middle)], np.zeros(rank), np.zeros(rank))
    weights = left * reach
    rough = ROUGH * (rank + ROUGH) * UNIT * (np.abs(weights) @ np.abs(scaled)).sum(1)
    return (sp.csr_matrix(weights), middle), np.abs(slope - weights @ scaled).sum(1) + rough
