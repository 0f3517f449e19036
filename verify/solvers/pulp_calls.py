"""A solver behind PuLP on plain arrays, in this process or in one of its own (`verify.solvers.apart`).

PuLP calls a run optimal that a time limit ended, with the incumbent as its objective; and the incumbent of a maximum is
a lower bound. So `status` is never read: only `sol_status` counts, a claim made when the time was nearly over counts
for nothing, and a claimed optimum must come with a point that meets the rows.

Imports nothing of the package, so that a process of its own begins at once.
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

LATE = 0.9  # share of the time limit from which on a claim of optimality may be a time-out in disguise
MEETS = 1e-5  # how far a claimed optimum may miss a row or an integer, relative to 1 + the size of the row's side
TOLERANCE = 1e-6  # absolute gap at which solvers stop by default, if they have no setting for it
Found = tuple[str, float, float, np.ndarray | None]  # the first fields of a Solution


class PulpModel(NamedTuple):
    """A model: columns (n,), which of them are integer, a CSR matrix (m, n) and the sides of its rows (m,)."""

    low: np.ndarray
    high: np.ndarray
    integer: np.ndarray
    matrix: Any
    row_low: np.ndarray
    row_high: np.ndarray


class PulpCalls:
    """One model kept in PuLP for a solver of this class, which may stop at this gap; `options` in PuLP's words."""

    def __init__(self, model: PulpModel, kind: Any, gap: float, options: dict[str, Any]):
        self._model, self._kind, self._gap = model, kind, gap
        self._settings = {"msg": False, **_gaps(kind, gap), **options}
        with quiet():
            self._problem, self._columns = _written(model)

    def maximise(self, cost: np.ndarray, seconds: float) -> Found:
        """What the solver finds of the maximum of cost . x, cost (columns,), in so many seconds."""
        import pulp

        begin = time.monotonic()
        with quiet():
            terms = {self._columns[i]: float(cost[i]) for i in np.flatnonzero(cost)}
            self._problem.setObjective(pulp.LpAffineExpression(terms))
            limit = {"timeLimit": max(seconds, 1e-3)} if seconds < np.inf else {}
            try:
                self._problem.solve(self._kind(**self._settings, **limit))
            except Exception:  # of whatever kind: PuLP 3.3 has no word for HiGHS's solution limit, a KeyError
                return "error", np.inf, -np.inf, None
        late = time.monotonic() - begin >= LATE * seconds
        return self._read(cost, late)

    def _read(self, cost: np.ndarray, late: bool) -> Found:
        """What the last run is worth. `late` turns a claim of optimality into a limit."""
        import pulp

        claim = self._problem.sol_status
        if claim == pulp.LpSolutionInfeasible:
            return "infeasible", np.inf, -np.inf, None
        x = self._point()
        value = -np.inf if x is None else float(cost @ x)
        bound = self._dual_bound()
        if claim != pulp.LpSolutionOptimal or late:
            known = claim in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
            stopped = known or claim == pulp.LpSolutionNoSolutionFound
            return "limit" if stopped else "error", bound, value, x
        if x is None:
            return "error", bound, value, None
        proved = value + 2 * max(self._gap, TOLERANCE) * (1 + abs(value))
        return "optimal", proved if bound == np.inf else max(bound, value), value, x

    def _point(self) -> np.ndarray | None:
        """The values of the columns where they are a solution, integers rounded in the test alone; else None."""
        values = [column.varValue for column in self._columns]
        if any(value is None for value in values):
            return None
        x, a = np.array(values, dtype=np.float64), self._model
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
        if self._kind.name != "HiGHS" or not self._model.integer.any():
            return np.inf
        bound = -self._problem.solverModel.getInfo().mip_dual_bound
        return float(bound) if np.isfinite(bound) else np.inf


def classes() -> dict[str, Any]:
    """PuLP's classes of solvers by name."""
    from pulp import apis

    return {kind.name: kind for kind in apis._all_solvers}


def parameters(kind: Any) -> set[str]:
    """The names of what a class of solvers is made from."""
    return set(inspect.signature(kind.__init__).parameters)


def answer(
    model: tuple[Any, ...], solver: str, gap: float, options: dict[str, Any], cost: np.ndarray, seconds: float
) -> Found:
    """What `PulpCalls.maximise` finds with the solver of this name; `model` are its `PulpModel`."""
    begin = time.monotonic()
    calls = PulpCalls(PulpModel(*model), classes()[solver], gap, options)
    return calls.maximise(cost, seconds - (time.monotonic() - begin))


def _gaps(kind: Any, gap: float) -> dict[str, float]:
    return {name: gap for name in ("gapRel", "gapAbs") if name in parameters(kind)}


def _written(model: PulpModel) -> tuple[Any, list[Any]]:
    """(the problem, its variables): a two-sided row becomes an equality, one inequality or two."""
    import pulp

    problem = pulp.LpProblem("network", pulp.LpMaximize)
    kinds = (pulp.LpContinuous, pulp.LpInteger)
    ends = zip(model.low.tolist(), model.high.tolist(), model.integer.tolist(), strict=True)
    columns = [pulp.LpVariable(f"x{i}", low, high, kinds[whole]) for i, (low, high, whole) in enumerate(ends)]
    problem.addVariables(columns)
    starts, places, data = model.matrix.indptr, model.matrix.indices.tolist(), model.matrix.data.tolist()
    for i, (low, high) in enumerate(zip(model.row_low.tolist(), model.row_high.tolist(), strict=True)):
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
def quiet() -> Iterator[None]:
    """PuLP 3 warns of what PuLP 4 will rename, also where its own code calls it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
