"""An upper bound of an LP from any row multipliers, so that a solver's number is never the bound.

Neumaier and Shcherbina 2004 ("Safe bounds in linear and mixed-integer linear programming", section 3): weak duality
holds for every y, and what stationarity lacks is absorbed by the boxed columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verify.ir.evaluate import CONSTANTS, UNIT
from verify.solvers.model import Arrays


class SafeBound:
    """Upper bounds of max cost . x over one relaxed model, for any multipliers of its rows.

    Args:
        arrays: the model.
        inputs: columns that lie in a set besides, and `support`, upper bounds of linear functions over it: (inputs,)
            -> float. Without them every column counts by its bounds alone.
    """

    def __init__(
        self, arrays: Arrays, inputs: np.ndarray | None = None, support: Callable[[np.ndarray], float] | None = None
    ):
        self._arrays, self._inputs, self._support = arrays, inputs, support
        self._across = arrays.matrix.T.tocsr()
        self._absolute = abs(self._across)
        self._size = np.maximum(np.abs(arrays.low), np.abs(arrays.high))
        self._longest = int(np.diff(self._across.indptr).max(initial=0))

    def upper(
        self, cost: np.ndarray, duals: np.ndarray | None, part: tuple[np.ndarray, np.ndarray] | None = None
    ) -> float:
        """For y with y_i side_i >= y_i (A x)_i, side_i the high side where y_i > 0 and the low side where y_i < 0,

            cost . x <= sum_i y_i side_i + sum_j max over [low_j, high_j] of (cost - A'y)_j x_j.

        A multiplier whose side is infinite, or that is not finite, counts as 0. The part of the last sum that belongs
        to the inputs of a set is its support function at (cost - A'y), where that is smaller.

        Args:
            cost: (columns,).
            duals: (rows,) y, or None for all 0.
            part: (low, high), (columns,) each, of a part of the model's columns that is to be bounded alone.

        Sound because the inequality holds for every y, and the float64 errors of the model's coefficients and sides, of
        A'y and of the sums are covered twice over by gamma_n = n u / (1 - n u) (Higham 2002, section 3.1); trusts IEEE
        float64, and the support function where a set has one.
        """
        a = self._arrays
        low, high = (a.low, a.high) if part is None else part
        y = np.zeros(len(a.row_low)) if duals is None else np.where(np.isfinite(duals), duals, 0.0)
        side = np.where(y >= 0, a.row_high, a.row_low)
        usable = np.isfinite(side)
        y, side = np.where(usable, y, 0.0), np.where(usable, side, 0.0)
        rest = cost - self._across @ y
        rows, columns = y * side, np.maximum(rest * low, rest * high)
        products = (np.abs(cost) + self._absolute @ np.abs(y)) @ self._size
        terms = np.abs(rows).sum() + np.abs(columns).sum()
        longest, most = self._longest + CONSTANTS, len(rows) + len(columns) + CONSTANTS
        margin = 2 * (_gamma(longest) * products + _gamma(most) * terms)
        margin += 0.0 if a.row_error is None else 2 * float(np.abs(y) @ a.row_error)
        bound = float(rows.sum() + columns.sum() + margin)
        if self._inputs is not None and self._support is not None:
            box = float(columns[self._inputs].sum())
            bound += min(self._support(rest[self._inputs]) - box, 0.0)
        return bound if np.isfinite(bound) else np.inf


def _gamma(n: int) -> float:
    return n * UNIT / (1 - n * UNIT)
