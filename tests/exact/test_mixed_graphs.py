"""Branch and bound over graphs that mix all families, against a grid and ever smaller boxes about its best points."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.support.mixed_graphs import FAMILIES, largest, mixed_network, mixed_problem, points_of, violations
from verify.exact import branch_and_bound
from verify.exact.branch_and_bound import BranchAndBound
from verify.exact.programs.relaxed import BoxDomains, Relaxed
from verify.exact.search.neuron_split import NeuronSplit
from verify.exact.search.tasks import Tasks
from verify.ir.builder import GraphBuilder
from verify.ops import Add, Linear, Sin
from verify.problem import Problem, robustness
from verify.solving import solve

FEW = (19, 21, 23, 35)
MANY = 200
GAP, NEAR = 1e-3, 1e-9
FLOATS = 1e-4  # what float32 costs the lower side, relative to the maximum
WIDTHS = (1.0, 0.1, 1e-3, 1e-6)  # of sub-boxes, as shares of the box
SECONDS = 20.0
OPEN = 0.1  # of many graphs, which have jumps or cancelling factors behind several inputs: halving boxes takes too long


def problem_of(seed: int) -> Problem:
    """A problem in float32 or in float64."""
    return mixed_problem(seed, torch.float64 if seed % 2 else torch.float32)


def is_closed(seed: int) -> bool:
    """Whether the bracket, which must hold the maximum, is no wider than the gap."""
    problem = problem_of(seed)
    most = largest(problem)
    found = solve(problem, BranchAndBound(goal="optimum", gap=GAP, time_limit=SECONDS))
    lower, upper = found.lower.item(), found.upper.item()
    assert upper >= most - NEAR * (1 + abs(most)), seed
    assert lower <= most + GAP, seed
    return upper - lower <= GAP + FLOATS * (1 + abs(most))


def check_parts(seed: int) -> None:
    """Bounds of sub-boxes lie above all values at corners and random points, before and after a descent."""
    problem = problem_of(seed).in_float64.merged
    whole, tasks = problem.inputs, Tasks(problem)
    rng = torch.Generator().manual_seed(seed)
    width = (whole.high - whole.low) * torch.tensor(WIDTHS, dtype=torch.float64)[:, None]
    low = whole.low + torch.rand(width.shape, generator=rng, dtype=torch.float64) * (whole.high - whole.low - width)
    high = (low + width).minimum(whole.high)
    seen = least_rows(problem, tasks, points_of(low, high, 300, seed))
    for task in range(len(tasks.case)):
        n = torch.arange(len(low))
        above = torch.full(n.shape, torch.inf, dtype=torch.float64)
        relaxed = Relaxed(problem, tasks, BoxDomains(torch.full_like(n, task), low, high, above, n))
        for bounds in (relaxed.bounds, relaxed.optimised(n).bound):
            assert bool((bounds >= seen[task] - NEAR * (1 + seen[task].abs())).all()), (task, bounds, seen[task])


def least_rows(problem: Problem, tasks: Tasks, x: Tensor) -> Tensor:
    """The largest value, over the points (boxes, points, inputs) of each box, of the least row of each task; (tasks,
    boxes)."""
    flat = x.flatten(0, 1)
    spec = problem.spec.select(torch.zeros(len(flat), dtype=torch.long))
    rows = spec.values(flat, problem.network(flat))
    least = [rows[:, spec.disjunct[0] == disjunct].amin(1) for disjunct in tasks.disjunct.tolist()]
    return torch.stack(least).reshape(len(least), *x.shape[:2]).amax(2)


@pytest.mark.parametrize("seed", FEW)
def test_the_optimum_is_that_of_a_grid(seed: int) -> None:
    assert is_closed(seed)


@pytest.mark.parametrize("seed", range(4))
def test_bounds_of_parts_lie_above_their_values(seed: int) -> None:
    check_parts(seed)


def test_every_family_is_drawn() -> None:
    kinds = set[str]()
    for seed in range(20):
        kinds |= mixed_network(seed)[2]
    assert kinds == FAMILIES.keys()


def test_ranges_of_a_branch_are_refined_beside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows over the second product never meet the first."""
    rng, builder = torch.Generator().manual_seed(0), GraphBuilder("x", (2,), torch.float64)

    def linear(x: str) -> str:
        weight = torch.randn((2, 2), generator=rng, dtype=torch.float64)
        return builder.add("linear", Linear(), (x,), (builder.parameter("weight", weight),))

    first, second = (builder.product("product", linear("x"), linear("x")) for _ in range(2))
    bent = builder.add("bent", Sin(), (linear(second),))
    network = builder.finish(builder.add("sum", Add((1, 1)), (first, bent)))
    x = torch.zeros((1, 2), dtype=torch.float64)
    problem = robustness(network, x, [0], 1, clip=None)
    monkeypatch.setattr(branch_and_bound, "frontier_of", lambda p, c, limits, record: NeuronSplit(p, c, limits, record))
    found = solve(problem, BranchAndBound(goal="optimum", domains=10))
    assert found.upper.item() >= float(violations(problem, points_of(x - 1, x + 1, 500, 0)[0]).max())


@pytest.mark.conformance
def test_the_optimum_of_most_of_many_graphs() -> None:
    left = [seed for seed in range(MANY) if not is_closed(seed)]
    assert len(left) <= OPEN * MANY, left


@pytest.mark.conformance
@pytest.mark.parametrize("seed", range(MANY))
def test_bounds_of_parts_of_many_graphs(seed: int) -> None:
    check_parts(seed)


@pytest.mark.conformance
@pytest.mark.parametrize("seed", range(MANY))
def test_splits_of_ranges_are_sound_over_many_graphs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(seed)
    monkeypatch.setattr(branch_and_bound, "frontier_of", lambda p, c, limits, record: NeuronSplit(p, c, limits, record))
    found = solve(problem, BranchAndBound(goal="optimum", gap=GAP, domains=2000, time_limit=10.0))
    most = largest(problem)
    assert found.upper.item() >= most - NEAR * (1 + abs(most))
