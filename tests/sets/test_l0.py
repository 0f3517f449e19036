"""L0 balls, beside all choices of coordinates: what is linear, what is nearest, exact counts, bounds of networks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import verify
from tests.lower.test_lower import dense
from verify.errors import InputError, UnsupportedMethod
from verify.sets import Ball, Box
from verify.sets.norms.l0 import L0
from verify.train.attack import Attack
from verify.train.losses.base import Threat
from verify.train.recipe import Penalty

SIZE = 5


def choices(ball: Ball) -> list[Box]:
    """The boxes of which the balls are the union: one for each choice of coordinates that may change."""
    assert ball.clip is not None
    low, high = (float(end) for end in ball.clip)
    found = []
    for chosen in combinations(range(SIZE), min(int(ball.eps), SIZE)):
        free = torch.zeros(SIZE, dtype=torch.bool)
        free[list(chosen)] = True
        found.append(Box(torch.where(free, low, ball.center), torch.where(free, high, ball.center)))
    return found


@st.composite
def l0_balls(draw: st.DrawFn) -> tuple[Ball, Tensor]:
    noise = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    center, a = (torch.randn((3, SIZE), generator=noise, dtype=torch.float64) for _ in range(2))
    center, a[:, draw(st.integers(0, SIZE - 1))] = center.clamp(-1, 1.5), 0
    return Ball(center, draw(st.sampled_from([0, "1/2", 1, "29/10", 3, 5, 99])), "l0", (-1, "3/2")), a


@settings(deadline=None, max_examples=60)
@given(l0_balls())
def test_support_and_projection_are_the_best_of_all_choices_of_coordinates(drawn: tuple[Ball, Tensor]) -> None:
    ball, a = drawn
    boxes = choices(ball)
    best = torch.stack([box.support(a[:, None])[:, 0] for box in boxes]).amax(0)
    torch.testing.assert_close(ball.support(a[:, None])[:, 0], best, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((a * ball.maximiser(a)).sum(1), best, rtol=1e-12, atol=1e-12)
    far = torch.stack([(box.project(3 * a) - 3 * a).norm(dim=1) for box in boxes]).amin(0)
    torch.testing.assert_close((ball.project(3 * a) - 3 * a).norm(dim=1), far, rtol=1e-9, atol=1e-9)


def test_a_change_of_one_float_counts_and_huge_ones_do_not_more() -> None:
    center = torch.tensor([[0.5, 1e-40, 0.25, 1.0]])
    ball = Ball(center, 2, "l0")
    x = center.clone()
    x[0, :2] = torch.tensor([0.0, 0.0])
    assert bool(ball.contains(x))
    x[0, 2] = torch.nextafter(x[0, 2], torch.tensor(1.0))
    assert not bool(ball.contains(x))
    assert int((ball.project(x) != center).sum()) == 2
    assert torch.equal(ball.project(torch.full_like(center, 100.0)), torch.tensor([[0.5, 1.0, 1.0, 1.0]]))
    assert not bool(ball.contains(torch.full_like(center, torch.nan)))
    exact = [Fraction(0), Fraction(1, 10**400), Fraction(7)]
    assert L0().distance(exact) == 2
    assert not L0().holds(exact, Fraction(19, 10))


def test_its_ends_are_those_of_the_clip_and_a_part_of_a_coordinate_is_none() -> None:
    center = torch.tensor([[0.0, 0.3, 1.0]])
    ball = Ball(center, "2.9", "l0")
    assert ball.eps == 2
    assert torch.equal(ball.low, torch.zeros(1, 3))
    assert torch.equal(ball.high, torch.ones(1, 3))
    assert torch.equal(ball.maximiser(torch.tensor([[1.0, 2.0, -3.0]])), torch.tensor([[0.0, 1.0, 0.0]]))
    nothing = Ball(center, "0.9", "l0")
    assert torch.equal(nothing.low, center)
    assert torch.equal(nothing.high, center)


@pytest.mark.parametrize("eps", [2, pytest.param(1, marks=pytest.mark.conformance)])
def test_methods_agree_with_all_choices_of_coordinates(eps: int) -> None:
    """The maximum over the ball is the largest over the boxes of all choices, each by branch and bound."""
    network = dense(SIZE, 4, 3, seed=3, dtype=torch.float64)
    x = torch.rand((2, SIZE), generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    problem = verify.robustness(network, x, network(x).argmax(1), eps, "l0")
    ball = problem.inputs
    assert isinstance(ball, Ball)
    boxes = [replace(problem, inputs=box) for box in choices(ball)]
    exact = [verify.solve(part, verify.BranchAndBound(goal="optimum", gap=1e-6)) for part in boxes]
    low, high = (torch.stack([getattr(one, side) for one in exact]).amax(0) for side in ("lower", "upper"))
    assert float((high - low).max()) < 1e-4
    bounds = [verify.solve(problem, method).upper for method in (
        verify.Interval(), verify.CROWN(), verify.AlphaCROWN(), verify.ConvexLP(),
        verify.BranchAndBound(goal="optimum", time_limit=0.2))]
    for upper in bounds:
        assert bool((upper >= low - 1e-9).all())
    assert bool((bounds[1] < bounds[0]).all()), "linear bounds see more than the clip"
    found = verify.solve(problem, verify.PGD(restarts=4, stop_when_falsified=False)).lower
    assert bool((found <= high + 1e-9).all())
    start = problem.violation(x)
    assert bool((found - start >= 0.7 * (low - start)).all())


def test_what_takes_no_counts_says_so() -> None:
    x, network = torch.rand(1, 3), dense(3, 2)
    with pytest.raises(InputError, match="nothing ends a change"):
        Ball(x, 1, "l0", None)
    with pytest.raises(InputError, match="one perturbation of many samples takes no l0 balls"):
        verify.universal(network, x, eps=1, norm="l0", clip=(0, 1))
    with pytest.raises(InputError, match="not of l0 balls"):
        verify.robustness(network, torch.ones(1, 3), [0], 1, "l0", grid=255)
    problem = verify.robustness(network, x, [0], 1, "l0")
    for method in (verify.LP(), verify.MILP()):
        with pytest.raises(UnsupportedMethod, match="not l0 balls"):
            verify.solve(problem, method)
    for penalty in (lambda: Penalty(0.1, "l0"), lambda: Attack(penalty=0.1, penalty_norm="l0"),
                    lambda: verify.StochasticUAP(penalty=0.1, penalty_norm="l0")):
        with pytest.raises(InputError, match="a penalty cannot be l0"):
            penalty()
    with pytest.raises(InputError, match="training takes no l0 balls"):
        Threat("l0")
