"""Grids: members, projection, hull and emptiness against all whole numbers, in rationals; images as loaders make them.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import verify
from verify.errors import InputError
from verify.sets import Ball, Box, Grid
from verify.sets.around import sets_around
from verify.sets.norms import norm_of
from verify.sets.samples import Samples

LEVELS = st.sampled_from([1, 2, 15, 16, 100, 255, 65535])
EPS = st.sampled_from(["0", "8/255", "0.03", "1/510", "1/2", "3", "1e-9", "1/16"])
CLIP: tuple[int, int] = (0, 1)
WRONG: Any = 255.0
NET = verify.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))


def image(whole: list[int], levels: int, dtype: type = np.float32) -> torch.Tensor:
    """What dividing whole numbers in float gives, by NumPy; (1, n)."""
    return torch.from_numpy(np.array([whole]).astype(dtype) / dtype(levels))


@st.composite
def samples(draw: st.DrawFn) -> tuple[list[int], int]:
    levels = draw(LEVELS)
    return draw(st.lists(st.integers(0, levels), min_size=1, max_size=4)), levels


@settings(deadline=None, max_examples=60)
@given(samples(), EPS, st.sampled_from([np.float32, np.float64]))
def test_members_are_the_images_within_eps_of_the_image(
    sample: tuple[list[int], int], eps: str, dtype: type
) -> None:
    whole, levels = sample
    grid = Grid.within(Ball(image(whole, levels, dtype), eps, "linf", CLIP), levels)
    for i, k in enumerate(whole):
        near = range(max(-1, k - 300), min(levels + 1, k + 300) + 1)  # beyond the clip too
        for other in {*list(near)[:3], *list(near)[-3:], k - 1, k, k + 1, k - 8, k + 8, k - 7, k + 7}:
            allowed = 0 <= other <= levels and abs(Fraction(other - k, levels)) <= Fraction(eps)
            moved = image([*whole[:i], other, *whole[i + 1:]], levels, dtype)
            assert bool(grid.contains(moved)) == allowed, (k, other)
            if allowed:
                assert bool(((grid.low <= moved) & (moved <= grid.high)).all())
                assert torch.equal(grid.project(moved), moved)
                exact = Fraction(other, levels)
                assert grid.preimage(moved)[0, i] == exact
                assert Fraction(float(grid.low[0, i])) <= exact <= Fraction(float(grid.high[0, i]))
                low, high = grid.origins(moved)
                assert Fraction(float(low[0, i])) <= exact <= Fraction(float(high[0, i]))


@settings(deadline=None, max_examples=60)
@given(samples(), EPS, st.integers(0, 1000))
def test_what_sets_give_are_members_and_projection_is_nearest(
    sample: tuple[list[int], int], eps: str, seed: int
) -> None:
    whole, levels = sample
    grid = Grid.within(Ball(image(whole, levels), eps, "linf", CLIP), levels)
    noise = torch.Generator().manual_seed(seed)
    x = torch.rand(grid.low.shape, generator=noise) * 1.4 - 0.2
    x[0, 0] = x[0, 0].nextafter(torch.tensor((whole[0] + 0.5) / levels))
    a = torch.randn(grid.low.shape, generator=noise)
    found = grid.project(x)
    for member in (found, grid.nominal(), grid.maximiser(a), grid.sample(noise), grid.settled(x)):
        assert bool(grid.contains(member).all())
    assert bool((a * grid.maximiser(a)).sum() >= grid.support(a[:, None])[0, 0] - 1e-5 * a.abs().sum())
    low, high = grid.exact_box()
    for i, value in enumerate(x[0].tolist()):
        below = Fraction(value) * levels // 1
        near = (min(max(k, low[0, i] * levels), high[0, i] * levels) for k in (below, below + 1))
        best = min(abs(k / levels - Fraction(value)) for k in near)
        assert abs(grid.preimage(found)[0, i] - Fraction(value)) <= best + Fraction(1, 10**12)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.fractions(-2, 2, max_denominator=400), st.fractions(0, 1, max_denominator=400))
def test_boxes_are_rounded_inward_and_may_be_empty(levels: int, low: Fraction, width: Fraction) -> None:
    ends = [np.array([[end]], dtype=object) for end in (low, low + width)]
    inside = [k for k in range(-3 * levels, 4 * levels) if low <= Fraction(k, levels) <= low + width]
    if not inside:
        with pytest.raises(InputError, match="no point of the grid"):
            Grid.within(Box(ends[0], ends[1]), levels)
        return
    grid = Grid.within(Box(ends[0], ends[1]), levels)
    assert [end.item() for end in grid.exact_box()] == [Fraction(inside[0], levels), Fraction(inside[-1], levels)]


def test_a_pixel_off_by_a_level_or_between_two_is_no_member() -> None:
    grid = Grid.within(Ball(image([10, 200], 255), "0.03"), 255)
    assert (grid.least.tolist(), grid.most.tolist()) == ([[3.0, 193.0]], [[17.0, 207.0]])
    assert bool(grid.contains(image([3, 207], 255)))
    for wrong in (image([2, 200], 255), image([10, 208], 255), image([10, 200], 255).nextafter(torch.tensor(1.0)),
                  image([21, 400], 510), torch.full((1, 2), torch.nan)):
        assert not bool(grid.contains(wrong))


@pytest.mark.parametrize(("make", "words"), [
    (lambda x: verify.robustness(NET, x, [0], 0.1, norm="l2", grid=255), "l2 balls"),
    (lambda x: verify.robustness(NET, x, [0], 0.1, grid=0), "grid is 0"),
    (lambda x: verify.robustness(NET, x, [0], 0.1, grid=WRONG), "grid is 255.0"),
    (lambda x: verify.robustness(NET, x, [0], 0.1, grid=True), "grid is True"),
    (lambda x: verify.robustness(NET, x + 1e-3, [0], 0.1, grid=255), "no multiple of 1/255"),
])
def test_what_is_no_grid_is_told_in_a_sentence(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as told:
        make(image([10, 200], 255))
    assert ";" in str(told.value)


def test_sets_of_the_command_line_count_from_the_image() -> None:
    x = image(list(range(256)), 255)
    around = Samples(x, Fraction(8, 255), norm_of("linf"), (Fraction(0), Fraction(1)), 255)
    ball, box = sets_around("ball", around), sets_around("box:-1,1", around)
    for end, other in zip(ball.exact_box(), box.exact_box(), strict=True):
        assert (end == other).all()
    with pytest.raises(InputError, match="no multiple of"):
        sets_around("box:-1,1", Samples(x + 2e-4, Fraction(8, 255), norm_of("linf"), None, 255))


@pytest.mark.parametrize(("least", "most", "words"), [
    (1.0, 0.0, "no point"), (torch.nan, 1.0, "no point"), (0.0, torch.nan, "no point"), (0.0, 0.5, "whole numbers"),
    (0.0, torch.inf, "reaches beyond"),
])
def test_ends_that_are_no_levels_are_refused(least: float, most: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Grid(*(torch.full((1, 1), end, dtype=torch.float64) for end in (least, most)), levels=255)


def test_levels_that_float32_does_not_tell_apart_are_refused() -> None:
    far = torch.full((1, 1), 2.0**24)
    Grid.within(Box(far - 1, far), 1)
    with pytest.raises(InputError, match=r"reaches beyond 65793.*no longer tells the levels"):
        Grid.within(Box(torch.zeros(1, 1), torch.full((1, 1), 65794.0)), 255)
