"""What every MILP solver shares: the loop over cases and disjuncts, around whatever maximises one disjunct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.deadline import deadline, within
from verify.errors import UnsupportedMethod
from verify.exact.programs.obbt import tighten
from verify.lower.pgd import PGD
from verify.method import Answer
from verify.ops.base import Nonlinear
from verify.problem import Problem
from verify.solvers.encoding import Boxes
from verify.solvers.highs import Solution, SolverStatus
from verify.solvers.objectives import CaseModel, SolverCase, case_of
from verify.upper.lp import LPRelaxation, each_case

Maximise = Callable[[int], Solution]  # disjunct -> its maximum, without the offset

NARROW = "narrow"
REFUTED = "refuted"
ROOM = 1e-6  # relative; how far a solver's bound may lie below a point's value, its own tolerance
NARROWEST = 1e-5  # range of an unstable neuron below which rows that hold to 1e-6 say little about it
ATTACK, TIGHTENING, LPS, MILP = 0.1, 0.3, 0.4, 0.9  # of the time that is left at each


@dataclass(frozen=True)
class Encoded:
    """Branch and bound by one solver over the encoding of each case: a MILP for each disjunct that can still matter.

    Args:
        start: takes a case's model and returns what maximises its disjuncts, one after another.
        solver: its name in notes.
        trusts: what its bounds rest on.
        time_limit: seconds for each case, or None.
    """

    start: Callable[[CaseModel], Maximise]
    solver: str
    trusts: str
    time_limit: float | None

    def answer(self, problem: Problem) -> Answer:
        """For each case the solver's bound, never above the LP's, and the incumbent's input as a candidate point.

        Raises UnsupportedMethod for ops that have no exact encoding and for sets that are no polyhedra.

        Sound because the encoding contains the network's graph over the set and a solver's bound is above every
        feasible point; trusts the solver, and where it proves nothing only the LP's rebuilt bound.
        """
        for node in problem.network.graph.nodes:
            if not node.op.is_exact:
                raise UnsupportedMethod(f"MILP cannot encode node {node.name} ({type(node.op).__name__}) exactly; "
                                        "use CROWN or LP")
        notes: Counter[str] = Counter(milps=0, nodes=0, skipped=0)
        with within(deadline().part(ATTACK)):
            attacked = PGD(stop_when_falsified=False).answer(problem).points  # what a wrong claim is refuted by
        assert attacked is not None
        tries = attacked.reshape(problem.cases, -1, *problem.inputs.shape)
        upper, points = each_case(
            problem, self.time_limit, case_of, lambda k, *case: self._case(tries[k], notes, *case), notes
        )
        notes[SolverStatus.LIMIT.value] += notes["unsolved"]
        reasons = [text for key, text in self._reasons().items() if notes[key]]
        stopped = {"stopped": "; ".join(reasons)} if reasons else {}
        return Answer(upper, points, Rigour.SOLVER, self.trusts, {**notes, **stopped})

    def _reasons(self) -> dict[str, str]:
        narrow = f"an unstable neuron varies by less than {NARROWEST:g}, near {self.solver}'s tolerance"
        return {
            SolverStatus.LIMIT.value: "time limit",
            SolverStatus.INFEASIBLE.value: f"{self.solver} calls a model infeasible, which proves nothing",
            SolverStatus.ERROR.value: f"{self.solver} stopped with an error",
            NARROW: f"{narrow}; the bound is the LP's",
            REFUTED: f"{self.solver} claims a bound that a point refutes; the bound is the LP's",
        }

    def _case(
        self, tries: Tensor, notes: Counter[str], case: SolverCase, bounds: np.ndarray, boxes: Boxes
    ) -> tuple[float, Tensor]:
        """(upper bound, candidate point) of one case with linear bounds of its disjuncts, which become the LPs', and of
        its values; tries (n, *shape) are points that bounds must not lie below."""
        boxes = tighten(case, boxes, notes, deadline().part(TIGHTENING))
        model, points = case.model(boxes), [case.middle, *tries]
        with within(deadline().part(LPS)):
            points += _improved(bounds, model, LPRelaxation(model), case.middle)
        if _is_too_narrow(case, boxes):
            notes[NARROW] += 1
            return float(bounds.max(initial=-np.inf)), case.middle
        return self._solved(case, model, bounds, _values(case, points), notes)

    def _solved(
        self, case: SolverCase, model: CaseModel, bounds: np.ndarray, floor: np.ndarray, notes: Counter[str]
    ) -> tuple[float, Tensor]:
        """(upper bound, candidate point) of the disjuncts in the order of their LP bounds (disjuncts,), which must not
        lie below their floors (disjuncts,)."""
        maximise, upper, best, point = self.start(model), -np.inf, -np.inf, case.middle
        order = np.argsort(-bounds, kind="stable").tolist()
        for done, k in enumerate(order):
            if bounds[k] <= upper:
                notes["skipped"] += len(order) - done
                break
            bound, value, x = _disjunct(maximise, model, k, notes)
            floor = floor if x is None else np.maximum(floor, _values(case, [model.point(x, case.middle)]))
            if bound < floor[k] - ROOM * (1 + abs(floor[k])):
                notes[REFUTED] += 1
                bound = np.inf
            upper = max(upper, min(bound, bounds[k]))
            if x is not None and value > best:
                best, point = value, model.point(x, point)
        return float(upper), point


def _improved(bounds: np.ndarray, model: CaseModel, relaxation: LPRelaxation, like: Tensor) -> list[Tensor]:
    """Lowers the bounds (disjuncts,) to those of the LPs, in place; the LPs' points (*shape), like `like`."""
    points = []
    for k in range(len(bounds)):
        bound, x = relaxation.bound(k)
        bounds[k] = min(bounds[k], bound)
        points += [] if x is None else [model.point(x, like)]
    return points


def _values(case: SolverCase, points: list[Tensor]) -> np.ndarray:
    """The largest value of each disjunct at members of the set near these points (*shape), float64 (disjuncts,)."""
    values = [np.full(len(case.disjuncts), -np.inf)]
    for point in points:
        x = case.inputs.project(point[None].to("cpu", torch.float64))
        if bool(case.inputs.contains(x)):
            values.append(case.least(case.spec.values(x, case.network(x))))
    return np.max(values, 0)


def _disjunct(
    maximise: Maximise, model: CaseModel, k: int, notes: Counter[str]
) -> tuple[float, float, np.ndarray | None]:
    """(upper bound, value of the incumbent, incumbent) of one disjunct."""
    with within(deadline().part(MILP)) as limit:
        if limit.is_over:
            notes[SolverStatus.LIMIT.value] += 1
            return np.inf, -np.inf, None
        solution = maximise(k)
    notes["milps"] += 1
    notes["nodes"] += solution.nodes
    notes[solution.status.value] += 1
    bound = np.inf if np.isnan(solution.upper) else solution.upper
    return bound - model.offsets[k], solution.value - model.offsets[k], solution.x


def _is_too_narrow(case: SolverCase, boxes: Boxes) -> bool:
    """Whether some unstable neuron's range is of the order of the solver's tolerances, which weights may amplify."""
    for node, p in case.network.walk():
        if isinstance(node.op, Nonlinear):
            low, high = boxes[node.inputs[0]]
            if bool(((high - low < NARROWEST) & node.op.unstable(p, boxes[node.inputs[0]])).any()):
                return True
    return False
