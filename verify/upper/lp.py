"""Upper bounds by linear programming: the MILP's encoding with its integrality dropped (the triangle relaxation)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.method import Answer
from verify.problem import Problem
from verify.solvers.encoding import Boxes
from verify.solvers.highs import Highs
from verify.solvers.objectives import Case, CaseModel, case_of
from verify.solvers.repair import SafeBound
from verify.upper.linear import linear_boxes, linear_row_bounds

AnyPoint = TypeVar("AnyPoint")


@dataclass(frozen=True)
class LP:
    """Upper bounds by one LP for each disjunct of each case, over boxes from linear bounds.

    Args:
        time_limit: seconds for each case, or None; what is left then keeps its linear bound.
    """

    time_limit: float | None = None

    @property
    def name(self) -> str:
        return "LP"

    def answer(self, problem: Problem) -> Answer:
        """For each case the largest LP bound over its disjuncts, and the LP's input as a candidate point.

        `notes`: "lps" solved, "skipped" disjuncts whose linear bound was no larger than an LP bound of their case, so
        that they cannot move the maximum; "unsolved" and "stopped" if a time limit was met. Raises UnsupportedMethod
        for sets that are no polyhedra.

        Sound because the LP relaxes the network over its boxes and each bound is rebuilt from the duals
        (`SafeBound`); trusts float64 rounding.
        """
        uppers, points = [], []
        notes = Counter(lps=0, skipped=0)
        for index in range(problem.cases):
            deadline = deadline_of(self.time_limit)
            upper, point = self._case(case_of(problem, index), deadline, notes)
            uppers.append(upper)
            points.append(point)
        stopped = {"stopped": "time limit"} if notes["unsolved"] else {}
        upper = torch.tensor(uppers, dtype=torch.float64, device=problem.owner.device)
        return Answer(upper, torch.stack(points), Rigour.FLOAT, "float64 rounding", {**notes, **stopped})

    def _case(self, case: Case, deadline: float, notes: Counter[str]) -> tuple[float, Tensor]:
        """(upper bound, candidate point) of one case."""
        model = case.model(tight_boxes(case))
        upper, x = largest(cheap_bounds(case), Relaxation(model).bound, deadline, notes, "lps")
        return upper, case.middle if x is None else model.point(x, case.middle)


def largest(
    cheap: np.ndarray, bound: Callable[[int, float], tuple[float, AnyPoint | None]], deadline: float,
    notes: Counter[str], counted: str,
) -> tuple[float, AnyPoint | None]:
    """(upper bound, point) of the best disjunct, asking for the dear bounds only where they may matter.

    Args:
        cheap: (disjuncts,) upper bounds at hand.
        bound: (disjunct, deadline) -> a dearer upper bound and the relaxation's point or None.
        deadline: after which a cheap bound is kept.
        notes: counts what was bounded under the name `counted`, "skipped" and "unsolved" disjuncts.

    Sound because each disjunct is covered by one of its own bounds or by that of another that is no smaller; trusts
    what the bounds trust.
    """
    upper, point = float(-np.inf), None
    order = np.argsort(-cheap, kind="stable").tolist()
    for done, k in enumerate(order):
        if cheap[k] <= upper:
            notes["skipped"] += len(order) - done
            break
        if time.monotonic() > deadline:
            notes["unsolved"] += len(order) - done
            return float(max(upper, cheap[k])), point
        value, x = bound(k, deadline)
        notes[counted] += 1
        if min(value, cheap[k]) > upper:
            upper = float(min(value, cheap[k]))
            point = point if x is None else x
    return upper, point


class Relaxation:
    """The LP relaxation of one case, kept in HiGHS so that each disjunct starts from the basis of the one before."""

    def __init__(self, model: CaseModel):
        self._model = model
        self._highs = Highs(model.arrays, relaxed=True)
        self._safe = SafeBound(model.arrays)

    def bound(self, k: int, deadline: float) -> tuple[float, np.ndarray | None]:
        """(upper bound of disjunct k, the LP's point or None). Valid whatever HiGHS answers, see `SafeBound`."""
        solution = self._highs.maximise(self._model.cost(k), deadline - time.monotonic())
        bound = self._safe.upper(self._model.cost(k), solution.duals) - self._model.offsets[k]
        return float(np.nextafter(bound, np.inf)), solution.x


def deadline_of(time_limit: float | None) -> float:
    """The moment, on the monotonic clock, when the limit that starts now is over."""
    return np.inf if time_limit is None else time.monotonic() + time_limit


def tight_boxes(case: Case) -> Boxes:
    """Bounds of every value from the tightest method at hand, batch of 1. Sound as `linear_boxes` is."""
    return linear_boxes(case.network, case.inputs)


def cheap_bounds(case: Case) -> np.ndarray:
    """Linear bounds of every disjunct, (disjuncts,). Sound as `linear_row_bounds` is."""
    return case.least(linear_row_bounds(case.network, case.inputs, case.spec))
