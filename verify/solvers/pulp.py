"""MILP solvers behind PuLP: CBC, HiGHS, SCIP, Gurobi and whatever else PuLP finds on this machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from verify.deadline import deadline
from verify.errors import InputError
from verify.solvers import pulp_calls
from verify.solvers.apart import apart, is_large
from verify.solvers.highs import Solution, SolverStatus
from verify.solvers.model import Arrays
from verify.solvers.pulp_calls import Found, PulpCalls, PulpModel, classes, parameters, quiet


class Pulp:
    """One model maximised for one objective after another by the solver of this name.

    A large MILP is written and maximised in a process of its own wherever there is a time limit, which some solvers
    would not keep.

    Args:
        arrays: the model.
        solver: PuLP's name of it.
        gap: absolute and relative distance of bound and incumbent at which the solver may stop, at most 1/2.
        options: further settings, in PuLP's words.

    Raises InputError where the solver is unknown or not installed.
    """

    def __init__(self, arrays: Arrays, solver: str, gap: float = 1e-6, **options: Any):
        a = arrays
        self._model = PulpModel(a.low, a.high, a.integer, a.matrix, a.row_low, a.row_high)
        self._name, self._kind, self._gap, self._options = solver, solver_class(solver), gap, options
        self._large = is_large(a.matrix, "MILP" if a.integer.any() else "LP")
        self._calls: PulpCalls | None = None

    def maximise(self, cost: np.ndarray, time_limit: float | None = None) -> Solution:
        """Maximum of cost . x; cost (columns,). The time limit in seconds is for this call alone; without one it is the
        time that is left.

        `upper` is the solver's dual bound where it can be read (HiGHS), else the value of the proved optimum plus the
        gap, else inf. Sound because of what a proved optimum means; trusts the solver to its tolerances.
        """
        left = deadline().left if time_limit is None else min(time_limit, deadline().left)
        if self._large and left < np.inf:
            asked = tuple(self._model), self._name, self._gap, self._options, cost
            found: Found = apart(pulp_calls.__file__, asked, left)[:4]
        else:
            self._calls = self._calls or PulpCalls(self._model, self._kind, self._gap, self._options)
            found = self._calls.maximise(cost, left)
        return Solution(SolverStatus(found[0]), *found[1:])


def available_solvers() -> list[str]:
    """Names of the MILP solvers that PuLP finds on this machine and whose gap can be set."""
    import pulp

    with quiet():
        return [name for name in pulp.listSolvers(onlyAvailable=True) if "gapRel" in parameters(classes()[name])]


def solver_class(name: str) -> Any:
    """PuLP's class of a solver. Raises InputError where there is none of this name, or it is not installed."""
    usable = available_solvers()
    if name not in usable:
        kind = "is not installed" if name in classes() else "is unknown to PuLP"
        raise InputError(f"solver {name!r} {kind} or cannot be given a gap; choose one of {', '.join(usable)}")
    return classes()[name]
