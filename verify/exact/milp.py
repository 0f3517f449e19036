"""The exact maximum by mixed-integer linear programming (Tjeng, Xiao and Tedrake 2019), through HiGHS."""

from __future__ import annotations

from dataclasses import dataclass

from verify.exact.programs.milp_loop import Encoded, Maximise
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry
from verify.solvers.highs import Highs, Solution
from verify.solvers.objectives import CaseModel

# HiGHS's sub-MIPs (RINS, RENS) and its cuts below the root cost more than they give on networks: the nine MILPs of
# benchmarks/tutorial_minima.py take a quarter of the time without them.
# Scaled, HiGHS 1.15 calls values optimal that a point exceeds by 7e-3.
OPTIONS = {
    "simplex_scale_strategy": 0,
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_allow_cut_separation_at_nodes": False,
}


@Entry(
    name="milp", family="exact", place=100, time_limit=True, polyhedra=True,
    help="mixed-integer linear programs, by HiGHS",
)
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
        return Encoded(self._start, "HiGHS", "HiGHS's dual bound to 1e-6", self.time_limit).answer(problem)

    def _start(self, model: CaseModel) -> Maximise:
        def maximise(k: int) -> Solution:
            highs = Highs(model.arrays, mip_rel_gap=self.gap, mip_abs_gap=self.gap, **OPTIONS)
            return highs.maximise(model.cost(k))

        return maximise
