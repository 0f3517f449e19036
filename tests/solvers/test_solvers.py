"""Linear models, HiGHS behind our statuses, repaired bounds, and every operator's encoding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

from verify.errors import SolverError
from verify.solvers.apart import LARGE
from verify.solvers.highs import Highs, SolverStatus
from verify.solvers.highs_calls import HighsCalls
from verify.solvers.model import LinearModel
from verify.solvers.repair import SafeBound

# Expected rows below are written from the formulation: x0 is the input, x1 the output, then hinges and binaries.


def _knapsack(seed: int, size: int = 60, rows: int = 12) -> tuple[LinearModel, np.ndarray]:
    """A maximisation that a MILP solver does not finish at once."""
    rng = np.random.default_rng(seed)
    model = LinearModel()
    x = model.add_columns(np.zeros(size), np.ones(size), integer=True)
    weights = rng.integers(5, 100, (rows, size)).astype(float)
    model.add_rows([(sp.csr_matrix(weights), x)], np.full(rows, -np.inf), weights.sum(1) / 3)
    return model, weights.mean(0) + rng.integers(-5, 6, size)


def test_a_time_limit_reads_the_dual_bound_not_the_incumbent() -> None:
    model, cost = _knapsack(0)
    highs = Highs(model.arrays(), mip_rel_gap=0.0, mip_abs_gap=0.0)
    stopped = highs.maximise(cost, time_limit=0.3)
    assert stopped.status is SolverStatus.LIMIT
    assert stopped.x is not None
    assert stopped.value == pytest.approx(cost @ stopped.x)
    assert stopped.upper > stopped.value + 1e-3
    relaxed = Highs(model.arrays(), relaxed=True).maximise(cost)
    assert stopped.upper <= relaxed.value + 1e-6


def test_statuses() -> None:
    model = LinearModel()
    x = model.add_columns(np.zeros(2), np.ones(2), integer=True)
    model.add_rows([(sp.csr_matrix(np.ones((1, 2))), x)], np.array([3.0]), np.array([np.inf]))
    for relaxed in (True, False):
        solution = Highs(model.arrays(), relaxed=relaxed).maximise(np.ones(2))
        assert solution.status is SolverStatus.INFEASIBLE
        assert solution.upper == np.inf
    assert SafeBound(model.arrays()).upper(np.ones(2), None) >= 2
    assert Highs(_knapsack(1)[0].arrays()).maximise(np.zeros(60), time_limit=0).upper >= 0
    with pytest.raises(SolverError, match="no_such_option"):
        Highs(model.arrays(), no_such_option=1)
    with pytest.raises(SolverError, match="finite bounds"):
        LinearModel().add_columns(np.zeros(1), np.array([np.inf]))


def test_time_limits_count_each_call_alone() -> None:
    model, cost = _knapsack(0)
    highs = Highs(model.arrays(), mip_rel_gap=0.0, mip_abs_gap=0.0)
    highs.maximise(cost, time_limit=0.4)
    again = highs.maximise(cost[::-1].copy(), time_limit=0.4)
    assert again.x is not None
    lp = Highs(model.arrays(), relaxed=True)
    for _ in range(3):
        assert lp.maximise(cost, time_limit=0.3).status is SolverStatus.OPTIMAL


def test_a_large_milp_is_solved_in_a_process_that_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, cost = _knapsack(2, size=20, rows=4)
    here = Highs(model.arrays()).maximise(cost)
    hard, dear = _knapsack(0)
    monkeypatch.setitem(LARGE, "MILP", 1)
    monkeypatch.setattr(HighsCalls, "maximise", lambda *_: pytest.fail("it is solved in this process"))
    apart = Highs(model.arrays()).maximise(cost, time_limit=60)
    assert apart.status is here.status is SolverStatus.OPTIMAL
    assert apart.value == pytest.approx(here.value)
    assert apart.upper == pytest.approx(here.upper)
    assert apart.x is not None
    assert cost @ apart.x == pytest.approx(here.value)
    early = Highs(hard.arrays()).maximise(dear, time_limit=0.001)  # before the process has begun
    assert (early.status, early.upper, early.x) == (SolverStatus.LIMIT, np.inf, None)
    with pytest.raises(SolverError, match="no_such_option"):
        Highs(model.arrays(), no_such_option=1).maximise(cost, time_limit=60)
    monkeypatch.setattr("verify.solvers.apart.__file__", "no such file")
    ended = Highs(model.arrays()).maximise(cost, time_limit=60)
    assert (ended.status, ended.upper) == (SolverStatus.ERROR, np.inf)


@pytest.mark.parametrize("seed", range(8))
def test_repaired_bound_is_above_the_optimum_and_close(seed: int) -> None:
    """Against scipy's optimum: above it with any multipliers, within 1e-6 with HiGHS's."""
    rng = np.random.default_rng(seed)
    rows, size = 7, 10
    model = LinearModel()
    low = rng.normal(size=size)
    x = model.add_columns(low, low + rng.random(size) * rng.integers(0, 2, size))
    matrix, middle = rng.normal(size=(rows, size)), rng.random(rows)
    inside = matrix @ low
    sides = np.where(rng.random(rows) < 0.3, -np.inf, inside - middle), np.where(rng.random(rows) < 0.3, np.inf, inside)
    model.add_rows([(sp.csr_matrix(matrix), x)], *sides)
    a, cost = model.arrays(), rng.normal(size=size)
    above, below = np.isfinite(sides[1]), np.isfinite(sides[0])
    rows_ub, sides_ub = np.vstack([matrix[above], -matrix[below]]), np.append(sides[1][above], -sides[0][below])
    best = -linprog(-cost, A_ub=rows_ub, b_ub=sides_ub, bounds=np.stack([a.low, a.high], 1)).fun
    solution, safe = Highs(a, relaxed=True).maximise(cost), SafeBound(a)
    assert best <= safe.upper(cost, solution.duals) <= best + 1e-6
    for scale in (0.1, 1.0, 100.0):
        assert safe.upper(cost, scale * rng.normal(size=rows)) >= best
    broken = np.full(rows, np.nan)
    broken[0] = np.inf
    assert safe.upper(cost, broken) == safe.upper(cost, None)


def test_repaired_bound_exceeds_the_exact_rational_one() -> None:
    """The inequality evaluated in rationals for the same multipliers, with scales that make float64 round."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        model = LinearModel()
        size, rows = 6, 4
        x = model.add_columns(-np.exp(6 * rng.normal(size=size)), np.exp(6 * rng.normal(size=size)))
        matrix = rng.normal(size=(rows, size)) * np.exp(8 * rng.normal(size=(rows, size)))
        model.add_rows([(sp.csr_matrix(matrix), x)], np.zeros(rows), np.exp(5 * rng.normal(size=rows)))
        a, cost, y = model.arrays(), rng.normal(size=size), rng.normal(size=rows)
        exact = sum(Fraction(v) * Fraction(s) for v, s in zip(y, np.where(y >= 0, a.row_high, a.row_low), strict=True))
        for j in range(size):
            rest = Fraction(cost[j]) - sum(Fraction(matrix[i, j]) * Fraction(y[i]) for i in range(rows))
            exact += max(rest * Fraction(a.low[j]), rest * Fraction(a.high[j]))
        assert Fraction(SafeBound(a).upper(cost, y)) >= exact
