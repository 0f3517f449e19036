"""Laws of the input sets: support, maximiser, projection, membership, hull, against LP, QP and rational oracles."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from verify.errors import InputError, UnsupportedMethod
from verify.registry import NORMS
from verify.registry import SETS as NAMED
from verify.sets import Ball, Box, InputSet, Polytope
from verify.sets.around import sets_around
from verify.sets.norms import norm_of
from verify.sets.samples import Samples

EPS = st.sampled_from([0, "1e-6", "1/255", "0.3", 1, 5])
CONVEX = tuple(name for name in NORMS if not norm_of(name).counts)


def rationals(values: np.ndarray) -> np.ndarray:
    out = np.empty(values.shape, dtype=object)
    for place, v in np.ndenumerate(values):
        out[place] = Fraction(int(v), 10)
    return out


@st.composite
def balls(
    draw: st.DrawFn, dtype: torch.dtype = torch.float32, norms: tuple[str, ...] = tuple(NORMS)
) -> Ball:
    batch, size = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    entries = st.sampled_from([0.0, 1.0, 0.5, 0.1, 0.9, 0.3333, 1e-7])
    flat = draw(st.lists(entries, min_size=batch * size, max_size=batch * size))
    norm = draw(st.sampled_from(norms))
    clip = draw(st.sampled_from([(0, 1), (-1, "3/2"), *([] if norm_of(norm).counts else [None])]))
    center = torch.tensor(flat, dtype=dtype).reshape(batch, 1, size)
    return Ball(center, draw(EPS), norm, clip)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 5)))
    tenths = st.integers(-30, 30)
    low = np.array(draw(st.lists(tenths, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))).reshape(shape)
    width = st.sampled_from([0, 0, 1, 7, 40])
    wide = np.array(draw(st.lists(width, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))).reshape(shape)
    return Box(rationals(low), rationals(low + wide))


@st.composite
def polytopes(draw: st.DrawFn) -> Polytope:
    """A box with rows that a point well inside it satisfies with room to spare."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, size, count = rng.integers(1, 3), rng.integers(1, 5), rng.integers(0, 4)
    low = rng.integers(-20, 20, (batch, size))
    high = low + rng.integers(5, 30, (batch, size))
    rows = rng.integers(-9, 10, (batch, count, size))
    inner = (rows * (low + high)[:, None] / 2).sum(2)
    bounds = np.ceil(inner + 0.3 * np.abs(rows).sum(2)).astype(int)  # over the tenths of rows and of x
    rational_bounds = np.empty(bounds.shape, dtype=object)
    for place, v in np.ndenumerate(bounds):
        rational_bounds[place] = Fraction(int(v), 100)
    return Polytope(Box(rationals(low), rationals(high)), rationals(rows), rational_bounds)


@st.composite
def named(
    draw: st.DrawFn, names: tuple[str, ...] = tuple(name for name, entry in NAMED.items() if entry.example)
) -> InputSet:
    """Sets around samples by their texts on the command line."""
    ball = draw(balls())
    return sets_around(NAMED[draw(st.sampled_from(names))].example,
                       Samples(ball.center, ball.eps, ball.norm, ball.clip))


SETS = st.one_of(balls(), balls(dtype=torch.float64), boxes(), polytopes(), named())


def noise(sets: InputSet, seed: int, rows: int | None = None) -> torch.Tensor:
    shape = sets.low.shape if rows is None else (sets.batch, rows, *sets.shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=sets.low.dtype)


def tolerance(sets: InputSet, a: torch.Tensor) -> torch.Tensor:
    """What float32 rounding of the points can cost a . x, generously."""
    scale = torch.maximum(sets.low.abs(), sets.high.abs()).flatten(1).double()
    return 1e-5 * (1 + (a.abs().flatten(1).double() * scale).sum(1))


@settings(deadline=None, max_examples=150)
@given(SETS, st.integers(0, 1000))
def test_members_stay_below_the_support_and_the_maximiser_attains_it(sets: InputSet, seed: int) -> None:
    a = noise(sets, seed)
    bound = sets.support(a.unsqueeze(1))[:, 0].double()
    best = sets.maximiser(a)
    assert bool(sets.contains(best).all())
    slack = tolerance(sets, a)
    assert bool(((a * best).flatten(1).double().sum(1) >= bound - slack).all())
    for k in range(3):
        x = sets.sample(torch.Generator().manual_seed(seed + k))
        assert bool(sets.contains(x).all())
        assert bool(((a * x).flatten(1).double().sum(1) <= bound + slack / 10).all())
        assert bool(((x >= sets.low) & (x <= sets.high)).all())


@settings(deadline=None, max_examples=150)
@given(SETS, st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 1e4]))
def test_projection_is_an_exact_member_and_idempotent(sets: InputSet, seed: int, size: float) -> None:
    x = sets.project(size * noise(sets, seed))
    assert bool(sets.contains(x).all())
    assert torch.equal(sets.project(x), x)
    assert bool(sets.contains(sets.nominal()).all())


@settings(deadline=None, max_examples=60)
@given(balls(dtype=torch.float64, norms=CONVEX), st.integers(0, 1000))
def test_projection_satisfies_the_variational_inequality(sets: InputSet, seed: int) -> None:
    """p is nearest to z iff (z - p) . (x - p) <= 0 for all members x: the support of z - p is attained at p."""
    z = noise(sets, seed) * 2
    p = sets.project(z)
    normal = (z - p).unsqueeze(1)
    excess = sets.support(normal)[:, 0] - (normal * p.unsqueeze(1)).flatten(1).sum(1)
    assert bool((excess <= 1e-6 * (1 + normal.flatten(1).square().sum(1))).all())


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("clip", [None, (0, 1)])
def test_projection_agrees_with_scipy(norm: str, clip: tuple[int, int] | None) -> None:
    center = np.array([0.0, 0.2, 0.9, 1.0, 0.5])
    ball = Ball(torch.tensor(center)[None], "0.6", norm, clip)
    for seed in range(4):
        z = np.random.default_rng(seed).normal(size=5) * 1.5
        if norm == "l2":
            inside = {"type": "ineq", "fun": lambda x: 0.36 - ((x - center) ** 2).sum()}
            near = minimize(
                lambda x, z=z: ((x - z) ** 2).sum(), center, constraints=inside, bounds=[clip or (None, None)] * 5,
                method="SLSQP", options={"maxiter": 500, "ftol": 1e-14},
            ).x
        else:  # x = center + up - down with up, down >= 0 makes the problem smooth
            inside = {"type": "ineq", "fun": lambda s: 0.6 - s.sum()}
            room = [(0, 1 - c) for c in center] + [(0, c) for c in center] if clip else [(0, None)] * 10
            parts = minimize(
                lambda s, z=z: ((center + s[:5] - s[5:] - z) ** 2).sum(), np.full(10, 0.01), constraints=inside,
                bounds=room, method="SLSQP", options={"maxiter": 500, "ftol": 1e-14},
            ).x
            near = center + parts[:5] - parts[5:]
        assert np.abs(ball.project(torch.tensor(z)[None])[0].numpy() - near).max() < 1e-5


def test_projection_of_a_polytope_agrees_with_scipy() -> None:
    rows, bounds = rationals(np.array([[[10, 10, 0], [-10, 20, 5]]])), rationals(np.array([[5, 3]]))
    box = Box(torch.zeros(1, 3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64))
    sets = Polytope(box, rows, bounds)
    a, b = sets.linear_rows(0)
    for seed in range(4):
        z = np.random.default_rng(seed).normal(size=3) * 2
        near = minimize(
            lambda x, z=z: ((x - z) ** 2).sum(), np.zeros(3), constraints={"type": "ineq", "fun": lambda x: b - a @ x},
            bounds=[(0, 1)] * 3, method="SLSQP", options={"ftol": 1e-14},
        ).x
        assert np.abs(sets.project(torch.tensor(z)[None])[0].numpy() - near).max() < 1e-5


def ball_oracle(ball: Ball, a: np.ndarray) -> float:
    """max of a . x over one ball of dtype float64: an LP for L1, the dual's minimum over a fine grid for L2."""
    center, eps = ball.center[0].flatten().numpy(), float(ball.eps)
    low, high = (np.full(a.size, -np.inf), np.full(a.size, np.inf))
    if ball.clip is not None:
        low, high = np.full(a.size, float(ball.clip[0])) - center, np.full(a.size, float(ball.clip[1])) - center
    if ball.norm.name == "linf":
        return float(a @ center + np.maximum(a * np.minimum(high, eps), a * np.maximum(low, -eps)).sum())
    if ball.norm.name == "l0":
        return float(a @ center + np.sort(np.maximum(a * high, a * low))[::-1][: int(eps)].sum())
    if ball.norm.name == "l1":
        room = [(0, None if np.isinf(h) else h) for h in [*high, *-low]]
        answer = linprog(np.concatenate([-a, a]), A_ub=np.ones((1, 2 * a.size)), b_ub=[eps], bounds=room)
        return float(a @ center - answer.fun)
    best = np.inf
    for m in np.geomspace(1e-9, 1e9, 40001):
        d = np.clip(a / m, low, high)
        best = min(best, float(a @ d - m * (d @ d) / 2 + m * eps**2 / 2))
    return float(a @ center) + best


@settings(deadline=None, max_examples=60)
@given(balls(dtype=torch.float64), st.integers(0, 1000))
def test_support_of_balls_equals_the_oracle(ball: Ball, seed: int) -> None:
    a = noise(ball, seed)
    if seed % 5 == 0:
        a[..., 0] = 0
    one = ball.select(torch.tensor([0]))
    value = float(one.support(a[:1].unsqueeze(1)))
    oracle = ball_oracle(one, a[0].flatten().numpy())
    assert value == pytest.approx(oracle, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", torch.inf)])
def test_support_of_unclipped_balls_is_the_dual_norm(norm: str, dual: float) -> None:
    center, a = torch.randn(4, 30, dtype=torch.float64), torch.randn(4, 3, 30, dtype=torch.float64)
    value = Ball(center, "7/255", norm, None).support(a)
    expected = (a * center[:, None]).sum(2) + 7 / 255 * a.norm(p=dual, dim=2)
    assert torch.allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize("name", CONVEX)
def test_norms_are_norms(name: str) -> None:
    """Their facts fit each other: measure, dual, support, reach, and what they say in rationals."""
    norm, noise = norm_of(name), torch.Generator().manual_seed(0)
    assert norm.name == name
    for size in (1, 2, 5):
        d, e = torch.randn(2, 40, size, generator=noise, dtype=torch.float64)
        assert bool((norm.measure(d + e) <= norm.measure(d) + norm.measure(e) + 1e-12).all())
        assert torch.allclose(norm.measure(-3 * d), 3 * norm.measure(d))
        assert torch.equal(norm.measure(d.abs()), norm.measure(d)), "it is absolute"
        assert bool((norm.measure(d * torch.rand(d.shape, generator=noise)) <= norm.measure(d) + 1e-12).all())
        assert float(norm.measure(torch.ones(size, dtype=torch.float64))) <= float(norm.of_ones(size)) * (1 + 1e-12)
        assert bool(((d * e).sum(-1) <= norm.measure(d) * norm.dual(e) + 1e-12).all())
        ball = Ball(torch.zeros(40, size, dtype=torch.float64), 1, name, None)
        assert torch.allclose(ball.support(e[:, None])[:, 0], norm.dual(e), rtol=1e-9)
        reach = torch.from_numpy(np.broadcast_to(norm.reach(size), (size,)).astype(float))
        assert torch.allclose(norm.dual(torch.eye(size, dtype=torch.float64)), reach)
        steps = ball.steepest(torch.zeros_like(e), e)
        assert bool(((steps * e).sum(-1) > 0).all())
        assert bool((norm.measure(steps) <= 1 + 1e-12).all())
        for row in d[:5]:
            exact = [abs(Fraction(v)) for v in row.tolist()]
            away = norm.distance(exact)
            assert away == pytest.approx(float(norm.measure(row)), rel=1e-12)
            assert norm.holds(exact, Fraction(away))
            assert not norm.holds(exact, Fraction(away) * (1 - Fraction(1, 10**12)))


@settings(deadline=None, max_examples=20)
@given(SETS)
def test_no_sets_have_no_support_values(sets: InputSet) -> None:
    none = sets.select(torch.tensor([], dtype=torch.long))
    assert none.support(noise(none, 0, rows=2)).shape == (0, 2)


def test_support_of_zero_rows_and_of_huge_and_tiny_rows() -> None:
    for norm in ("linf", "l2", "l1"):
        for eps in (0, "1e-30", 1, "1e12"):
            ball = Ball(torch.rand(2, 5), eps, norm)
            assert torch.equal(ball.support(torch.zeros(2, 3, 5)), torch.zeros(2, 3))
            for size in (1e-30, 1e30):
                a = torch.full((2, 1, 5), size)
                assert bool((ball.support(a) >= (a * ball.center[:, None]).sum(2) * (1 - 1e-5)).all())


@settings(deadline=None, max_examples=40)
@given(polytopes(), st.integers(0, 1000))
def test_support_of_polytopes_equals_the_lp(sets: Polytope, seed: int) -> None:
    a = noise(sets, seed, rows=2).double()
    value = sets.support(a)
    for case in range(sets.batch):
        rows, bounds = sets.linear_rows(case)
        ends = np.stack([sets.low[case].numpy(), sets.high[case].numpy()], 1).astype(float)
        for r in range(2):
            answer = linprog(-a[case, r].numpy(), A_ub=rows, b_ub=bounds, bounds=ends)
            assert float(value[case, r]) == pytest.approx(-answer.fun, rel=1e-6, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(SETS, st.integers(0, 1000))
def test_selection_commutes_with_everything(sets: InputSet, seed: int) -> None:
    index = torch.randint(0, sets.batch, (5,), generator=torch.Generator().manual_seed(seed))
    picked, a, z = sets.select(index), noise(sets, seed), 2 * noise(sets, seed + 1)
    assert torch.equal(picked.low, sets.low[index])
    bounds = sets.support(a.unsqueeze(1))[index]
    assert torch.allclose(picked.support(a[index].unsqueeze(1)), bounds, rtol=1e-6, atol=1e-6)
    x = sets.project(z)
    assert torch.allclose(picked.project(z[index]), x[index], rtol=1e-6, atol=1e-7)
    assert torch.equal(picked.contains(x[index]), sets.contains(x)[index])
    step = sets.steepest(x, a)
    assert torch.allclose(picked.steepest(x[index], a[index]), step[index], rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(balls(), st.integers(0, 1000))
def test_steepest_directions_ascend(ball: Ball, seed: int) -> None:
    x, a = ball.sample(torch.Generator().manual_seed(seed)), noise(ball, seed)
    assert bool(((ball.steepest(x, a) * a).flatten(1).sum(1) >= -1e-5).all())


def test_errors_say_what_is_wrong() -> None:
    x = torch.full((1, 2), 0.5)
    with pytest.raises(InputError, match="unknown norm"):
        Ball(x, 1, "l3")
    with pytest.raises(InputError, match="at least 0"):
        Ball(x, -1)
    with pytest.raises(InputError, match="outside the clip"):
        Ball(x + 1, 1)
    with pytest.raises(InputError, match="not finite"):
        Ball(x * torch.nan, 1)
    with pytest.raises(InputError, match="eps True is not a finite number"):
        Ball(x, True)
    for clip in ((0,), (), 0, (0, 1, 2), (1, 0), "01", {0, 1}):
        with pytest.raises(InputError, match=r"clip is .* must be \(low, high\) with low <= high, or None"):
            Ball(x, 1, clip=clip)  # pyright: ignore
    with pytest.raises(InputError, match="clip None is not a finite number"):
        Ball(x, 1, clip=(None, 1))  # pyright: ignore
    with pytest.raises(InputError, match=r"empty: low > high at position \[0, 1\]"):
        Box(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.5]]))
    with pytest.raises(InputError, match="not finite"):
        Box(x, x * torch.inf)
    with pytest.raises(InputError, match="equal shapes"):
        Box(x, torch.ones(1, 3))
    with pytest.raises(InputError, match="rows of shape"):
        Polytope(Box(x, x), rationals(np.ones((1, 1, 3), dtype=int)), rationals(np.ones((1, 1), dtype=int)))
    with pytest.raises(UnsupportedMethod, match="polytopes"):
        Ball(x, 1, "l2").linear_rows(0)
