"""MILPs through PuLP: the enumeration of phases, and solvers that claim more than they know."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pulp
import pytest
import scipy.sparse as sp
import torch

from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, dense, problem
from verify.bracket import Rigour
from verify.errors import InputError, UnsupportedMethod
from verify.exact.milp import MILP
from verify.exact.pulp_milp import PulpMILP
from verify.ops import ReLU, Sigmoid
from verify.problem import robustness
from verify.solvers import pulp as door
from verify.solvers.apart import LARGE
from verify.solvers.highs import SolverStatus
from verify.solvers.model import Arrays
from verify.solvers.pulp import Pulp, available_solvers
from verify.solvers.pulp_calls import PulpCalls
from verify.solving import solve
from verify.upper.lp import LP

SOLVERS = [name for name in ("HiGHS", "PULP_CBC_CMD", "COIN_CMD", "SCIP_PY") if name in available_solvers()]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["untargeted", "conjunctive", "polytope"])
@pytest.mark.parametrize("name", ["relu", "residual", "maxpool"])
def test_every_solver_finds_the_maximum_over_all_phases(name: str, kind: str, solver: str) -> None:
    p = problem(NETWORKS[name](7), kind, 11)
    exact, found = exact_maximum(p), solve(p, PulpMILP(solver))
    assert found.upper.item() == pytest.approx(exact, abs=3e-5 * (1 + abs(exact)))
    assert found.lower.item() == pytest.approx(exact, abs=4e-4 * (1 + abs(exact)))
    assert found.upper.item() >= exact - 2e-6 * (1 + abs(exact))
    assert found.above is not None
    assert found.above.rigour is Rigour.SOLVER
    assert solver in found.above.trusts


def small() -> Arrays:
    """max x0 + x1 with 2 x0 + 2 x1 <= 3 over integers in [0, 1]: the maximum is 1, the LP's 1.5."""
    matrix, ends = sp.csr_matrix(np.array([[2.0, 2.0]])), (np.zeros(2), np.ones(2))
    return Arrays(*ends, np.ones(2, dtype=bool), matrix, np.array([-np.inf]), np.array([3.0]))


def stub(status: int, solution: int | None, values: list[float | None], wait: float = 0.0) -> type:
    """A solver that answers with these statuses and values, whatever it is asked."""

    class Stub(pulp.LpSolver):
        name = "STUB"

        def __init__(self, msg: bool = True, gapRel: float | None = None, timeLimit: float | None = None) -> None:  # noqa: N803
            super().__init__(msg=msg, timeLimit=timeLimit)

        def available(self) -> bool:
            return True

        def actualSolve(self, lp: Any, **_: object) -> int:  # noqa: N802
            time.sleep(wait)
            for variable, value in zip(lp.variables(), values, strict=False):
                variable.varValue = value
            lp.assignStatus(status, solution)
            return status

    return Stub


ENOUGH = 1.0  # seconds for a small LP on a machine that does other things as well
OPTIMAL, NOT_SOLVED, INFEASIBLE = pulp.LpStatusOptimal, pulp.LpStatusNotSolved, pulp.LpStatusInfeasible
LIES = {
    "the incumbent of a time-out": (stub(OPTIMAL, pulp.LpSolutionIntegerFeasible, [0.0, 0.0]), SolverStatus.LIMIT),
    "optimal when the time is over": (stub(OPTIMAL, pulp.LpSolutionOptimal, [0.0, 0.0], ENOUGH), SolverStatus.LIMIT),
    "optimal by the old status alone, late": (stub(OPTIMAL, None, [0.0, 0.0], ENOUGH), SolverStatus.LIMIT),
    "infeasible": (stub(INFEASIBLE, pulp.LpSolutionInfeasible, [0.0, 0.0]), SolverStatus.INFEASIBLE),
    "NaN": (stub(OPTIMAL, pulp.LpSolutionOptimal, [np.nan, 0.0]), SolverStatus.ERROR),
    "no point": (stub(OPTIMAL, pulp.LpSolutionOptimal, [None, None]), SolverStatus.ERROR),
    "a point that breaks a row": (stub(OPTIMAL, pulp.LpSolutionOptimal, [1.0, 1.0]), SolverStatus.ERROR),
    "a point between integers": (stub(OPTIMAL, pulp.LpSolutionOptimal, [0.5, 0.0]), SolverStatus.ERROR),
    "nothing": (stub(NOT_SOLVED, pulp.LpSolutionNoSolutionFound, [None, None]), SolverStatus.LIMIT),
    "unbounded": (stub(pulp.LpStatusUnbounded, pulp.LpSolutionUnbounded, [0.0, 0.0]), SolverStatus.ERROR),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_claim_without_a_proof_bounds_nothing(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    solver, status = LIES[lie]
    monkeypatch.setattr(door, "solver_class", lambda name: solver)
    found = Pulp(small(), "STUB").maximise(np.ones(2), time_limit=ENOUGH)
    assert found.status is status
    assert found.upper == np.inf


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_solver_leaves_the_lp_bound(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(dense(ReLU(), (4, 8, 3), 1), "untargeted", 1)
    exact, lp = exact_maximum(p), solve(p, LP()).upper.item()
    monkeypatch.setattr(door, "solver_class", lambda name: LIES[lie][0])
    monkeypatch.setattr("verify.exact.pulp_milp.solver_class", lambda name: LIES[lie][0])
    found = solve(p, PulpMILP("STUB", time_limit=ENOUGH))
    assert exact - 1e-6 <= found.upper.item() <= lp + 1e-5
    assert found.notes["stopped"]


def test_a_proved_optimum_carries_its_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "solver_class", lambda name: stub(OPTIMAL, pulp.LpSolutionOptimal, [1.0, 0.0]))
    found = Pulp(small(), "STUB", gap=1e-3).maximise(np.ones(2))
    assert (found.status, found.value) == (SolverStatus.OPTIMAL, 1.0)
    assert found.upper == pytest.approx(1 + 4e-3)


def knapsacks() -> tuple[Arrays, np.ndarray]:
    """Thirty knapsacks over 100 items, for which a second is too little."""
    rng = np.random.default_rng(0)
    matrix = sp.csr_matrix(rng.integers(1, 50, (30, 100)).astype(float))
    sides = np.floor(np.asarray(matrix.sum(1)).ravel() / 2)
    arrays = Arrays(np.zeros(100), np.ones(100), np.ones(100, dtype=bool), matrix, np.full(30, -np.inf), sides)
    return arrays, rng.integers(1, 50, 100).astype(float)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_timed_out_incumbent_is_no_upper_bound(solver: str) -> None:
    """PuLP says optimal of the shorter run of HiGHS, whose incumbent the longer one improves or equals."""
    arrays, cost = knapsacks()
    early = Pulp(arrays, solver).maximise(cost, 0.3)
    later = Pulp(arrays, solver).maximise(cost, 1.5)
    assert early.status is SolverStatus.LIMIT
    assert early.upper > max(early.value, later.value)


def test_a_large_model_is_solved_in_a_process_that_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same optimum as in this process, and a limit where the process has not even begun."""
    here = Pulp(small(), "HiGHS").maximise(np.ones(2))
    monkeypatch.setitem(LARGE, "MILP", 0)
    monkeypatch.setattr(PulpCalls, "maximise", lambda *_: pytest.fail("it is solved in this process"))
    apart = Pulp(small(), "HiGHS").maximise(np.ones(2), time_limit=60)
    assert (apart.status, apart.value, apart.upper) == (here.status, here.value, here.upper)
    arrays, cost = knapsacks()
    early = Pulp(arrays, "HiGHS").maximise(cost, time_limit=0.001)
    assert (early.status, early.upper, early.x) == (SolverStatus.LIMIT, np.inf, None)


def test_a_state_that_pulp_has_no_word_for_is_an_error() -> None:
    arrays, cost = knapsacks()
    found = Pulp(arrays, "HiGHS", mip_max_nodes=1).maximise(cost)
    assert (found.status, found.upper) == (SolverStatus.ERROR, np.inf)


def test_no_time_leaves_a_valid_bound_and_says_so() -> None:
    p = problem(dense(ReLU(), (4, 8, 3), 1), "untargeted", 1)
    found = solve(p, PulpMILP(time_limit=0.0))
    assert found.notes["stopped"] == "time limit"
    assert exact_maximum(p) - 1e-6 <= found.upper.item() < np.inf


@pytest.mark.parametrize("seed", range(3))
def test_pulp_and_milp_agree(seed: int) -> None:
    p = problem(dense(ReLU(), (4, 10, 3), seed), "untargeted", seed)
    assert solve(p, PulpMILP()).upper.item() == pytest.approx(solve(p, MILP()).upper.item(), abs=1e-5)


def test_refusals_name_the_remedy() -> None:
    relu = dense(ReLU(), (3, 4, 3), 0)
    p = problem(relu, "untargeted", 0)
    with pytest.raises(InputError, match=r"'NOSUCH' is unknown.*HiGHS"):
        solve(p, PulpMILP("NOSUCH"))
    with pytest.raises(InputError, match="gap"):
        solve(p, PulpMILP(gap=2.0))
    with pytest.raises(UnsupportedMethod, match="act"):
        solve(problem(dense(Sigmoid(), (3, 4, 3), 0), "untargeted", 0), PulpMILP())
    with pytest.raises(UnsupportedMethod, match="l2"):
        solve(robustness(relu, torch.zeros(1, 3), [0], 0.1, "l2", clip=None), PulpMILP())
