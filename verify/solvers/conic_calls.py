"""A convex program in CVXPY, solved in this process or in one of its own (`verify.solvers.apart`).

Imports nothing of the package, so that a process of its own begins at once.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

LEAST = 1e-3  # seconds; some solvers take 0 for no limit
LIMITS = {"CLARABEL": "time_limit", "SCS": "time_limit_secs", "OSQP": "time_limit", "HIGHS": "time_limit"}
Found = tuple[str, float, float, np.ndarray | None, list[np.ndarray | None] | None]


def answer(problem: Any, x: Any, rows: list[Any], solver: str, seconds: float) -> Found:
    """(status, inf, objective, x, the duals of each of `rows`) of a CVXPY problem that minimises minus the objective,
    by the solver of this name; its limit is met by the solvers that have one."""
    options = {LIMITS[solver]: max(seconds, LEAST)} if seconds < np.inf and solver in LIMITS else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem.solve(solver=solver, **options)
        except Exception:  # of whatever kind: each solver fails in its own way, and no answer is a valid one
            return "error", np.inf, -np.inf, None, None
    if x.value is None:
        return "error", np.inf, -np.inf, None, [row.dual_value for row in rows]
    status = "optimal" if problem.status == "optimal" else "limit"
    return status, np.inf, -float(problem.objective.value), x.value, [row.dual_value for row in rows]
