"""Upper bounds by linear programming: the MILP's encoding with its integrality dropped (the triangle relaxation)."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from torch import Tensor

from verify.bracket import Rigour
from verify.deadline import Deadline, deadline, within
from verify.errors import OutOfTime, Unbounded
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry
from verify.solvers.encoding import Boxes
from verify.solvers.highs import Highs
from verify.solvers.objectives import CaseModel, SolverCase, case_of
from verify.solvers.repair import SafeBound
from verify.upper.crown import linear_bounds
from verify.upper.interval import Interval

AnyPoint = TypeVar("AnyPoint")


class CaseProgram(Protocol):
    """A program over one case that bounds its disjuncts."""

    @abstractmethod
    def bound(self, k: int) -> tuple[float, np.ndarray | None]:
        """(upper bound of disjunct k, the program's point or None)."""


BOXES = 0.3  # of the time, after which boxes stay as they are
MOMENT = 0.4  # seconds


@Entry(
    name="lp", family="upper", place=60, time_limit=True, polyhedra=True,
    help="linear programs over the triangle relaxation, by HiGHS",
    defaults={"gaps": 5},
)
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
        that they cannot move the maximum; "unsolved" and "stopped" if a time limit was met, or where a value has no
        finite bounds, so that the linear bound stands. Raises UnsupportedMethod for sets that are no polyhedra.

        Sound because the LP relaxes the network over its boxes and each bound is rebuilt from the duals
        (`SafeBound`); trusts float64 rounding.
        """
        return relaxed(problem, self.time_limit, case_of, _program, "lps", "float64 rounding")


def _program(case: SolverCase, boxes: Boxes) -> tuple[CaseModel, LPRelaxation]:
    model = case.model(boxes)
    return model, LPRelaxation(model)


def relaxed(
    problem: Problem, time_limit: float | None, case_of: Callable[[Problem, int], SolverCase],
    program: Callable[[SolverCase, Boxes], tuple[CaseModel, CaseProgram]], counted: str, trusts: str,
) -> Answer:
    """What a relaxation says of each case, by a program over its boxes; programs are counted under a name. Where there
    is none, as a value has no finite bounds, the linear bound stands, and "stopped" says where."""
    notes, lacks = Counter({counted: 0, "skipped": 0}), dict[str, None]()

    def answer(_: int, case: SolverCase, cheap: np.ndarray, boxes: Boxes) -> tuple[float, Tensor]:
        try:
            model, relaxation = program(case, boxes)
        except Unbounded as lack:
            lacks[str(lack)] = None
            return float(cheap.max(initial=-np.inf)), case.middle
        upper, x = largest(cheap, relaxation.bound, notes, counted)
        return upper, case.middle if x is None else model.point(x, case.middle)

    upper, points = each_case(problem, time_limit, case_of, answer, notes)
    reasons = [*(["time limit"] if notes["unsolved"] else []), *lacks]
    stopped = {"stopped": "; ".join(reasons)} if reasons else {}
    return Answer(upper, points, Rigour.FLOAT, trusts, {**notes, **stopped})


def each_case(
    problem: Problem, time_limit: float | None, case_of: Callable[[Problem, int], SolverCase],
    answer: Callable[[int, SolverCase, np.ndarray, Boxes], tuple[float, Tensor]], notes: Counter[str],
) -> tuple[Tensor, Tensor]:
    """(upper bounds (cases,) in float64, candidate points (cases, *shape)) of what answers one case after another.

    A case has so many seconds, no more than its part of the time that is left for all, and in any case the moment that
    linear bounds of a small network take. The answer is told its number, the case and the linear bounds of its
    disjuncts (disjuncts,), which it may improve in place, and of its values; without time they are the bound, or the
    interval bound is where even they take too long. Disjuncts without an answer are counted as "unsolved".
    """
    upper = Interval().answer(problem).upper
    assert upper is not None
    points = ((problem.inputs.low + problem.inputs.high) / 2).detach().clone()
    for index in range(problem.cases):
        limit, cheap = Deadline.after(time_limit), None
        try:
            with within(deadline().part(1 / (problem.cases - index))):
                moment = Deadline.after(MOMENT)
                with within(max(limit, moment)) as here:
                    case, until = case_of(problem, index), min(here, max(limit.part(BOXES), moment.part(0.75)))
                    rows, boxes = linear_bounds(case.network, case.inputs, case.spec, until)
                    cheap = case.least(rows)
                with within(limit):
                    upper[index], points[index] = answer(index, case, cheap, boxes)
        except OutOfTime:
            notes["unsolved"] += 1 if cheap is None else len(cheap)
            upper[index] = upper[index] if cheap is None else cheap.max(initial=-np.inf)
    return upper, points


def largest(
    cheap: np.ndarray, bound: Callable[[int], tuple[float, AnyPoint | None]], notes: Counter[str], counted: str
) -> tuple[float, AnyPoint | None]:
    """(upper bound, point) of the best disjunct, asking for the dear bounds only where they may matter and where there
    is time; after that the cheap ones are kept.

    Args:
        cheap: (disjuncts,) upper bounds at hand.
        bound: disjunct -> a dearer upper bound and the relaxation's point or None.
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
        if deadline().is_over:
            notes["unsolved"] += len(order) - done
            return float(max(upper, cheap[k])), point
        value, x = bound(k)
        notes[counted] += 1
        if min(value, cheap[k]) > upper:
            upper = float(min(value, cheap[k]))
            point = point if x is None else x
    return upper, point


class LPRelaxation:
    """The LP relaxation of one case, kept in HiGHS so that each disjunct starts from the basis of the one before."""

    def __init__(self, model: CaseModel):
        self._model = model
        self._highs = Highs(model.arrays, relaxed=True)
        self._safe = SafeBound(model.arrays)

    def bound(self, k: int) -> tuple[float, np.ndarray | None]:
        """(upper bound of disjunct k, the LP's point or None). Valid whatever HiGHS answers, see `SafeBound`."""
        solution = self._highs.maximise(self._model.cost(k))
        bound = self._safe.upper(self._model.cost(k), solution.duals) - self._model.offsets[k]
        return float(np.nextafter(bound, np.inf)), solution.x
