"""Products in domains: any ranges, shares and multipliers bound; shares descend by their gradient; splits close."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import verify
from tests.ops.test_product import quadratic, value
from verify.exact.branch_and_bound import Search
from verify.exact.search import branching_choice
from verify.upper.crown import linear_boxes
from verify.upper.duals.domains import Domains, Objective
from verify.upper.duals.dual import Dual, RelaxedDomains

ROWS = 5


def relaxed_rows(seed: int) -> tuple[Dual, Objective, Domains, Tensor]:
    """Rows over the output of a polynomial, in domains around a point (rows, inputs) each."""
    problem, noise = value(quadratic(seed), 0.4), torch.Generator().manual_seed(seed)
    dual = Dual(problem.network, problem.inputs, linear_boxes(problem.network, problem.inputs))
    owner = torch.zeros(ROWS, dtype=torch.long)
    a = torch.randn((ROWS, 4), generator=noise).double()
    point = problem.inputs.select(owner).sample(noise)
    values = problem.network.values(point)
    z = torch.cat([values[layer.source].flatten(1)[:, layer.tracked] for layer in dual.layers.values()], 1)
    low, high = dual.low[owner], dual.high[owner]
    middle, halved = (low + high) / 2, torch.rand(low.shape, generator=noise) < 0.3
    low, high = torch.where(halved & (z >= middle), middle, low), torch.where(halved & (z < middle), middle, high)
    return dual, Objective(problem.network.graph.output, a), Domains(owner, low, high, low * 0, low * 0), point


@pytest.mark.parametrize("seed", range(8))
def test_any_shares_and_multipliers_bound_the_points_of_a_domain(seed: int) -> None:
    dual, objective, domains, point = relaxed_rows(seed)
    noise = torch.Generator().manual_seed(seed + 100)
    relaxed = RelaxedDomains(dual, domains)
    value_there = (objective.a * dual.network(point)).sum(1)
    for _ in range(20):
        share = torch.rand(domains.low.shape, generator=noise).double()
        multiplier = torch.randn(domains.low.shape, generator=noise).double() * (share > 0.6)
        pulled = relaxed.pull(objective, share, multiplier)
        assert bool((pulled.bound >= value_there - 1e-9).all())


@pytest.mark.parametrize("seed", range(4))
def test_the_primal_point_attains_the_bound_and_gives_the_gradient(seed: int) -> None:
    dual, objective, domains, _ = relaxed_rows(seed)
    noise = torch.Generator().manual_seed(seed + 200)
    relaxed = RelaxedDomains(dual, domains)
    share = torch.rand(domains.low.shape, generator=noise).double() * 0.8 + 0.1
    pulled = relaxed.pull(objective, share, None)
    primal = relaxed.primal(objective, pulled)
    torch.testing.assert_close((objective.a * primal.value).sum(1), pulled.bound)
    gradient = relaxed.gradient(pulled, primal)
    assert bool((gradient != 0).any())
    step = 1e-6
    for _ in range(5):
        way = torch.randn(share.shape, generator=noise).double()
        ends = [relaxed.pull(objective, share + sign * step * way, None).bound for sign in (-1, 1)]
        torch.testing.assert_close((ends[1] - ends[0]) / (2 * step), (gradient * way).sum(1), rtol=1e-4, atol=1e-6)


def test_splits_of_factors_close_a_polynomial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without splits of inputs, the ranges of factors alone bring both sides together."""
    monkeypatch.setattr(branching_choice, "FEW", 0)
    problem = value(quadratic(1), 0.4)
    settings = verify.BranchAndBound(goal="optimum", gap=1.5, time_limit=60)
    search = Search(problem, settings, settings.limits(problem))
    answer = search.answer()
    assert answer.upper is not None
    assert search.domains > 4
    assert float(answer.upper[0]) <= float(search.incumbent.values[0]) + 1.51
    monkeypatch.undo()
    other = verify.solve(value(quadratic(1), 0.4), verify.BranchAndBound(goal="optimum"))
    assert float(other.lower[0]) <= float(answer.upper[0]) + 1e-9
