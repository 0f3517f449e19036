"""The exact maximum by mixed-integer linear programming (Tjeng, Xiao and Tedrake 2019), through HiGHS."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.exact.tightening import tighten
from verify.method import Answer
from verify.ops.base import Nonlinear
from verify.ops.smooth import refuse_inexact
from verify.problem import Problem
from verify.solvers.encoding import Boxes
from verify.solvers.highs import Highs, Status
from verify.solvers.objectives import Case, CaseModel, case_of
from verify.upper.lp import Relaxation, cheap_bounds, deadline_of, tight_boxes

# HiGHS's sub-MIPs (RINS, RENS) and its cuts below the root cost more than they give on networks: the nine MILPs of
# benchmarks/tutorial_minima.py take a quarter of the time without them.
OPTIONS = {
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_allow_cut_separation_at_nodes": False,
}
NARROW = "narrow"
NARROWEST = 1e-5  # range of an unstable neuron below which rows that hold to 1e-6 say little about it
REASONS = {
    Status.LIMIT.value: "time limit",
    Status.INFEASIBLE.value: "HiGHS calls a model infeasible, which proves nothing",
    Status.ERROR.value: "HiGHS stopped with an error",
    NARROW: f"an unstable neuron varies by less than {NARROWEST:g}, near HiGHS's tolerance; the bound is the LP's",
}
TIGHTENING_SHARE = 0.3  # of the time limit


@dataclass(frozen=True)
class MILP:
    """v* to a gap by branch and bound in HiGHS: one MILP for each disjunct that can still hold the maximum.

    Args:
        time_limit: seconds for each case, or None; what is left then keeps its best dual, LP or linear bound.
        gap: absolute and relative distance of bound and incumbent at which HiGHS may stop.
    """

    time_limit: float | None = None
    gap: float = 1e-6

    @property
    def name(self) -> str:
        return "MILP"

    def answer(self, problem: Problem) -> Answer:
        """For each case HiGHS's dual bound and the incumbent's input as a candidate point.

        `notes`: "milps" started, how many ended in each status, their "nodes"; "skipped" disjuncts whose LP bound was
        no larger than the bound of one solved before, so that they cannot move the maximum; the counts of `tighten`;
        "stopped" with the reason if some were not solved. Raises UnsupportedMethod for ops that have no exact
        encoding and for sets that are no polyhedra, SolverError where HiGHS fails.

        Sound because the encoding contains the network's graph over the set and a dual bound is above every feasible
        point; trusts HiGHS's dual bound, which holds to its tolerances of 1e-6 on rows and integrality.
        """
        for node in problem.network.graph.nodes:
            refuse_inexact(node.op, node.name)
        notes: Counter[str] = Counter(milps=0, nodes=0, skipped=0)
        parts = [self._case(case_of(problem, index), notes) for index in range(problem.cases)]
        upper = torch.tensor([upper for upper, _ in parts], dtype=torch.float64, device=problem.owner.device)
        reasons = [text for key, text in REASONS.items() if notes[key]]
        stopped = {"stopped": "; ".join(reasons)} if reasons else {}
        points = torch.stack([point for _, point in parts])
        return Answer(upper, points, Rigour.SOLVER, "HiGHS's dual bound to 1e-6", {**notes, **stopped})

    def _case(self, case: Case, notes: Counter[str]) -> tuple[float, Tensor]:
        """(upper bound, candidate point) of one case, disjuncts in the order of their LP bounds."""
        deadline = deadline_of(self.time_limit)
        share = deadline_of(None if self.time_limit is None else TIGHTENING_SHARE * self.time_limit)
        boxes = tighten(case, tight_boxes(case), share, notes)
        model = case.model(boxes)
        relaxation = Relaxation(model)
        bounds = np.array([min(b, relaxation.bound(k, deadline)[0]) for k, b in enumerate(cheap_bounds(case))])
        if _is_too_narrow(case, boxes):
            notes[NARROW] += 1
            return float(bounds.max(initial=-np.inf)), case.middle
        upper, best, point = -np.inf, -np.inf, case.middle
        order = np.argsort(-bounds, kind="stable").tolist()
        for done, k in enumerate(order):
            if bounds[k] <= upper:
                notes["skipped"] += len(order) - done
                break
            bound, value, x = self._disjunct(model, k, deadline, notes)
            upper = max(upper, min(bound, bounds[k]))
            if x is not None and value > best:
                best, point = value, model.point(x, point)
        return float(upper), point

    def _disjunct(
        self, model: CaseModel, k: int, deadline: float, notes: Counter[str]
    ) -> tuple[float, float, np.ndarray | None]:
        """(upper bound, value of the incumbent, incumbent) of one disjunct."""
        if time.monotonic() > deadline:
            notes[Status.LIMIT.value] += 1
            return np.inf, -np.inf, None
        highs = Highs(model.arrays, mip_rel_gap=self.gap, mip_abs_gap=self.gap, **OPTIONS)
        solution = highs.maximise(model.cost(k), deadline - time.monotonic())
        notes["milps"] += 1
        notes["nodes"] += solution.nodes
        notes[solution.status.value] += 1
        return solution.upper - model.offsets[k], solution.value - model.offsets[k], solution.x


def _is_too_narrow(case: Case, boxes: Boxes) -> bool:
    """Whether some unstable neuron's range is of the order of the solver's tolerances, which weights may amplify."""
    for node, p in case.network.walk():
        if isinstance(node.op, Nonlinear):
            low, high = boxes[node.inputs[0]]
            if bool(((high - low < NARROWEST) & node.op.unstable(p, boxes[node.inputs[0]])).any()):
                return True
    return False
