"""Linear models over convex sets, through CVXPY: multipliers and points from any conic solver, and never a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from verify.deadline import deadline
from verify.errors import InputError
from verify.solvers import conic_calls
from verify.solvers.apart import apart, is_large
from verify.solvers.conic_calls import answer
from verify.solvers.highs import Solution, SolverStatus
from verify.solvers.model import Arrays


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
        self._solver, self._sides, self._large = solver, _sides(arrays), is_large(arrays.matrix, "conic")
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

        The time limit in seconds is for this call alone, without one it is the time that is left; a large program is
        written and solved in a process of its own that ends with it, as no solver looks at a clock all the time.
        """
        self._cost.value = cost
        left = deadline().left if time_limit is None else min(time_limit, deadline().left)
        asked = self._problem, self._x, self._rows, self._solver
        elsewhere = self._large and left < np.inf
        found = apart(conic_calls.__file__, asked, left) if elsewhere else answer(*asked, left)
        status, upper, value, x, duals = found[:5]
        return Solution(SolverStatus(status), upper, value, x, None if duals is None else self._multipliers(duals))

    def _multipliers(self, duals: list[np.ndarray | None]) -> np.ndarray | None:
        """(rows,) multipliers y with y_i >= 0 where the high side binds and <= 0 where the low side does."""
        y = np.zeros(len(self._sides[0]))
        signs = (1.0, 1.0, -1.0)
        for dual, where, sign in zip(duals, self._sides, signs, strict=True):
            if where.any():
                if dual is None:
                    return None
                found = np.asarray(dual, dtype=np.float64).ravel()
                y[where] += sign * (found if where is self._sides[0] else np.maximum(found, 0))
        return y


def _sides(arrays: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which rows are equalities, which have a high side, which a low one; (rows,) bool each."""
    equal = arrays.row_low == arrays.row_high
    return equal, ~equal & np.isfinite(arrays.row_high), ~equal & np.isfinite(arrays.row_low)
