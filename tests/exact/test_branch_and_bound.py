"""Branch and bound against enumeration of phases, MILP, and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import verify
from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, dense, problem
from verify.errors import InputError
from verify.exact.branch_and_bound import BranchAndBound
from verify.exact.search.frontier import Frontier
from verify.exact.search.input_split import InputSplit
from verify.exact.search.neuron_split import NeuronSplit
from verify.exact.search.open_domains import OpenDomains
from verify.ops import ReLU
from verify.problem import Problem
from verify.sets import Ball
from verify.solving import solve
from verify.spec import Specification

KINDS = ("untargeted", "conjunctive", "polytope")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_optimum_is_the_maximum_over_all_phases(name: str, kind: str) -> None:
    p = problem(NETWORKS[name](7), kind, 11)
    exact = exact_maximum(p)
    found = solve(p, BranchAndBound(goal="optimum", gap=1e-3, time_limit=20))
    assert "stopped" not in found.notes
    assert found.lower.item() <= exact + 1e-5 * (1 + abs(exact))
    assert found.upper.item() >= exact - 1e-5 * (1 + abs(exact))
    assert found.upper.item() - found.lower.item() <= 1.1e-3


@pytest.mark.parametrize("seed", range(6))
def test_the_decision_is_the_sign_of_the_maximum(seed: int) -> None:
    p = problem(dense(ReLU(), (4, 8, 3), seed), "untargeted", seed)
    exact = exact_maximum(p)
    found = solve(p, BranchAndBound())
    assert (found.upper.item() < 0) == (exact < 0)
    assert (found.lower.item() >= 0) == (exact >= 0)


@pytest.mark.parametrize("frontier", [InputSplit, NeuronSplit])
@pytest.mark.parametrize("interrupted_at", [1, 2, 3])
def test_an_interruption_inside_a_step_loses_no_domain(
    frontier: type[Frontier], interrupted_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C strikes where a batch has left the pool and its children are not there yet."""
    p = problem(dense(ReLU(), (4, 12, 12, 3), 5), "untargeted", 1)
    exact = solve(p, BranchAndBound(goal="optimum")).lower.item()
    put, calls = OpenDomains.put, 0

    def interrupted(pool: OpenDomains, bounds: torch.Tensor, parts: Sequence[torch.Tensor]) -> None:
        nonlocal calls
        calls += 1
        if calls > interrupted_at:
            raise KeyboardInterrupt
        put(pool, bounds, parts)

    monkeypatch.setattr(OpenDomains, "put", interrupted)
    made = (lambda p, c, _, record: InputSplit(p, c, record)) if frontier is InputSplit else NeuronSplit
    monkeypatch.setattr("verify.exact.branch_and_bound.frontier_of", made)
    found = solve(p, BranchAndBound(goal="optimum", gap=1e-6))
    assert found.notes["stopped"] == "interrupted"
    assert found.upper.item() >= exact - 1e-5


def _affine(norm: str) -> Problem:
    """|x_0 + 0.3 x_1| and a random function of x, both over an affine network: a conjunction without any gap."""
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.3]]))
        layer.bias.zero_()
    network = verify.trace(nn.Sequential(layer), torch.zeros(1, 2))
    rows = torch.tensor([[[1.0], [-1.0]]])
    direct = torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(0))
    spec = Specification(rows, torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2) > 0, direct)
    return Problem(network, Ball(torch.full((1, 2), 0.4), "1/2", norm, (0, 1)), spec, torch.arange(1), 1)


@pytest.mark.parametrize("norm", ["linf", "l1", "l2"])
def test_a_conjunction_over_an_affine_network(norm: str) -> None:
    p = _affine(norm)
    x = p.inputs.select(torch.zeros(4000, dtype=torch.long)).sample(torch.Generator().manual_seed(1))
    best = p.spec.select(torch.zeros(4000, dtype=torch.long)).violation(x, p.network(x)).max().item()
    found = solve(p, BranchAndBound(goal="optimum", gap=1e-3, time_limit=10))
    assert found.upper.item() >= best - 1e-6
    assert found.upper.item() - found.lower.item() <= 1.1e-3 or "stopped" in found.notes
    assert found.upper.item() - found.lower.item() <= (1.1e-3 if norm == "linf" else 0.05)


def test_a_leaf_with_constant_rows() -> None:
    """v* = -0.0005 where relu(2x) crosses 0.9995, in an L2 ball, whose leaves are no linear programs."""
    network = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2))
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), ([[2.0]], [0.0], [[1.0], [-1.0]], [0.0, 0.0]), strict=True):
            parameter.copy_(torch.tensor(value))
    spec = Specification(
        torch.eye(2)[None], torch.tensor([[1.0, -0.999]]), torch.zeros(1, 2, dtype=torch.long), torch.ones(1, 2) > 0
    )
    ball = Ball(torch.zeros(1, 1), 1, "l2", None)
    p = Problem(verify.trace(network, torch.zeros(1, 1)), ball, spec, torch.arange(1), 1)
    found = solve(p, BranchAndBound(goal="optimum", time_limit=10))
    assert found.lower.item() <= -0.0005 + 1e-6
    assert found.upper.item() >= -0.0005 - 1e-6


@pytest.mark.parametrize(
    "settings", [{"gap": 0.0}, {"gap": float("inf")}, {"gap": "1"}, {"time_limit": "3"}, {"time_limit": -1},
                 {"domains": 1.5}, {"domains": True}, {"memory": 0}, {"goal": "guess"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        BranchAndBound(**settings)


def test_limits_end_with_a_bracket_and_the_reason() -> None:
    p = problem(dense(ReLU(), (8, 40, 40, 3), 2), "untargeted", 1)
    found = solve(p, BranchAndBound(goal="optimum", gap=1e-9, domains=10))
    assert "10 domains" in str(found.notes["stopped"])
    assert found.lower.item() <= found.upper.item() < float("inf")
    found = solve(p, BranchAndBound(goal="optimum", gap=1e-9, memory=1e-9))
    assert "GiB" in str(found.notes["stopped"])
