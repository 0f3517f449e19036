"""Input splitting against enumeration of phases, sampling and published verdicts."""

from __future__ import annotations

import csv
from math import inf

import pytest
import torch

from tests.support.helpers import SHARED, needs_shared
from tests.support.nets import nets
from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, dense, problem
from verify.exact.branch_and_bound import BranchAndBound
from verify.exact.search.clipping import MARGIN, Planes, clipped
from verify.exact.search.input_split import InputSplit
from verify.exact.search.limits import Limits
from verify.ir.load import load
from verify.ops import ReLU
from verify.problem import Problem, from_vnnlib
from verify.sets import Box
from verify.solving import solve
from verify.spec import Specification, margins
from verify.vnnlib import read_vnnlib

ACAS = SHARED / "vnncomp" / "acasxu"


def searched(p: Problem, cutoff: float, steps: int = 200) -> InputSplit:
    """The frontier after at most so many steps at one cutoff for all cases."""
    p = p.merged
    level = torch.full((p.cases,), cutoff, dtype=torch.float64)
    frontier = InputSplit(p, level)
    for _ in range(steps):
        if not bool(frontier.is_open().any()):
            break
        frontier.step(level, Limits())
    return frontier


@pytest.mark.parametrize("kind", ["untargeted", "conjunctive"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_bound_closes_on_the_maximum_over_all_phases(name: str, kind: str) -> None:
    p = problem(NETWORKS[name](7), kind, 11)
    exact = exact_maximum(p)
    above = searched(p, exact + 1e-3)
    assert not bool(above.is_open().any())
    assert exact - 1e-6 <= above.certified(inf).item() < exact + 1e-3
    below = searched(p, exact - 1e-3, steps=5)  # there is something to find, so the search must not end
    assert below.certified(inf).item() >= exact - 1e-6


@pytest.mark.parametrize("name", ["smooth", "clipped", "dense"])
def test_bounds_of_every_step_lie_above_samples(name: str) -> None:
    net = nets()[name]
    middle = torch.rand((2, *net.input_shape), generator=torch.Generator().manual_seed(1))
    box, spec = Box(middle - 0.4, middle + 0.4), margins(torch.tensor([0, 2]), 3)
    p = Problem(net, box, spec, torch.arange(2), 2).merged
    noise = torch.Generator().manual_seed(2)
    best = torch.stack([p.in_float64.violation(box.double().sample(noise)) for _ in range(2000)]).amax(0)
    cutoff = best + 1e-2
    frontier = InputSplit(p, cutoff)
    before = first = frontier.certified(inf)
    for _ in range(12):
        frontier.step(cutoff, Limits())
        upper = frontier.certified(inf)
        assert bool((upper >= best - 1e-9).all())
        assert bool((upper <= before + 1e-12).all())
        before = upper
    assert bool((before - best <= (0.5 * (first - best)).clamp(min=0.03)).all())


def test_proposals_are_members_and_belong_to_their_cases() -> None:
    p = problem(dense(ReLU(), (4, 8, 3), 3), "untargeted", 5).merged
    frontier = InputSplit(p, torch.full((1,), -100.0, dtype=torch.float64))
    for _ in range(4):
        cases, points = frontier.step(torch.full((1,), -100.0, dtype=torch.float64), Limits())
        wide = p.inputs.double().select(cases)
        assert len(cases)
        assert bool(((points >= wide.low - 1e-12) & (points <= wide.high + 1e-12)).all())


def test_settled_cases_are_dropped_and_the_others_go_on() -> None:
    parts = [problem(dense(ReLU(), (3, 6, 3), seed), "untargeted", seed) for seed in (1, 1)]
    one = parts[0]
    index = torch.zeros(2, dtype=torch.long)
    p = Problem(one.network, one.inputs.select(index), one.spec.select(index), torch.arange(2), 2).merged
    low = torch.full((2,), -100.0, dtype=torch.float64)
    frontier = InputSplit(p, low)
    frontier.step(low, Limits())
    frontier.step(torch.tensor([torch.inf, -100.0], dtype=torch.float64), Limits())
    assert frontier.is_open().tolist() == [False, True]


def test_a_degenerate_box_is_closed_with_its_value() -> None:
    one = problem(dense(ReLU(), (4, 8, 3), 2), "untargeted", 4)
    point = one.inputs.nominal()
    p = Problem(one.network, Box(point, point), one.spec, one.owner, 1).merged
    frontier = InputSplit(p, torch.full((1,), -100.0, dtype=torch.float64))
    assert not bool(frontier.is_open().any())
    torch.testing.assert_close(frontier.certified(inf), p.in_float64.violation(point.double()), rtol=0, atol=1e-9)


def test_no_number_closes_nothing() -> None:
    p = problem(dense(ReLU(), (2, 4, 3), 2), "untargeted", 4)
    huge = Specification(p.spec.output * 3e38, p.spec.offset, p.spec.disjunct, p.spec.mask)
    wide = Box(torch.full((1, 2), -3e38), torch.full((1, 2), 3e38))
    found = solve(Problem(p.network, wide, huge, p.owner, 1), BranchAndBound(domains=500))
    assert not found.upper.item() < 0


@pytest.mark.parametrize("seed", range(4))
def test_clipping_keeps_every_point_that_all_planes_allow(seed: int) -> None:
    noise = torch.Generator().manual_seed(seed)
    low = -torch.rand((50, 3), generator=noise, dtype=torch.float64)
    high = low + 2 * torch.rand((50, 3), generator=noise, dtype=torch.float64)
    slope = torch.randn((50, 2, 3), generator=noise, dtype=torch.float64)
    slope[:10, :, 1] = 0
    height = torch.randn((50, 2), generator=noise, dtype=torch.float64) * 0.5
    height[0, 0] = torch.inf
    new_low, new_high = clipped(low, high, Planes(slope, height))
    share = torch.rand((4000, 50, 3), generator=noise, dtype=torch.float64)
    x = low + share * (high - low)
    allowed = (torch.einsum("nkj,snj->snk", slope, x - (low + high) / 2) + height >= -MARGIN).all(2)
    kept = ((x >= new_low) & (x <= new_high)).all(2)
    assert bool(kept[allowed].all())
    assert 0.2 < float(kept.double().mean()) < 0.8  # it does cut


@needs_shared
@pytest.mark.parametrize(("net", "prop"), [
    ("1_1", "1"), ("1_2", "2"), ("3_3", "4"), ("1_9", "3"), ("2_9", "8"), ("1_1", "5"), ("4_9", "1"),
])
def test_published_verdicts_of_acasxu(net: str, prop: str) -> None:
    files = f"onnx/ACASXU_run2a_{net}_batch_2000.onnx", f"vnnlib/prop_{prop}.vnnlib"
    with open(ACAS / "expected.csv") as table:
        known = {(row["onnx"], row["vnnlib"]): row["verdict"] for row in csv.DictReader(table)}[files]
    p = from_vnnlib(load(str(ACAS / files[0])), read_vnnlib(ACAS / files[1]))
    found = solve(p, BranchAndBound(time_limit=60))
    assert (found.lower.item() >= 0) == (known == "sat")
    assert (found.upper.item() < 0) == (known == "unsat")
