"""A box cut by halfspaces in float64: a linear function's maximum over it, proposed by an LP, bounded by duals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNIT = 2.0**-53


class Halfspaces(NamedTuple):
    """{x in [low, high] : rows x <= bounds}; low, high (size,), rows (count, size), bounds (count,)."""

    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray
    bounds: np.ndarray

    def propose(self, objective: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(maximiser, multipliers >= 0 of the rows) by HiGHS; the box center and zeros where it finds none."""
        from scipy.optimize import linprog

        ends = np.stack([self.low, self.high], 1)
        answer = linprog(-objective, A_ub=self.rows, b_ub=self.bounds, bounds=ends, method="highs")
        if answer.status != 0:
            return (self.low + self.high) / 2, np.zeros(len(self.bounds))
        return answer.x, np.maximum(-answer.ineqlin.marginals, 0)

    def upper(self, objective: np.ndarray, multipliers: np.ndarray) -> float:
        """An upper bound of the maximum from any multipliers m >= 0: m . bounds + max over the box of
        (objective - m rows) . x.

        Sound by weak duality, whatever m is, and because the errors of all sums are covered, and those of rows and
        bounds that are rounded rationals (Higham 2002, section 3.1); trusts IEEE float64.
        """
        rest = objective - multipliers @ self.rows
        center, radius = (self.low + self.high) / 2, (self.high - self.low) / 2
        size = np.maximum(np.abs(self.low), np.abs(self.high))
        products = (np.abs(objective) + multipliers @ np.abs(self.rows)) @ size
        slack = 4 * (len(objective) + len(multipliers) + 8) * UNIT * (products + multipliers @ np.abs(self.bounds))
        return float(multipliers @ self.bounds + rest @ center + np.abs(rest) @ radius + slack)
