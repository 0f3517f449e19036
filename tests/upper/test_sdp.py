"""The semidefinite relaxation: between the truth and the LP, sound for any multipliers, refused where it must be."""

from __future__ import annotations

from functools import cache
from typing import cast

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from verify.models import digits

import verify
from tests.support.helpers import later
from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, dense, problem
from verify.errors import UnsupportedMethod
from verify.exact.milp import MILP
from verify.lower.pgd import PGD
from verify.ops import ReLU
from verify.problem import Problem, robustness
from verify.sets import Box, ConvexSet
from verify.solvers import semidefinite
from verify.solvers.interior_point import InteriorPoint
from verify.solvers.lift import Lift, lift
from verify.solvers.objectives import SolverCase, float64_case
from verify.solvers.semidefinite import Semidefinite, _shift
from verify.solving import solve
from verify.spec import margins
from verify.upper.convex_lp import ConvexLP
from verify.upper.crown import linear_boxes
from verify.upper.lp import LP
from verify.upper.sdp import SDP, constraints_of

KINKED = ["relu", "leaky", "concave", "abs", "residual", "conv"]


@pytest.mark.parametrize("kind", ["untargeted", "conjunctive", "polytope"])
@pytest.mark.parametrize("name", KINKED)
def test_between_the_truth_and_the_lp(name: str, kind: str) -> None:
    p = problem(NETWORKS[name](7), kind, 11)
    exact, found, lp = exact_maximum(p), solve(p, SDP()), solve(p, LP())
    assert exact - 1e-6 <= found.upper.item() <= lp.upper.item() + 1e-4
    assert found.lower.item() > -np.inf


@pytest.mark.parametrize("seed", range(3))
def test_it_is_tighter_than_the_lp_where_the_lp_is_loose(seed: int) -> None:
    p = problem(dense(ReLU(), (4, 8, 3), seed), "untargeted", seed)
    exact, lp, found = exact_maximum(p), solve(p, LP()).upper.item(), solve(p, SDP()).upper.item()
    assert exact - 1e-6 <= found <= lp + 1e-4
    if lp - exact > 0.1:
        assert found <= lp - 0.2 * (lp - exact)


def lifted(p: Problem) -> tuple[SolverCase, Lift]:
    case = float64_case(p.merged, 0)
    return case, lift(case, linear_boxes(case.network, case.inputs))


@pytest.mark.parametrize("name", KINKED)
def test_every_point_of_the_graph_meets_the_lifted_rows(name: str) -> None:
    """v of random inputs: hinges from the network, the outputs, the linear rows and the products."""
    p = problem(NETWORKS[name](3), "untargeted", 5)
    case, rows = lifted(p)
    rng = np.random.default_rng(0)
    varying = np.flatnonzero(np.abs(rows.inputs[:, 1:]).max(1))
    for _ in range(30):
        v = np.concatenate([[1.0], rng.uniform(-1, 1, len(varying)), np.zeros(rows.size - 1 - len(varying))])
        for k, (z, rest) in enumerate(zip(rows.left, rows.right, strict=True)):  # in the order of the network
            own = 1 + len(varying) + k
            v[own] = (max((rest + z) @ v, 0) - z[0]) / z[own]
        x = torch.from_numpy(rows.inputs @ v).reshape(1, *p.network.input_shape)
        assert rows.outputs @ v == pytest.approx(case.network(x).flatten().numpy(), abs=1e-9)
        assert (rows.linear @ v).min(initial=0) >= -1e-9
        assert np.abs((rows.left @ v) * (rows.right @ v)).max(initial=0) <= 1e-9
        assert np.abs(v).max() <= 1 + 1e-9


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("seed", range(4))
def test_balls_are_taken_as_they_are(norm: str, seed: int) -> None:
    network = dense(ReLU(), (3, 6, 4, 3), seed)
    center = torch.randn(1, 3, generator=torch.Generator().manual_seed(seed))
    p = robustness(network, center, [0], "0.7", norm, clip=None)
    found, lp = solve(p, SDP()), solve(p, ConvexLP())
    best = max(p.violation(p.inputs.sample(torch.Generator().manual_seed(k))).item() for k in range(100))
    assert max(best, found.lower.item()) - 1e-6 <= found.upper.item() <= lp.upper.item() + 1e-4
    assert found.meet(solve(p, PGD(steps=20, restarts=3))).gap.item() >= -1e-5


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", torch.inf)])
def test_of_one_stable_layer_it_is_the_dual_norm(norm: str, dual: float) -> None:
    """No cheap bound helps here: the program alone, on a network that is linear."""
    network = dense(ReLU(), (5, 3), 2)
    case, rows = lifted(robustness(network, torch.zeros(1, 5), [0], "0.5", norm, clip=None))
    w, b = (t.double() for t in network.parameters.values())
    for k, row in enumerate(rows.objectives(case)):
        bound, _ = Semidefinite(row, constraints_of(rows, case.inputs)).upper(1e-7)
        known = (b[k + 1] - b[0]) + 0.5 * torch.linalg.vector_norm(w[k + 1] - w[0], dual)
        assert bound == pytest.approx(known.item(), abs=2e-5)
        assert bound >= known.item() - 1e-9


def moment_maximum(row: np.ndarray, rows: Lift) -> float:
    """The primal relaxation, written out for CVXPY: the moments X = E[v v'] of a random v."""
    x = cp.Variable((rows.size, rows.size), PSD=True)
    met = [x[0, 0] == 1, cp.diag(x) <= 1, rows.linear @ x[:, 0] >= 0]
    met += [cp.sum(cp.multiply(np.outer(z, rest), x)) == 0 for z, rest in zip(rows.left, rows.right, strict=True)]
    least = cp.min(row @ x[:, 0])
    program = cp.Problem(cp.Maximize(least), met)
    program.solve(solver="CLARABEL")
    return float(cast("float", program.value))


@pytest.mark.parametrize("kind", ["untargeted", "conjunctive"])
@pytest.mark.parametrize("seed", range(3))
def test_the_dual_is_the_primal(kind: str, seed: int) -> None:
    case, rows = lifted(problem(dense(ReLU(), (3, 5, 3), seed), kind, seed))
    for row in rows.objectives(case):
        bound, _ = Semidefinite(row, constraints_of(rows, case.inputs)).upper(1e-7)
        assert bound == pytest.approx(moment_maximum(row, rows), abs=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_ball_of_one_point_gives_its_value(norm: str) -> None:
    network, x = dense(ReLU(), (3, 4, 3), 0), torch.randn(1, 3, generator=torch.Generator().manual_seed(0))
    p = robustness(network, x, [0], 0, norm, clip=None)
    case, rows = lifted(p)
    value = p.violation(x).item()
    known = constraints_of(rows, case.inputs)
    alone = [Semidefinite(row, known) for row in rows.objectives(case)]
    assert max(program.upper(1e-7)[0] for program in alone) == pytest.approx(value, abs=1e-5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = max(program.rebuilt(9 * rng.normal(size=len(program._program.rows.T.toarray()))) for program in alone)
        assert found >= value - 1e-6
    assert solve(p, SDP()).upper.item() == pytest.approx(value, abs=1e-4)


def test_of_a_convex_set_it_is_no_looser_than_the_conic_program() -> None:
    network = dense(ReLU(), (3, 6, 4, 3), 2)
    box = Box(-torch.ones(1, 3), torch.ones(1, 3))
    sets = ConvexSet(box, lambda x, case: [cp.norm(x, 2) <= 0.8, cp.norm1(x) <= 1])
    p = Problem(network, sets, margins(torch.tensor([0]), 3), torch.zeros(1, dtype=torch.long), 1)
    best = max(p.violation(sets.sample(torch.Generator().manual_seed(k))).item() for k in range(30))
    assert best - 1e-6 <= solve(p, SDP()).upper.item() <= solve(p, ConvexLP()).upper.item() + 1e-4


@cache
def small() -> tuple[float, Semidefinite, int]:
    """(v*, the program of its best disjunct, number of multipliers) of a conjunction on a ReLU network."""
    p = problem(NETWORKS["relu"](5), "conjunctive", 5)
    case, rows = lifted(p)
    one = [Semidefinite(row, constraints_of(rows, case.inputs)) for row in rows.objectives(case)]
    best = max(one, key=lambda program: program.upper(1e-6)[0])
    return exact_maximum(p), best, len(best._program.left)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e-3, 1.0, 1e3, 1e200]), st.booleans())
def test_any_multipliers_give_a_bound(seed: int, size: float, near: bool) -> None:
    exact, program, count = small()
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        proposed = size * rng.normal(size=count)
        if near:
            proposed = proposed + program._start(count)
        assert program.rebuilt(proposed) >= exact - 1e-9


def test_multipliers_that_are_no_numbers_give_a_bound() -> None:
    exact, program, count = small()
    for value in (np.nan, np.inf, -np.inf):
        assert program.rebuilt(np.full(count, value)) >= exact - 1e-9


@pytest.mark.parametrize("lie", ["noise", "zero", "scaled", "nan"])
def test_a_lying_solver_cannot_lower_the_bound(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(dense(ReLU(), (4, 8, 3), 1), "untargeted", 1)
    truth, rng = InteriorPoint.minimise, np.random.default_rng(0)

    def minimise(self, cost, start, gap):
        y, moments = truth(self, cost, start, gap)
        lies = {"noise": y + rng.normal(size=y.shape), "zero": 0 * y, "scaled": y / 2, "nan": y * np.nan}
        return lies[lie], moments * np.nan

    monkeypatch.setattr(InteriorPoint, "minimise", minimise)
    found = solve(p, SDP()).upper.item()
    assert exact_maximum(p) - 1e-6 <= found <= solve(p, LP()).upper.item() + 1e-5


@pytest.mark.parametrize("network", later(["digits-dense-plain", "digits-dense-interval"], ["digits-dense-plain"]))
def test_on_digits_it_lies_between_the_attack_and_the_lp(network: str) -> None:
    """Twenty problems; the program alone, which the method meets with the LP, is no looser than it either."""
    x, y = digits()
    p = robustness(verify.load(network), x[:10], y[:10], "1/20")
    found = solve(p, SDP())
    lp, attack = solve(p, LP()), solve(p, PGD(steps=20))
    assert (found.upper <= lp.upper + 1e-4).all()
    assert (attack.lower <= found.upper + 1e-6).all()
    assert (found.upper < lp.upper - 1e-3).sum() >= 5
    exact = solve(p.select(torch.arange(3)), MILP())
    assert (exact.upper <= found.upper[:3] + 1e-5).all()
    for index in range(3):
        case, rows = lifted(p.select(torch.tensor([index])))
        known = constraints_of(rows, case.inputs)
        alone = max(Semidefinite(row, known).upper(1e-5)[0] for row in rows.objectives(case))
        assert alone <= lp.upper[index].item() + 1e-4


def test_a_positive_semidefinite_matrix_costs_nothing_and_another_its_least_raise() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(6, 6))
    assert semidefinite._raise(half @ half.T) <= 1e-12
    vector = rng.normal(size=6)
    assert semidefinite._raise(half @ half.T * 0 - np.outer(vector, vector)) == pytest.approx(
        np.abs(vector).sum() ** 2, rel=1e-9
    )


def test_limits_and_refusals() -> None:
    p = problem(dense(ReLU(), (4, 8, 3), 1), "untargeted", 1)
    exact = exact_maximum(p)
    for method in (SDP(time_limit=0.0), SDP(order=6)):
        found = solve(p, method)
        assert found.notes["stopped"]
        assert exact - 1e-6 <= found.upper.item() < np.inf
    with pytest.raises(UnsupportedMethod, match=r"order 4; use ConvexLP"):
        solve(p, SDP(order=4))
    with pytest.raises(UnsupportedMethod, match=r"not Max \(node"):
        solve(problem(NETWORKS["maxpool"](0), "untargeted", 0), SDP())
    with pytest.raises(UnsupportedMethod, match="not Clip"):
        solve(problem(NETWORKS["clip"](0), "untargeted", 0), SDP())


def test_no_finite_price_makes_a_nan_semidefinite() -> None:
    """A NaN among eigenvalues must not count as a matrix that is semidefinite already."""
    assert _shift(np.array([[np.nan, 0.0], [0.0, 1.0]])) == np.inf
