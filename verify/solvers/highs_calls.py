"""HiGHS on plain arrays, in this process or in one of its own (`verify.solvers.apart`).

Imports nothing of the package, so that a process of its own begins at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

LIMITS = ("kTimeLimit", "kObjectiveBound", "kObjectiveTarget", "kIterationLimit", "kInterrupt", "kSolutionLimit")
Found = tuple[str, float, float, np.ndarray | None, np.ndarray | None, int]  # the fields of a Solution


class Refused(Exception):
    """What HiGHS says no to, in a sentence."""


class ModelArrays(NamedTuple):
    """A model as in `verify.solvers.model.Arrays`, its matrix as the three arrays of a CSR matrix; `integer` (columns,)
    is None where no column has to be."""

    low: np.ndarray
    high: np.ndarray
    integer: np.ndarray | None
    row_low: np.ndarray
    row_high: np.ndarray
    start: np.ndarray
    column: np.ndarray
    value: np.ndarray


class HighsCalls:
    """One model in HiGHS. Raises Refused where HiGHS does not take it."""

    def __init__(self, model: ModelArrays, settings: dict[str, Any]):
        import highspy

        self._api: Any = highspy
        self.highs: Any = highspy.Highs()
        self._model = model
        for name, value in {"output_flag": False, **settings}.items():
            self.set(name, value)
        self._pass()

    def maximise(self, cost: np.ndarray, seconds: float) -> Found:
        """What HiGHS finds of the maximum of cost . x, cost (columns,), in so many seconds."""
        self.set("time_limit", max(seconds, 0.0))
        every = np.arange(len(cost), dtype=np.int32)
        self.demand(self.highs.changeColsCost(len(cost), every, -np.asarray(cost, dtype=np.float64)), "objective")
        if self.highs.run() == self._api.HighsStatus.kError:
            return "error", np.inf, -np.inf, None, None, 0
        return self._read()

    def restrict(self, low: np.ndarray, high: np.ndarray) -> None:
        """Replaces the bounds of all columns, (columns,) each."""
        every = np.arange(len(low), dtype=np.int32)
        self.demand(self.highs.changeColsBounds(len(low), every, low, high), "bounds")

    def set(self, name: str, value: Any) -> None:
        """Sets an option of HiGHS's."""
        if self.highs.setOptionValue(name, value) != self._api.HighsStatus.kOk:
            raise Refused(f"HiGHS has no option {name!r} that takes {value!r}; check its name and type")

    def demand(self, status: Any, what: str) -> None:
        """Raises Refused where HiGHS has answered with an error."""
        if status == self._api.HighsStatus.kError:
            raise Refused(f"HiGHS refuses the {what} that it was given; a bound or a weight may not be finite")

    def _pass(self) -> None:
        a, lp = self._model, self._api.HighsLp()
        lp.num_col_, lp.num_row_ = len(a.low), len(a.row_low)
        lp.col_cost_ = np.zeros(len(a.low))
        lp.col_lower_, lp.col_upper_ = a.low, a.high
        lp.row_lower_, lp.row_upper_ = a.row_low, a.row_high
        lp.a_matrix_.format_ = self._api.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = a.start, a.column, a.value
        if a.integer is not None:
            kinds = (self._api.HighsVarType.kContinuous, self._api.HighsVarType.kInteger)
            lp.integrality_ = [kinds[i] for i in a.integer.astype(int).tolist()]
        self.demand(self.highs.passModel(lp), "model")

    def _read(self) -> Found:
        highs, states = self.highs, self._api.HighsModelStatus
        info, state = highs.getInfo(), highs.getModelStatus()
        told = {states.kOptimal: "optimal", states.kInfeasible: "infeasible"}
        status = (told | {getattr(states, name): "limit" for name in LIMITS}).get(state, "error")
        if state == states.kUnbounded:
            raise Refused("HiGHS calls a model of boxed columns unbounded; scale the network or use CROWN")
        solution = highs.getSolution()
        feasible = info.primal_solution_status == self._api.SolutionStatus.kSolutionStatusFeasible
        x = np.array(solution.col_value) if solution.value_valid and feasible else None
        value = -np.inf if x is None else -info.objective_function_value
        if self._model.integer is not None:
            claimed = -info.mip_dual_bound if status in ("optimal", "limit") else np.inf
            return status, claimed, value, x, None, int(info.mip_node_count)
        duals = -np.array(solution.row_dual) if solution.dual_valid else None
        return status, value if status == "optimal" else np.inf, value, x, duals, 0


def answer(model: tuple[Any, ...], settings: dict[str, Any], cost: np.ndarray, seconds: float) -> Found | str:
    """What `HighsCalls.maximise` finds or the sentence in which HiGHS refuses; `model` are its `ModelArrays`."""
    try:
        return HighsCalls(ModelArrays(*model), settings).maximise(cost, seconds)
    except Refused as why:
        return str(why)
