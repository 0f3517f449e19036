"""MILP solvers behind PuLP: CBC, HiGHS, SCIP, Gurobi and whatever else PuLP finds on this machine.

PuLP calls a run optimal that a time limit ended, with the incumbent as its objective; and the incumbent of a maximum is
a lower bound. So `status` is never read: only `sol_status` counts, a claim made when the time was nearly over counts
for nothing, and a claimed optimum must come with a point that meets the rows.
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from verify.deadline import deadline
from verify.errors import InputError
from verify.solvers.highs import Solution, SolverStatus
from verify.solvers.model import Arrays

LATE = 0.9  # share of the time limit from which on a claim of optimality may be a time-out in disguise
MEETS = 1e-5  # how far a claimed optimum may miss a row or an integer, relative to 1 + the size of the row's side
TOLERANCE = 1e-6  # absolute gap at which solvers stop by default, if they have no setting for it


class Pulp:
    """One model kept in PuLP, maximised for one objective after another by the solver of this name.

    Args:
        arrays: the model.
        solver: PuLP's name of it.
        gap: absolute and relative distance of bound and incumbent at which the solver may stop, at most 1/2.
        options: further settings, in PuLP's words.

    Raises InputError where the solver is unknown or not installed.
    """

    def __init__(self, arrays: Arrays, solver: str, gap: float = 1e-6, **options: Any):
        self._arrays, self._name, self._gap = arrays, solver, gap
        self._solver = solver_class(solver)
        self._settings = {"msg": False, **_gaps(self._solver, gap), **options}
        with _quiet():
            self._problem, self._columns = _written(arrays)

    def maximise(self, cost: np.ndarray, time_limit: float | None = None) -> Solution:
        """Maximum of cost . x; cost (columns,). The time limit in seconds is for this call alone; without one it is the
        time that is left.

        `upper` is the solver's dual bound where it can be read (HiGHS), else the value of the proved optimum plus the
        gap, else inf. Sound because of what a proved optimum means; trusts the solver to its tolerances.
        """
        import pulp

        begin = time.monotonic()
        left = deadline().left if time_limit is None else min(time_limit, deadline().left)
        with _quiet():
            terms = {self._columns[i]: float(cost[i]) for i in np.flatnonzero(cost)}
            self._problem.setObjective(pulp.LpAffineExpression(terms))
            limit = {"timeLimit": max(left, 1e-3)} if left < np.inf else {}
            try:
                self._problem.solve(self._solver(**self._settings, **limit))
            except Exception:  # of whatever kind: PuLP 3.3 has no word for HiGHS's solution limit, a KeyError
                return Solution(SolverStatus.ERROR, np.inf, -np.inf)
        late = time.monotonic() - begin >= LATE * left
        return self._read(cost, late)

    def _read(self, cost: np.ndarray, late: bool) -> Solution:
        """What the last run is worth. `late` turns a claim of optimality into a limit."""
        import pulp

        claim = self._problem.sol_status
        if claim == pulp.LpSolutionInfeasible:
            return Solution(SolverStatus.INFEASIBLE, np.inf, -np.inf)
        x = self._point()
        value = -np.inf if x is None else float(cost @ x)
        bound = self._dual_bound()
        if claim != pulp.LpSolutionOptimal or late:
            known = claim in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
            stopped = known or claim == pulp.LpSolutionNoSolutionFound
            return Solution(SolverStatus.LIMIT if stopped else SolverStatus.ERROR, bound, value, x)
        if x is None:
            return Solution(SolverStatus.ERROR, bound, value)
        proved = value + 2 * max(self._gap, TOLERANCE) * (1 + abs(value))
        return Solution(SolverStatus.OPTIMAL, proved if bound == np.inf else max(bound, value), value, x)

    def _point(self) -> np.ndarray | None:
        """The values of the columns where they are a solution, integers rounded in the test alone; else None."""
        values = [column.varValue for column in self._columns]
        if any(value is None for value in values):
            return None
        x, a = np.array(values, dtype=np.float64), self._arrays
        if not np.isfinite(x).all():
            return None
        rows = a.matrix @ x
        room = MEETS * (1 + abs(a.matrix) @ np.abs(x))
        ends = MEETS * (1 + np.abs(x))
        fits = (rows >= a.row_low - room).all() and (rows <= a.row_high + room).all()
        fits &= (x >= a.low - ends).all() and (x <= a.high + ends).all()
        fits &= (np.abs(x - np.rint(x))[a.integer] <= MEETS).all()
        return x if fits else None

    def _dual_bound(self) -> float:
        """The solver's own upper bound, where PuLP lets us read it reliably; inf elsewhere."""
        if self._name != "HiGHS" or not self._arrays.integer.any():
            return np.inf
        bound = -self._problem.solverModel.getInfo().mip_dual_bound
        return float(bound) if np.isfinite(bound) else np.inf


def available_solvers() -> list[str]:
    """Names of the MILP solvers that PuLP finds on this machine and whose gap can be set."""
    import pulp

    with _quiet():
        return [name for name in pulp.listSolvers(onlyAvailable=True) if "gapRel" in _parameters(_classes()[name])]


def solver_class(name: str) -> Any:
    """PuLP's class of a solver. Raises InputError where there is none of this name, or it is not installed."""
    usable = available_solvers()
    if name not in usable:
        kind = "is not installed" if name in _classes() else "is unknown to PuLP"
        raise InputError(f"solver {name!r} {kind} or cannot be given a gap; choose one of {', '.join(usable)}")
    return _classes()[name]


def _classes() -> dict[str, Any]:
    from pulp import apis

    return {kind.name: kind for kind in apis._all_solvers}


def _parameters(kind: Any) -> set[str]:
    return set(inspect.signature(kind.__init__).parameters)


def _gaps(kind: Any, gap: float) -> dict[str, float]:
    return {name: gap for name in ("gapRel", "gapAbs") if name in _parameters(kind)}


def _written(arrays: Arrays) -> tuple[Any, list[Any]]:
    """(the problem, its variables): a two-sided row becomes an equality, one inequality or two."""
    import pulp

    problem = pulp.LpProblem("network", pulp.LpMaximize)
    kinds = (pulp.LpContinuous, pulp.LpInteger)
    ends = zip(arrays.low.tolist(), arrays.high.tolist(), arrays.integer.tolist(), strict=True)
    columns = [pulp.LpVariable(f"x{i}", low, high, kinds[whole]) for i, (low, high, whole) in enumerate(ends)]
    problem.addVariables(columns)
    starts, places, data = arrays.matrix.indptr, arrays.matrix.indices.tolist(), arrays.matrix.data.tolist()
    for i, (low, high) in enumerate(zip(arrays.row_low.tolist(), arrays.row_high.tolist(), strict=True)):
        span = range(starts[i], starts[i + 1])
        terms = {columns[places[j]]: data[j] for j in span}
        sides = {pulp.LpConstraintGE: low, pulp.LpConstraintLE: high}
        if low == high:
            sides = {pulp.LpConstraintEQ: low}
        for sense, side in sides.items():
            if np.isfinite(side):
                row = pulp.LpConstraint(pulp.LpAffineExpression(terms), sense, f"r{i}_{sense + 1}", side)
                problem.addConstraint(row)
    return problem, columns


@contextmanager
def _quiet() -> Iterator[None]:
    """PuLP 3 warns of what PuLP 4 will rename, also where its own code calls it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
