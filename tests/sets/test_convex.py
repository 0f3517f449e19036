"""Sets that CVXPY constraints describe, every set's CVXPY constraint, and the relaxation over them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, box_around, dense, problem
from verify.errors import InputError, UnsupportedMethod
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.lower.pgd import PGD
from verify.ops import Linear, ReLU
from verify.problem import Problem, robustness
from verify.sets import Ball, Box, ConvexSet, InputSet, Polytope
from verify.solvers.apart import LARGE
from verify.solvers.conic import Conic
from verify.solvers.highs import Solution, SolverStatus
from verify.solving import solve
from verify.spec import Specification, margins
from verify.upper.convex_lp import ConvexLP
from verify.upper.crown import CROWN
from verify.upper.lp import LP

SIZES = {"l1": 1, "l2": 2}


def ball_by_words(ball: Ball, norm: str) -> ConvexSet:
    """The same ball, described by a CVXPY constraint."""
    centers, eps = ball.center.double().numpy(), float(ball.eps)
    return ConvexSet(Box(ball.low, ball.high), lambda x, case: [cp.norm(x - centers[case], SIZES[norm]) <= eps])


def mixed(size: int, seed: int, batch: int = 2) -> ConvexSet:
    """An L2 ball, an L1 budget over half of the coordinates, and an ellipsoid."""
    rng = np.random.default_rng(seed)
    centers, shape = rng.normal(size=(batch, size)), rng.normal(size=(size, size))
    matrix = shape @ shape.T + np.eye(size)

    def constrain(x: Any, case: int) -> list[Any]:
        moved = x - centers[case]
        half = cp.norm1(moved[: size // 2])
        return [cp.norm(moved, 2) <= 1, half <= 0.5, cp.quad_form(moved, cp.psd_wrap(matrix)) <= 3]

    low, high = (torch.tensor(centers + side, dtype=torch.float32) for side in (-0.8, 0.8))
    return ConvexSet(Box(low, high), constrain)


def noise(sets: InputSet, seed: int, rows: int) -> torch.Tensor:
    return torch.randn(sets.batch, rows, *sets.shape, generator=torch.Generator().manual_seed(seed)).to(sets.low.dtype)


@pytest.mark.parametrize("norm", SIZES)
@pytest.mark.parametrize("size", [1, 5, 30])
def test_balls_by_words_are_balls(norm: str, size: int) -> None:
    center = torch.rand(2, size, generator=torch.Generator().manual_seed(size))
    ball = Ball(center, "0.7", norm, (0, 1))
    words, a = ball_by_words(ball, norm), noise(ball, 1, 3)
    known, found = ball.support(a), words.support(a)
    assert bool((found >= known - 1e-5).all())
    assert bool((found <= known + 3e-4 * (1 + known.abs())).all())
    best, near = words.maximiser(a[:, 0]), words.project(2 * a[:, 1])
    assert bool(ball.contains(best).all() and ball.contains(near).all())
    assert bool(((best * a[:, 0]).sum(1) >= known[:, 0] - 1e-4).all())
    far = 2 * a[:, 1]
    assert bool(((near - far).norm(dim=1) <= (ball.project(far) - far).norm(dim=1) + 1e-4).all())


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_members_stay_below_the_support_of_a_mixed_set(size: int, seed: int) -> None:
    sets = mixed(size, seed)
    a = noise(sets, seed, 2)
    bound, best = sets.support(a), sets.maximiser(a[:, 0])
    assert bool(sets.contains(best).all())
    assert bool(((a[:, 0] * best).sum(1) >= bound[:, 0] - 1e-3 * (1 + bound[:, 0].abs())).all())
    for k in range(3):
        x = sets.sample(torch.Generator().manual_seed(seed + k))
        assert bool(sets.contains(x).all())
        assert bool(((a * x[:, None]).sum(2) <= bound + 1e-5).all())
        assert torch.equal(sets.project(x), x)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.floats(-1e3, 1e3), st.floats(0.1, 3))
def test_a_cut_leaves_no_member_out(seed: int, far: float, width: float) -> None:
    """Subgradients anywhere, in the set or far away, give halfspaces that hold on the set."""
    sets = mixed(4, seed, 1)
    program = sets._program(0)
    rows, bounds = program.cuts(far + width * np.random.default_rng(seed).normal(size=4))
    for k in range(5):
        x = sets.sample(torch.Generator().manual_seed(k))[0].double().numpy()
        assert bool((rows @ x <= bounds).all())


def test_a_point_near_the_boundary_is_no_member() -> None:
    sets = ConvexSet(Box(torch.zeros(1, 2), torch.ones(1, 2)), lambda x, case: [cp.sum(x) <= 1])
    assert sets.contains(torch.tensor([[0.5, 0.5 - 2.0**-20]])).item()
    assert not sets.contains(torch.tensor([[0.5, 0.5]])).item()
    assert not sets.contains(torch.tensor([[torch.nan, 0.5]])).item()
    assert not sets.contains(torch.tensor([[-0.1, 0.5]])).item()


def test_cases_keep_their_numbers() -> None:
    sets = mixed(3, 0, 3)
    index = torch.tensor([2, 0])
    a = noise(sets, 5, 2)
    assert torch.allclose(sets.select(index).support(a[index]), sets.support(a)[index], atol=1e-6)
    assert torch.allclose(sets.double().to("cpu").support(a.double()).float(), sets.support(a), atol=1e-4)


def test_what_is_no_convex_inequality_is_refused() -> None:
    box = Box(torch.zeros(1, 2), torch.ones(1, 2))
    a = torch.ones(1, 1, 2)
    with pytest.raises(InputError, match="no inequality"):
        ConvexSet(box, lambda x, case: [cp.sum(x) == 1]).support(a)
    with pytest.raises(InputError, match="convex"):
        ConvexSet(box, lambda x, case: [cp.norm(x, 2) >= 1]).support(a)
    with pytest.raises(InputError, match="inside"):
        ConvexSet(box, lambda x, case: [cp.sum(x) <= -1]).project(torch.ones(1, 2))
    with pytest.raises(InputError, match="case numbers"):
        ConvexSet(box, lambda x, case: [], [0, 1])
    with pytest.raises(UnsupportedMethod, match="ConvexLP"):
        ConvexSet(box, lambda x, case: []).linear_rows(0)


def sets_of_all_kinds() -> dict[str, InputSet]:
    center = torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    balls = {norm: Ball(center, "0.3", norm, (0, 1)) for norm in ("linf", "l2", "l1")}
    box = Box(center - 1, center + 1)
    rows = np.vectorize(Fraction, otypes=[object])(np.random.default_rng(0).integers(-3, 4, (2, 2, 4)))
    middles = center.double().numpy()
    ends = np.array([[Fraction(float(r @ c)) + 1 for r in m] for m, c in zip(rows, middles, strict=True)])
    return {**balls, "box": box, "polytope": Polytope(box, rows, ends), "convex": mixed(4, 3)}


@pytest.mark.parametrize("kind", sets_of_all_kinds())
def test_the_constraint_says_what_the_set_is(kind: str) -> None:
    """CVXPY's maximum over the constraint is the support function's."""
    sets = sets_of_all_kinds()[kind]
    a = noise(sets, 2, 1)
    for case in range(sets.batch):
        x = cp.Variable(4)
        value = cp.Problem(cp.Maximize(a[case, 0].numpy() @ x), sets.constraint(x, case)).solve(solver="CLARABEL")
        assert value == pytest.approx(sets.support(a)[case, 0].item(), abs=1e-3)


@pytest.mark.parametrize("kind", ["untargeted", "conjunctive", "polytope"])
@pytest.mark.parametrize("name", NETWORKS)
def test_over_polyhedra_it_is_the_lp(name: str, kind: str) -> None:
    p = problem(NETWORKS[name](7), kind, 11)
    lp, found = solve(p, LP()), solve(p, ConvexLP())
    assert found.upper.item() == pytest.approx(lp.upper.item(), abs=1e-5 * (1 + abs(lp.upper.item())))
    assert found.upper.item() >= found.lower.item() > -np.inf


def linear(size: int, seed: int) -> Network:
    rng = torch.Generator().manual_seed(seed)
    b = GraphBuilder("x", (size,))
    names = b.parameter("w", torch.randn(3, size, generator=rng)), b.parameter("b", torch.randn(3, generator=rng))
    return b.finish(b.add("fc", Linear(), ("x",), names))


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", torch.inf)])
def test_on_a_linear_network_it_is_the_dual_norm(norm: str, dual: float) -> None:
    network = linear(6, 1)
    x = torch.zeros(1, 6)
    found = solve(robustness(network, x, [0], "0.5", norm, clip=None), ConvexLP()).upper.item()
    w, b = (t.double() for t in network.parameters.values())
    rows = w[1:] - w[0]
    known = ((b[1:] - b[0]) + 0.5 * torch.linalg.vector_norm(rows, dual, dim=1)).max().item()
    assert found == pytest.approx(known, abs=1e-5)


def around(network: Network, kind: str, seed: int) -> Problem:
    center = torch.randn(1, 3, generator=torch.Generator().manual_seed(seed))
    if kind == "mixed":
        return Problem(network, mixed(3, seed, 1), margins(torch.tensor([0]), 3), torch.zeros(1, dtype=torch.long), 1)
    return robustness(network, center, [0], "0.8", kind, clip=None)


@pytest.mark.parametrize("kind", ["l2", "l1", "mixed"])
@pytest.mark.parametrize("seed", range(3))
def test_between_samples_and_linear_bounds(kind: str, seed: int) -> None:
    p = around(dense(ReLU(), (3, 5, 4, 3), seed), kind, seed)
    best = max(p.violation(p.inputs.sample(torch.Generator().manual_seed(k))).item() for k in range(40))
    found, linear_bound = solve(p, ConvexLP()), solve(p, CROWN()).upper.item()
    assert max(best, found.lower.item()) <= found.upper.item() + 1e-6
    assert found.upper.item() <= linear_bound + 1e-4 * (1 + abs(linear_bound))
    assert found.meet(solve(p, PGD(steps=10))).gap.item() >= -1e-5


def test_a_mixed_set_is_tighter_than_its_hull() -> None:
    network = dense(ReLU(), (3, 5, 4, 3), 0)
    p = around(network, "mixed", 0)
    hull = Problem(network, p.inputs.box, p.spec, p.owner, 1)  # type: ignore[attr-defined]
    found = solve(p, ConvexLP())
    assert found.upper.item() < solve(hull, LP()).upper.item() - 0.1
    assert found.above is not None
    assert "subgradients" in found.above.trusts


@pytest.mark.parametrize("lie", ["noise", "huge", "none", "nan", "error"])
def test_a_lying_solver_cannot_lower_the_bound(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(NETWORKS["relu"](5), "untargeted", 5)
    truth, rng = Conic.maximise, np.random.default_rng(0)

    def maximise(self: Conic, cost: np.ndarray, time_limit: float | None = None) -> Solution:
        good = truth(self, cost, time_limit)
        assert good.duals is not None
        shape = good.duals.shape
        duals = {
            "noise": rng.normal(size=shape), "huge": 1e30 * rng.normal(size=shape), "none": None,
            "nan": np.full(shape, np.nan), "error": None,
        }[lie]
        return Solution(SolverStatus.ERROR if lie == "error" else SolverStatus.OPTIMAL, -1e9, -1e9, good.x, duals)

    monkeypatch.setattr(Conic, "maximise", maximise)
    found = solve(p, ConvexLP()).upper.item()
    assert exact_maximum(p) - 1e-6 <= found <= solve(p, CROWN()).upper.item() + 1e-5


def test_a_large_program_is_solved_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bound as in this process, and the linear bound where the process has not even begun."""
    p = around(dense(ReLU(), (3, 5, 4, 3), 0), "mixed", 0)
    here = solve(p, ConvexLP(time_limit=200)).upper.item()
    monkeypatch.setitem(LARGE, "conic", 0)
    monkeypatch.setattr("verify.solvers.conic.answer", lambda *_: pytest.fail("it is solved in this process"))
    assert solve(p, ConvexLP(time_limit=200)).upper.item() == pytest.approx(here, abs=1e-6)
    monkeypatch.setattr("verify.solvers.apart.__file__", "no such file")
    assert solve(p, ConvexLP(time_limit=200)).upper.item() >= here - 1e-6


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 3), st.sampled_from(["l2", "l1", "linf"]), st.floats(0, 5))
def test_any_multipliers_give_a_bound(seed: int, norm: str, size: float) -> None:
    """Garbage duals, the set's own support function in the rebuilt bound."""
    p = around(dense(ReLU(), (3, 5, 4, 3), seed), norm, seed)
    garbage = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Conic, "maximise", lambda self, cost, limit=None: Solution(
            SolverStatus.OPTIMAL, np.inf, 0.0, None, size * garbage.normal(size=len(self._sides[0]))))
        found = solve(p, ConvexLP()).upper.item()
    for k in range(20):
        assert p.violation(p.inputs.sample(torch.Generator().manual_seed(k))).item() <= found + 1e-6


def test_limits_and_refusals() -> None:
    p = problem(NETWORKS["relu"](5), "untargeted", 5)
    found = solve(p, ConvexLP(time_limit=0.0))
    assert found.notes["stopped"] == "time limit"
    assert found.upper.item() == pytest.approx(solve(p, CROWN()).upper.item(), abs=1e-5)
    with pytest.raises(InputError, match=r"'NOSUCH'.*CLARABEL"):
        solve(p, ConvexLP("NOSUCH"))


def test_rows_over_inputs_and_conjunctions_over_a_ball() -> None:
    network = dense(ReLU(), (3, 4, 3), 4)
    low, high = box_around(network, 4)
    rng = torch.Generator().manual_seed(1)
    spec = Specification(
        torch.randn(1, 3, 3, generator=rng), torch.randn(1, 3, generator=rng), torch.tensor([[0, 0, 1]]),
        torch.ones(1, 3, dtype=torch.bool), torch.randn(1, 3, 3, generator=rng),
    )
    ball = Ball((low + high) / 2, "0.5", "l2", None)
    p = Problem(network, ball, spec, torch.zeros(1, dtype=torch.long), 1)
    found = solve(p, ConvexLP())
    best = max(p.violation(ball.sample(torch.Generator().manual_seed(k))).item() for k in range(100))
    assert best <= found.upper.item() + 1e-6 <= solve(p, CROWN()).upper.item() + 1e-4
