"""Random search: members only, plateaus, narrow targets, windows, and what a case gets whatever stands beside it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import verify
from tests.support.nets import seeded
from verify.errors import InputError
from verify.ir.graph import Network
from verify.ir.layers import read_chain
from verify.lower.random_search import RandomSearch
from verify.problem import Problem
from verify.sets import Box
from verify.solving import solve
from verify.spec import Specification

LIMITS = {"evaluations": 0, "seed": 1.5}


def steps(*thresholds: float) -> Network:
    """How many coordinates of x are beyond their thresholds, by steep but flat-ended ramps, less 1/2 of their number
    where all count: (count - all + 1/2, 0)."""
    n, place = len(thresholds), torch.tensor(thresholds)
    first, last = nn.Linear(n, 2 * n), nn.Linear(2 * n, 2)
    with torch.no_grad():
        first.weight.copy_(1000 * torch.eye(n).repeat(2, 1))
        first.bias.copy_(torch.cat([-1000 * place, -1000 * place - 1]))
        last.weight.copy_(torch.stack([torch.cat([torch.ones(n), -torch.ones(n)]), torch.zeros(2 * n)]))
        last.bias.copy_(torch.tensor([0.5 - n, 0.0]))
    network = read_chain(nn.Sequential(first, nn.ReLU(), last), torch.zeros(1, n))
    assert network is not None
    return network


def boxed(network: Network, *boxes: tuple[torch.Tensor, torch.Tensor]) -> Problem:
    """Is the first output at least 0 in these boxes?"""
    n = len(boxes)
    low, high = (torch.stack(ends) for ends in zip(*boxes, strict=True))
    spec = Specification(torch.tensor([[[1.0, 0.0]]]).repeat(n, 1, 1), torch.zeros(n, 1),
                         torch.zeros(n, 1, dtype=torch.long), torch.ones(n, 1, dtype=torch.bool))
    return Problem(network, Box(low, high), spec, torch.arange(n), n)


def test_plateaus_are_climbed_step_by_step_where_gradients_are_zero() -> None:
    """A random point counts with chance 4^-20; each coordinate for itself is easy."""
    n = 20
    problem = boxed(steps(*[0.75] * n), (torch.zeros(n), torch.ones(n)))
    assert solve(problem, verify.PGD(restarts=2)).verdicts == ["unknown"]
    found = solve(problem, RandomSearch(evaluations=4000))
    assert found.verdicts == ["falsified"]
    assert found.witness is not None
    assert bool((found.witness > 0.75).all() and (found.witness <= 1).all())


def test_constants_among_the_coordinates_cost_nothing() -> None:
    """Two of 1,000 coordinates vary, and a cell of 1/900 is wanted."""
    n = 1000
    low = torch.full((n,), 0.9)
    high = low.clone()
    low[[7, 300]], high[[7, 300]] = 0.0, 1.0
    thresholds = [0.5] * n
    thresholds[7] = thresholds[300] = 29 / 30
    found = solve(boxed(steps(*thresholds), (low, high)), RandomSearch(evaluations=2000))
    assert found.verdicts == ["falsified"]
    assert found.witness is not None
    assert bool((found.witness[0] != 0.9).nonzero().flatten().tolist() == [7, 300])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_points_are_members_and_bounds_are_below_exact_ones(norm: str) -> None:
    module = seeded(nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.ReLU(), nn.Linear(12, 3)), 0)
    network = read_chain(module, torch.zeros(1, 3, 4, 4))
    assert network is not None
    x = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    problem = verify.robustness(network, x, network(x).argmax(1), "1/5", norm)
    found = solve(problem, RandomSearch(evaluations=300, stop_when_falsified=False))
    assert found.witness is not None
    assert bool(problem.inputs.contains(found.witness).all())
    torch.testing.assert_close(problem.violation(found.witness), found.lower, atol=1e-5, rtol=0)
    assert bool((found.lower > problem.violation(x)).all())
    assert bool((found.lower <= solve(problem, verify.CROWN()).upper).all())
    best = solve(problem, verify.PGD(restarts=10, stop_when_falsified=False)).lower
    share = (found.lower - problem.violation(x)) / (best - problem.violation(x))
    assert float(share.min()) > (0.6 if norm == "linf" else 0.2)


def test_a_case_gets_the_same_alone_and_it_stops_at_its_first_point() -> None:
    network = steps(0.6, 0.7)
    whole, part = (torch.zeros(2), torch.ones(2)), (torch.zeros(2), torch.full((2,), 0.8))
    both = solve(boxed(network, whole, part), RandomSearch(evaluations=200))
    for k, box in enumerate((whole, part)):
        alone = solve(boxed(network, box), RandomSearch(evaluations=200))
        assert alone.lower.item() == both.lower[k].item()
        assert alone.witness is not None
        assert both.witness is not None
        assert torch.equal(alone.witness[0], both.witness[k])


@pytest.mark.parametrize(("name", "value"), LIMITS.items())
def test_settings_out_of_range_are_told(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"RandomSearch has {name}={value}"):
        RandomSearch(**{name: value})  # type: ignore[arg-type]
