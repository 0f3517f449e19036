"""The exact maximum by any MILP solver that PuLP finds: the encoding of `MILP`, another solver."""

from __future__ import annotations

from dataclasses import dataclass

from verify.errors import InputError
from verify.exact.programs.milp_loop import Encoded, Maximise
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry
from verify.solvers.highs import Solution
from verify.solvers.objectives import CaseModel
from verify.solvers.pulp import Pulp, solver_class


@Entry(
    name="pulp", family="exact", place=110, time_limit=True, polyhedra=True,
    help="the same by any solver that PuLP finds",
)
@dataclass(frozen=True)
class PulpMILP:
    """v* to a gap by a solver of the user's choice: one MILP for each disjunct that can still hold the maximum.

    Args:
        solver: PuLP's name of it, such as "HiGHS", "PULP_CBC_CMD" (CBC), "SCIP_CMD" or "GUROBI".
        time_limit: seconds for each case, or None; what is left then keeps its best dual, LP or linear bound.
        gap: absolute and relative distance of bound and incumbent at which the solver may stop.
    """

    solver: str = "HiGHS"
    time_limit: float | None = None
    gap: float = 1e-6

    @property
    def name(self) -> str:
        return "PuLP"

    def answer(self, problem: Problem) -> Answer:
        """For each case the solver's bound and the incumbent's input as a candidate point; `notes` as of `MILP`.

        Where the solver proves an optimum, the bound is its dual bound (HiGHS) or the optimum plus the gap; where it
        does not, the dual bound (HiGHS) or the LP's. Raises InputError for a solver that is not there, and
        UnsupportedMethod for ops that have no exact encoding and for sets that are no polyhedra.

        Sound because the encoding contains the network's graph over the set and a proved optimum with its gap is
        above every feasible point; trusts the solver's proof of optimality, to its tolerances of 1e-6.
        """
        if not 0 <= self.gap <= 0.5:
            raise InputError(f"the gap is {self.gap:g} but must lie between 0 and 1/2")
        solver_class(self.solver)
        trusts = f"the word of {self.solver} that its optimum is proved, to 1e-6"
        return Encoded(self._start, self.solver, trusts, self.time_limit).answer(problem)

    def _start(self, model: CaseModel) -> Maximise:
        pulp = Pulp(model.arrays, self.solver, self.gap)

        def maximise(k: int) -> Solution:
            return pulp.maximise(model.cost(k))

        return maximise
