"""Branch and bound against enumeration of phases, MILP, and its limits."""

from __future__ import annotations

import pytest

from tests.phases import exact_maximum
from tests.small_nets import NETWORKS, dense, problem
from verify.exact.branch_and_bound import BranchAndBound
from verify.ops import ReLU
from verify.solving import solve

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
