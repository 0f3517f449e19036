"""Upper bounds by linear programming: the MILP's encoding with its integrality dropped (the triangle relaxation)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.method import Answer
from verify.problem import Problem
from verify.solvers.encoding import Boxes
from verify.solvers.highs import Highs
from verify.solvers.objectives import Case, CaseModel, case_of
from verify.upper.linear import linear_boxes, linear_row_bounds


@dataclass(frozen=True)
class LP:
    """Upper bounds by one LP for each disjunct of each case, over boxes from linear bounds.

    Args:
        time_limit: seconds for each case, or None; what is left then keeps its linear bound.
    """

    time_limit: float | None = None

    @property
    def name(self) -> str:
        return "lp"

    def answer(self, problem: Problem) -> Answer:
        """For each case the largest LP bound over its disjuncts, and the LP's input as a candidate point.

        `notes`: "lps" solved, "skipped" disjuncts whose linear bound was no larger than an LP bound of their case, so
        that they cannot move the maximum, and "stopped" if a time limit was met. Raises UnsupportedMethod for sets
        that are no polyhedra.

        Sound because the LP relaxes the network over its boxes and each bound is rebuilt from the duals
        (`repair.safe_upper`); trusts float64 rounding.
        """
        uppers, points = [], []
        notes: dict[str, object] = {"lps": 0, "skipped": 0}
        for index in range(problem.cases):
            case = case_of(problem, index)
            deadline = np.inf if self.time_limit is None else time.monotonic() + self.time_limit
            bounds, point, counts = lp_bounds(case.model(tight_boxes(case)), cheap_bounds(case), deadline)
            uppers.append(float(bounds.max(initial=-np.inf)))
            middle = (problem.inputs.low[index] + problem.inputs.high[index]) / 2
            points.append(middle if point is None else case_point(problem, index, point))
            notes = {**notes, **{k: int(str(notes[k])) + n for k, n in counts.items()}}
            if time.monotonic() > deadline:
                notes["stopped"] = "time limit"
        upper = torch.tensor(uppers, dtype=torch.float64)
        return Answer(upper, torch.stack(points), Rigour.FLOAT, "float64 rounding", notes)
