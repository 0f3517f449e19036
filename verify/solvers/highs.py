"""HiGHS behind our own statuses. The rule that matters: for a maximum, an incumbent is a lower bound.

A solver that stops at a limit reports the best point it has, and some interfaces call that optimal. Here the upper
bound of a MILP is its dual bound and nothing else, and `SolverStatus.OPTIMAL` means that HiGHS proved it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from verify.deadline import deadline
from verify.errors import SolverError
from verify.solvers import highs_calls
from verify.solvers.apart import apart, is_large
from verify.solvers.highs_calls import Found, HighsCalls, ModelArrays, Refused
from verify.solvers.model import Arrays


class SolverStatus(StrEnum):
    """What a solver says of a maximisation."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"  # its word only, never a proof
    LIMIT = "limit"  # stopped by time or by a target
    ERROR = "error"


@dataclass(frozen=True)
class Solution:
    """The end of one maximisation.

    Args:
        status: how it ended.
        upper: the solver's claim of an upper bound: a MILP's dual bound, an LP's optimum; inf if it has none.
        value: objective of `x`, -inf if there is none.
        x: (columns,) the best point found, or None.
        duals: (rows,) multipliers y of an LP with max c x = sum of y side + max over the box of (c - A'y) x, or None.
        nodes: nodes of the search tree of a MILP.
    """

    status: SolverStatus
    upper: float
    value: float
    x: np.ndarray | None = None
    duals: np.ndarray | None = None
    nodes: int = 0


class Highs:
    """One model kept in HiGHS, maximised for one objective after another.

    An LP starts from the basis of the one before (changeColsCost). What is large is maximised in a process of its own
    wherever there is a time limit, which HiGHS would not keep. `options` are HiGHS's own names.
    """

    def __init__(self, arrays: Arrays, relaxed: bool = False, **options: Any):
        integer = arrays.integer if arrays.integer.any() and not relaxed else None
        a, matrix = arrays, arrays.matrix
        rows = matrix.indptr, matrix.indices, matrix.data
        self._model = ModelArrays(a.low, a.high, integer, a.row_low, a.row_high, *rows)
        self._options, self._large = options, is_large(matrix, "LP" if integer is None else "MILP")
        with _told():
            self._calls = None if self._large else HighsCalls(self._model, options)

    def restrict(self, low: np.ndarray, high: np.ndarray) -> None:
        """Replaces the bounds of all columns, (columns,) each, of a model that is kept in this process."""
        with _told():
            self._calls = self._calls or HighsCalls(self._model, self._options)
            self._calls.restrict(low, high)

    def maximise(self, cost: np.ndarray, time_limit: float | None = None) -> Solution:
        """Maximum of cost . x; cost (columns,). The time limit in seconds is for this call alone; without one it is the
        time that is left.

        Raises SolverError where HiGHS itself fails or calls a model unbounded, which boxed columns cannot be.
        """
        left = deadline().left if time_limit is None else min(time_limit, deadline().left)
        with _told():
            if self._large and left < np.inf:
                found: Found | str = apart(highs_calls.__file__, (tuple(self._model), self._options, cost), left)
                if isinstance(found, str):
                    raise Refused(found)
            else:
                self._calls = self._calls or HighsCalls(self._model, self._options)
                found = self._calls.maximise(cost, left)
        return Solution(SolverStatus(found[0]), *found[1:])


@contextmanager
def _told() -> Iterator[None]:
    """What HiGHS refuses is a SolverError."""
    try:
        yield
    except Refused as why:
        raise SolverError(str(why)) from None
