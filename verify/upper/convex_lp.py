"""Upper bounds by the triangle relaxation over any convex set of inputs, through CVXPY."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from verify.errors import UnsupportedMethod
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry
from verify.sets import Box, InputSet
from verify.solvers.conic import Conic
from verify.solvers.encoding import Boxes
from verify.solvers.objectives import CaseModel, SolverCase, float64_case
from verify.solvers.repair import SafeBound
from verify.upper.lp import LPRelaxation, relaxed


@Entry(
    name="convex", family="upper", place=70, time_limit=True,
    help="the triangle relaxation over any convex set, by CVXPY",
)
@dataclass(frozen=True)
class ConvexLP:
    """Upper bounds by one conic program for each disjunct of each case: the rows of `LP`, and the set as it is.

    Args:
        solver: CVXPY's name of a conic solver.
        time_limit: seconds for each case, or None; what is left then keeps its linear bound.
    """

    solver: str = "CLARABEL"
    time_limit: float | None = None

    @property
    def name(self) -> str:
        return "CVXPY-LP"

    def answer(self, problem: Problem) -> Answer:
        """For each case the largest bound over its disjuncts, and the program's input as a candidate point.

        Takes every set that offers a CVXPY constraint and a support function: boxes, balls, polytopes and convex sets.
        `notes`: "programs" solved, "skipped" disjuncts whose linear bound was no larger than a bound of their case;
        "unsolved" and "stopped" if a time limit was met, or where a value has no finite bounds, so that the linear
        bound stands. Raises InputError for a solver that is not there.

        Sound because the program relaxes the network over its boxes, and each bound is rebuilt from the duals of the
        rows and the set's own support function (`SafeBound`); trusts float64 rounding, and where the set is described
        by CVXPY constraints their values and subgradients.
        """
        def program(case: SolverCase, boxes: Boxes) -> tuple[CaseModel, ConvexRelaxation]:
            model = hull_model(case, boxes)
            return model, ConvexRelaxation(model, case.inputs, self.solver)

        trusts = f"float64 rounding{problem.inputs.trusts}"
        return relaxed(problem, self.time_limit, float64_case, program, "programs", trusts)


def hull_model(case: SolverCase, boxes: Boxes) -> CaseModel:
    """The linear model of a case over the hull of its set."""
    return replace(case, inputs=Box(case.inputs.low, case.inputs.high)).model(boxes)


def relaxation_of(case: SolverCase, boxes: Boxes) -> LPRelaxation | ConvexRelaxation:
    """The triangle relaxation of a case: an LP over a polyhedron, a conic program over another set."""
    try:
        return LPRelaxation(case.model(boxes))
    except UnsupportedMethod:
        return ConvexRelaxation(hull_model(case, boxes), case.inputs, "CLARABEL")


class ConvexRelaxation:
    """The relaxation of one case over its set, kept in CVXPY for all disjuncts."""

    def __init__(self, model: CaseModel, inputs: InputSet, solver: str):
        columns = model.inputs.ravel()
        self._model, self._set = model, inputs
        self._conic = Conic(model.arrays, columns, lambda x: inputs.constraint(x, 0), solver)
        self._safe = SafeBound(model.arrays, columns, self._support)

    def bound(self, k: int) -> tuple[float, np.ndarray | None]:
        """(upper bound of disjunct k, the program's point or None).

        Sound whatever CVXPY answers, see `SafeBound`; trusts float64 rounding and the set's support function.
        """
        cost = self._model.cost(k)
        solution = self._conic.maximise(cost)
        bound = self._safe.upper(cost, solution.duals) - self._model.offsets[k]
        return float(np.nextafter(bound, np.inf)), solution.x

    def _support(self, a: np.ndarray) -> float:
        row = torch.from_numpy(a).reshape(1, 1, *self._set.shape)
        return float(self._set.support(row))
