"""The triangle relaxation: an independent LP, lossless skips, and bounds that survive a lying solver."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, dense, problem
from verify.ops import ReLU, Sigmoid, Tanh
from verify.problem import Problem
from verify.solvers.highs import Highs, Solution, SolverStatus
from verify.solving import solve
from verify.spec import margins
from verify.upper.crown import CROWN
from verify.upper.lp import LP


def _triangle_optimum(p: Problem) -> float:
    """max of the targeted margin over the triangles of a one-hidden-layer ReLU network, written out for scipy.

    Variables: x, then the hidden outputs h; h >= 0, h >= z, h <= high (z - low) / (high - low), z = W x + b.
    """
    w, b, v, c = (t.double().numpy() for t in p.network.parameters.values())
    low, high = (e[0].double().numpy() for e in (p.inputs.low, p.inputs.high))
    center, radius = w @ (low + high) / 2 + b, np.abs(w) @ (high - low) / 2
    z_low, z_high = center - radius, center + radius
    slope = np.where(z_high <= 0, 0, np.where(z_low >= 0, 1, z_high / (z_high - z_low)))
    start = np.where((z_low < 0) & (z_high > 0), -slope * z_low, 0)
    eye = np.eye(len(b))
    rows = np.vstack([np.hstack([w, -eye]), np.hstack([-slope[:, None] * w, eye])])
    bounds = [*zip(low, high, strict=True), *((0, None),) * len(b)]
    goal = p.spec.output[0, 0].double().numpy()
    cost = np.concatenate([np.zeros(len(low)), -goal @ v])
    return -linprog(cost, A_ub=rows, b_ub=np.concatenate([-b, slope * b + start]), bounds=bounds).fun + goal @ c


@pytest.mark.parametrize("seed", range(8))
def test_lp_equals_the_triangle_relaxation(seed: int) -> None:
    p = problem(dense(ReLU(), (4, 8, 3), seed), "targeted", seed)
    assert solve(p, LP()).upper.item() == pytest.approx(_triangle_optimum(p), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_skipped_disjuncts_do_not_move_the_maximum(seed: int) -> None:
    network = NETWORKS["relu"](seed)
    p = problem(network, "untargeted", seed)
    each = [
        solve(Problem(network, p.inputs, margins(torch.tensor([0]), 3, t), p.owner, 1), LP()).upper.item()
        for t in (1, 2)
    ]
    together = solve(p, LP())
    assert together.upper.item() == pytest.approx(max(each), abs=1e-6)
    assert sum(cast("int", together.notes[name]) for name in ("lps", "skipped")) == 2


@pytest.mark.parametrize("op", [Sigmoid(), Tanh()])
def test_smooth_ops_are_relaxed(op) -> None:
    p = problem(dense(op, (3, 4, 3), 2), "conjunctive", 2)
    found, rng = solve(p, LP()), torch.Generator().manual_seed(0)
    best = max(p.violation(p.inputs.sample(rng)).item() for _ in range(300))
    assert best <= found.upper.item() < np.inf


@pytest.mark.parametrize("lie", ["optimum", "duals", "none", "nan"])
def test_a_lying_solver_cannot_lower_the_bound(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever value, status or multipliers come back, the bound stays above v* and no worse than the linear one."""
    p = problem(NETWORKS["relu"](5), "untargeted", 5)
    truth, rng = Highs.maximise, np.random.default_rng(0)

    def maximise(self, cost, time_limit=None):
        good = truth(self, cost, time_limit)
        assert good.duals is not None
        duals = {
            "optimum": good.duals, "duals": rng.normal(size=len(good.duals)), "none": None,
            "nan": np.full(len(good.duals), np.nan),
        }[lie]
        return Solution(SolverStatus.OPTIMAL, -1e9, -1e9, good.x, duals)

    monkeypatch.setattr(Highs, "maximise", maximise)
    found = solve(p, LP()).upper.item()
    assert exact_maximum(p) - 1e-6 <= found <= solve(p, CROWN()).upper.item() + 1e-5


def test_no_time_leaves_the_linear_bound() -> None:
    p = problem(NETWORKS["relu"](5), "untargeted", 5)
    found = solve(p, LP(time_limit=0.0))
    assert found.notes["stopped"] == "time limit"
    assert found.upper.item() == pytest.approx(solve(p, CROWN()).upper.item(), abs=1e-5)
