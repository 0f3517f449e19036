"""Attacks where one or two variables are free: no dense grid of these fools what an attack does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from verify.models import digits

import verify
from tests.lower.test_lower import dense
from verify.lower.engine.best import BestPoints
from verify.lower.engine.grid import PER_AXIS, few_free, survey
from verify.problem import Problem
from verify.sets import Box


def densest(problem: Problem, per_axis: int) -> Tensor:
    """The largest violation (cases,) on a grid of the free variables."""
    free = (problem.inputs.high > problem.inputs.low).flatten(1)
    axes = [torch.linspace(0, 1, per_axis)] * int(free[0].sum())
    found = []
    for node in torch.cartesian_prod(*axes).reshape(-1, len(axes)):
        share = torch.zeros(free.shape)
        share[free] = node.repeat(problem.cases)
        found.append(problem.violation(problem.inputs.place(share.reshape(problem.cases, *problem.inputs.shape))))
    return torch.stack(found).amax(0)


@pytest.mark.parametrize(("text", "per_axis"), [
    ("brightness:0.5", 301), ("rotation:40deg", 301), ("translation:1", 19)])
def test_attacks_fool_whatever_a_dense_grid_of_parameters_fools(text: str, per_axis: int) -> None:
    x, y = digits()
    problem = verify.perturbed(verify.load("digits-dense-interval"), x[:30], y[:30], text)
    grid = densest(problem, per_axis) >= 0
    assert int(grid.sum()) >= 5
    for method in (verify.PGD(), verify.APGD(steps=30)):
        assert bool((verify.solve(problem, method).lower >= 0)[grid].all())


class Peaks(nn.Module):
    """Class 1 wins within 0.01 of 0.771 in the first variable; from 0.5 the way up leads elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        first = x[:, :1]
        peak = (1 - (first - 0.771).abs() / 0.1).clamp(min=0) * 2
        return torch.cat([1 + first, peak + 0 * x.sum(1, keepdim=True)], 1)


def test_a_narrow_peak_is_met_where_one_variable_is_free_and_left_where_three_are() -> None:
    network, x = verify.opaque(Peaks(), torch.rand(1, 3)), torch.full((1, 3), 0.5)
    low, high = x.clone(), x.clone()
    low[0, 0], high[0, 0] = 0, 1
    whole = verify.robustness(network, x, [0], "1/2")
    one = Problem(whole.network, Box(low, high), whole.spec, whole.owner, 1)
    assert few_free(one).tolist() == [1]
    assert few_free(whole).tolist() == [0]
    assert float(verify.solve(one, verify.PGD(10)).lower) > 0
    assert float(verify.solve(one, verify.FGSM()).lower) < 0
    assert float(verify.solve(whole, verify.PGD(10)).lower) < 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_points_of_a_grid_are_members_and_reach_the_ends(norm: str) -> None:
    network = dense(2, 2)
    problem = verify.robustness(network, torch.tensor([[0.5, 0.5], [0.2, 0.9]]), [0, 0], "1/4", norm)
    best = BestPoints(problem.inputs.nominal())
    seen: list[Tensor] = []
    offer = best.offer

    def watched(cases: Tensor, values: Tensor, x: Tensor) -> None:
        seen.append(x[cases == 0])
        offer(cases, values, x)

    best.offer = watched  # pyright: ignore[reportAttributeAccessIssue]
    survey(problem, best, torch.arange(2))
    points = torch.cat(seen)
    assert len(points) == PER_AXIS[2] ** 2
    assert bool(problem.select(torch.zeros(len(points), dtype=torch.long)).inputs.contains(points).all())
    assert float((points - 0.5).abs().max()) == pytest.approx(0.25, abs=1e-2)
