"""HiGHS behind our own statuses. The rule that matters: for a maximum, an incumbent is a lower bound.

A solver that stops at a limit reports the best point it has, and some interfaces call that optimal. Here the upper
bound of a MILP is its dual bound and nothing else, and `SolverStatus.OPTIMAL` means that HiGHS proved it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from verify.deadline import deadline
from verify.errors import SolverError
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

    An LP starts from the basis of the one before (changeColsCost). `options` are HiGHS's own names.
    """

    def __init__(self, arrays: Arrays, relaxed: bool = False, **options: Any):
        import highspy

        self._api: Any = highspy
        self._highs: Any = highspy.Highs()
        self._columns = arrays.low.size
        self._integer = bool(arrays.integer.any()) and not relaxed
        self._set("output_flag", False)
        for name, value in options.items():
            self._set(name, value)
        self._pass(arrays)

    def maximise(self, cost: np.ndarray, time_limit: float | None = None) -> Solution:
        """Maximum of cost . x; cost (columns,). The time limit in seconds is for this call alone; without one it is the
        time that is left.

        Raises SolverError where HiGHS itself fails or calls a model unbounded, which boxed columns cannot be.
        """
        highs = self._highs
        left = deadline().left if time_limit is None else min(time_limit, deadline().left)
        self._set("time_limit", max(left, 0.0))
        every = np.arange(self._columns, dtype=np.int32)
        self._demand(highs.changeColsCost(self._columns, every, -np.asarray(cost, dtype=np.float64)), "objective")
        if highs.run() == self._api.HighsStatus.kError:
            return Solution(SolverStatus.ERROR, np.inf, -np.inf)
        return self._read()

    def change_bounds(self, columns: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """New bounds for some columns, (n,) each."""
        self._demand(self._highs.changeColsBounds(len(columns), columns.astype(np.int32), low, high), "bounds")

    def _pass(self, a: Arrays) -> None:
        lp = self._api.HighsLp()
        lp.num_col_, lp.num_row_ = len(a.low), len(a.row_low)
        lp.col_cost_ = np.zeros(self._columns)
        lp.col_lower_, lp.col_upper_ = a.low, a.high
        lp.row_lower_, lp.row_upper_ = a.row_low, a.row_high
        lp.a_matrix_.format_ = self._api.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = a.matrix.indptr
        lp.a_matrix_.index_ = a.matrix.indices
        lp.a_matrix_.value_ = a.matrix.data
        if self._integer:
            kinds = (self._api.HighsVarType.kContinuous, self._api.HighsVarType.kInteger)
            lp.integrality_ = [kinds[i] for i in a.integer.astype(int).tolist()]
        self._demand(self._highs.passModel(lp), "model")

    def _read(self) -> Solution:
        highs, states = self._highs, self._api.HighsModelStatus
        info, state = highs.getInfo(), highs.getModelStatus()
        status = {
            states.kOptimal: SolverStatus.OPTIMAL,
            states.kInfeasible: SolverStatus.INFEASIBLE,
            states.kTimeLimit: SolverStatus.LIMIT,
            states.kObjectiveBound: SolverStatus.LIMIT,
            states.kObjectiveTarget: SolverStatus.LIMIT,
            states.kIterationLimit: SolverStatus.LIMIT,
            states.kInterrupt: SolverStatus.LIMIT,
            states.kSolutionLimit: SolverStatus.LIMIT,
        }.get(state, SolverStatus.ERROR)
        if state == states.kUnbounded:
            raise SolverError("HiGHS calls a model of boxed columns unbounded; scale the network or use CROWN")
        solution = highs.getSolution()
        feasible = info.primal_solution_status == self._api.SolutionStatus.kSolutionStatusFeasible
        x = np.array(solution.col_value) if solution.value_valid and feasible else None
        value = -np.inf if x is None else -info.objective_function_value
        if self._integer:
            claimed = -info.mip_dual_bound if status in (SolverStatus.OPTIMAL, SolverStatus.LIMIT) else np.inf
            return Solution(status, claimed, value, x, nodes=int(info.mip_node_count))
        duals = -np.array(solution.row_dual) if solution.dual_valid else None
        return Solution(status, value if status is SolverStatus.OPTIMAL else np.inf, value, x, duals)

    def _set(self, name: str, value: Any) -> None:
        if self._highs.setOptionValue(name, value) != self._api.HighsStatus.kOk:
            raise SolverError(f"HiGHS has no option {name!r} that takes {value!r}; check its name and type")

    def _demand(self, status: Any, what: str) -> None:
        if status == self._api.HighsStatus.kError:
            raise SolverError(f"HiGHS refuses the {what} that it was given; a bound or a weight may not be finite")
