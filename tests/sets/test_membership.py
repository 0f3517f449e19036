"""Membership, decided in rationals: of balls and polytopes, between floats, and of what is not finite."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sets.test_sets import balls, noise, polytopes, rationals
from verify.sets import Ball, Box, Polytope


@settings(deadline=None, max_examples=150)
@given(balls(), st.integers(0, 1000), st.integers(-3, 3))
def test_membership_of_balls_agrees_with_rationals(ball: Ball, seed: int, ulps: int) -> None:
    """Points on the sphere and a few floats beside it."""
    x = ball.maximiser(noise(ball, seed))
    x = x + ulps * torch.finfo(x.dtype).eps * x
    for case in range(ball.batch):
        point = [Fraction(v) for v in x[case].double().flatten().tolist()]
        away = [abs(p - Fraction(c)) for p, c in zip(point, ball.center[case].double().flatten().tolist(), strict=True)]
        size = {"linf": max(away), "l1": sum(away), "l2": sum(d * d for d in away),
                "l0": sum(d != 0 for d in away)}[ball.norm.name]
        inside = size <= (ball.eps**2 if ball.norm.name == "l2" else ball.eps)
        if ball.clip is not None:
            inside = inside and all(ball.clip[0] <= p <= ball.clip[1] for p in point)
        assert bool(ball.contains(x)[case]) == inside


@settings(deadline=None, max_examples=60)
@given(polytopes(), st.integers(0, 1000))
def test_membership_of_polytopes_agrees_with_rationals(sets: Polytope, seed: int) -> None:
    x = sets.low + torch.rand(sets.low.shape, generator=torch.Generator().manual_seed(seed)) * (sets.high - sets.low)
    for case in range(sets.batch):
        point = np.array([Fraction(v) for v in x[case].tolist()], dtype=object)
        low, high = sets.box.exact
        inside = bool((point >= low[case]).all() and (point <= high[case]).all())
        inside = inside and bool((sets.rows[case] @ point <= sets.bounds[case]).all())
        assert bool(sets.contains(x)[case]) == inside


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_no_member(bad: float) -> None:
    box = Box(torch.zeros(2, 3), torch.ones(2, 3))
    cut = Polytope(box, rationals(np.ones((2, 1, 3), dtype=int)), rationals(np.full((2, 1), 2)))
    x = torch.full((2, 3), 0.1)
    x[1, 2] = bad
    for sets in (box, cut, *(Ball(torch.full((2, 3), 0.5), 2, norm) for norm in ("linf", "l2", "l1"))):
        assert sets.contains(x).tolist() == [True, False]


def test_a_coordinate_between_two_floats_is_represented_by_its_rounding() -> None:
    tenth = rationals(np.array([[1, 3]]))
    box = Box(tenth, tenth)
    x = box.project(torch.zeros(1, 2))
    assert torch.equal(x, torch.tensor([[0.1, 0.3]]))
    assert bool(box.contains(x).all())
    assert not bool(box.contains(torch.nextafter(x, torch.ones(1, 2))).any())
    assert box.preimage(x).tolist() == [[Fraction(1, 10), Fraction(3, 10)]]
    assert bool(((box.low < x) | (box.high > x)).all())
    cut = Polytope(box, rationals(np.array([[[10, 10]]])), rationals(np.array([[4]])))  # 0.1 + 0.3 <= 0.4
    assert bool(cut.contains(x).all())


def test_boxes_of_floats_are_their_own_members() -> None:
    box = Box(torch.tensor([[0.1, -2.0]]), torch.tensor([[0.1, 3.0]]))
    assert torch.equal(box.maximiser(torch.tensor([[1.0, 1.0]])), box.high)
    assert bool(box.contains(box.low).all())
    assert bool(box.contains(box.high).all())
