"""One convex set that CVXPY constraints describe: points that its solvers propose, values and cuts at any point.

Nothing here is believed as it comes: a proposed point is tested by `excess`, and a bound is made of `cuts`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verify.errors import InputError

MARGIN = 1e-9  # by how much a constraint must hold before it counts, relative to 1 + the size of its two sides


class Program:
    """{x in [low, high] : constraints}, x a flattened input; low, high (size,) float64.

    Args:
        constrain: takes a CVXPY vector and returns inequalities between CVXPY expressions.

    Raises InputError for constraints of another kind (an equality has no inside) and for non-convex ones.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray, constrain: Callable[[Any], Sequence[Any]]):
        import cvxpy

        self._api: Any = cvxpy
        self.low, self.high = low, high
        self._x: Any = cvxpy.Variable(len(low))
        self._point: Any = cvxpy.Parameter(len(low))
        self.constraints = list(constrain(self._x))
        for c in self.constraints:
            if type(c).__name__ != "Inequality":
                raise InputError(f"constraint {c} is no inequality; write the set with <= and >= between expressions")
            if not c.is_dcp():
                raise InputError(f"CVXPY cannot see that constraint {c} is convex; see dcp.cvxpy.org")
        inside = [self._x >= low, self._x <= high, *self.constraints]
        self._farthest = cvxpy.Problem(cvxpy.Maximize(self._point @ self._x), inside)
        self._nearest = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(self._x - self._point)), inside)

    def maximiser(self, a: np.ndarray) -> np.ndarray | None:
        """A point that should maximise a . x, or None; a (size,)."""
        return self._solved(self._farthest, a)

    def pull(self, a: np.ndarray) -> np.ndarray:
        """What the constraints alone should hold against a at the maximiser just asked for: a less the box's
        multipliers, (size,)."""
        low, high = (c.dual_value for c in self._farthest.constraints[:2])
        return a if low is None or high is None else a + low - high

    def nearest(self, point: np.ndarray) -> np.ndarray | None:
        """What should be the point of the set nearest to this one, or None."""
        return self._solved(self._nearest, point)

    def inner(self) -> np.ndarray:
        """A point that keeps the largest distance to all constraints. Raises InputError where none is inside."""
        slack = self._api.Variable()
        inside = [c.expr <= -slack for c in self.constraints]
        problem = self._api.Problem(self._api.Maximize(slack), [*inside, self._x >= self.low, self._x <= self.high])
        x = self._solved(problem, self.low)
        if x is None or self.excess(x) > 0:
            raise InputError("a convex set has no point inside its constraints that floats can tell from outside")
        return x

    def excess(self, x: np.ndarray) -> float:
        """By how much x (size,) misses the constraints, their margins included; at most 0 for a member, NaN counts as
        outside. The box is not looked at."""
        self._x.value = x
        worst = -np.inf
        for c in self.constraints:
            left, right = (np.asarray(side.value, dtype=np.float64) for side in c.args)
            missed = left - right + MARGIN * (1 + np.abs(left) + np.abs(right))
            worst = max(worst, float(np.where(np.isnan(missed), np.inf, missed).max(initial=-np.inf)))
        return worst

    def cuts(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Halfspaces rows y <= bounds that hold for every y of the set, from the subgradients G of the constraints
        g <= 0 at x: g(y) >= g(x) + G (y - x), so G y <= G x - g(x). (count, size), (count,).

        Sound because g is convex (CVXPY's rules were checked); trusts CVXPY's values and subgradients to MARGIN.
        """
        self._x.value = x
        rows, bounds = [np.zeros((0, len(x)))], [np.zeros(0)]
        for c in self.constraints:
            slope, value = c.expr.grad.get(self._x), np.asarray(c.expr.value, dtype=np.float64).ravel(order="F")
            if slope is None:
                continue
            slope = np.asarray(slope.todense() if hasattr(slope, "todense") else slope).reshape(len(x), -1).T
            sides = slope @ x - value
            sides = sides + MARGIN * (1 + np.abs(slope) @ np.abs(x) + np.abs(value))
            usable = np.isfinite(slope).all(1) & np.isfinite(sides)
            rows.append(slope[usable])
            bounds.append(sides[usable])
        return np.concatenate(rows), np.concatenate(bounds)

    def _solved(self, problem: Any, point: np.ndarray) -> np.ndarray | None:
        self._point.value = point
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                problem.solve(solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
            except self._api.error.SolverError:
                return None
        x = self._x.value
        return None if x is None or not np.isfinite(x).all() else np.clip(x, self.low, self.high)
