"""Linear models over convex sets, through CVXPY: multipliers and points from any conic solver, and never a bound."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from verify.deadline import Deadline, within
from verify.errors import InputError
from verify.solvers.highs import Solution, SolverStatus
from verify.solvers.model import Arrays

LEAST = 1e-3  # seconds; some solvers take 0 for no limit
LIMITS = {"CLARABEL": "time_limit", "SCS": "time_limit_secs", "OSQP": "time_limit", "HIGHS": "time_limit"}


class Conic:
    """One relaxed model whose inputs lie in a convex set, kept in CVXPY and maximised for one objective after another.

    Args:
        arrays: the model; integrality is dropped.
        inputs: its columns that lie in the set.
        constraint: CVXPY constraints of a CVXPY vector of these columns.
        solver: CVXPY's name of a solver.

    Raises InputError for a solver that CVXPY does not find here.
    """

    def __init__(
        self, arrays: Arrays, inputs: np.ndarray, constraint: Callable[[Any], list[Any]], solver: str = "CLARABEL"
    ):
        import cvxpy

        known = cvxpy.installed_solvers()
        if solver not in known:
            raise InputError(f"CVXPY has no solver {solver!r} here; choose one of {', '.join(known)}")
        self._api: Any = cvxpy
        self._solver, self._sides = solver, _sides(arrays)
        self._x: Any = cvxpy.Variable(len(arrays.low))
        self._cost: Any = cvxpy.Parameter(len(arrays.low))
        equal, below, above = self._sides
        matrix = arrays.matrix
        self._rows = [
            matrix[equal] @ self._x == arrays.row_high[equal],
            matrix[below] @ self._x <= arrays.row_high[below],
            -matrix[above] @ self._x <= -arrays.row_low[above],
        ]
        pick = sp.csr_matrix((np.ones(len(inputs)), (np.arange(len(inputs)), inputs)), (len(inputs), len(arrays.low)))
        ends = [self._x >= arrays.low, self._x <= arrays.high]
        rows = [row for row in self._rows if row.size]
        goal = cvxpy.Minimize(-self._cost @ self._x)
        self._problem = cvxpy.Problem(goal, [*rows, *ends, *constraint(pick @ self._x)])

    def maximise(self, cost: np.ndarray, time_limit: float | None = None) -> Solution:
        """A proposal for the maximum of cost . x; cost (columns,). `upper` is always inf: rebuild a bound from `duals`.

        The time limit in seconds is for this call alone, without one it is the time that is left; it is met by the
        solvers that have one. Where less is left than CVXPY took to write the program, the solver is not begun: its
        first factorisation, within which it does not look at a clock, takes as long.
        """
        self._cost.value = cost
        with warnings.catch_warnings(), within(Deadline.after(time_limit)) as limit:
            warnings.simplefilter("ignore")
            try:
                begin = time.perf_counter()
                self._problem.get_problem_data(self._solver)  # kept by CVXPY for the following call and objectives
                left, taken = limit.left, time.perf_counter() - begin
                if left < taken:
                    return Solution(SolverStatus.LIMIT, np.inf, -np.inf)
                options = {LIMITS[self._solver]: max(left, LEAST)} if left < np.inf and self._solver in LIMITS else {}
                self._problem.solve(solver=self._solver, **options)
            except Exception:  # of whatever kind: each solver fails in its own way, and no answer is a valid one
                return Solution(SolverStatus.ERROR, np.inf, -np.inf)
        x = self._x.value
        done = self._problem.status == self._api.OPTIMAL
        status = SolverStatus.OPTIMAL if done else SolverStatus.LIMIT if x is not None else SolverStatus.ERROR
        value = -np.inf if x is None else float(cost @ x)
        return Solution(status, np.inf, value, x, self._duals())

    def _duals(self) -> np.ndarray | None:
        """(rows,) multipliers y with y_i >= 0 where the high side binds and <= 0 where the low side does."""
        y = np.zeros(len(self._sides[0]))
        signs = (1.0, 1.0, -1.0)
        for row, where, sign in zip(self._rows, self._sides, signs, strict=True):
            if row.size:
                if row.dual_value is None:
                    return None
                found = np.asarray(row.dual_value, dtype=np.float64).ravel()
                y[where] += sign * (found if sign > 0 and row is self._rows[0] else np.maximum(found, 0))
        return y


def _sides(arrays: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows are equalities, which have a high side, which a low one; (rows,) bool each."""
    equal = arrays.row_low == arrays.row_high
    return equal, ~equal & np.isfinite(arrays.row_high), ~equal & np.isfinite(arrays.row_low)
