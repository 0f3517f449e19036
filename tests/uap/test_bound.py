"""How many samples one perturbation fools at most: never fewer than a dense grid of perturbations fools."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

import verify
from tests.support.small_nets import dense
from verify.bracket import Rigour
from verify.ir.evaluate import exact_value
from verify.ir.graph import Network
from verify.ops import ReLU
from verify.rationals import exact_array
from verify.sets import Ball
from verify.uap import halving
from verify.uap.conflicts import Elements, cliques, excluded, pairs
from verify.uap.counting import CountingProgram
from verify.uap.lines import SharedLines, SharedRelaxation
from verify.uap.problem import SharedProblem, shared_problem
from verify.uap.separation import Separation

NORMS = [("linf", None), ("linf", (0, 1)), ("l2", (0, 1)), ("l1", None)]
EPS = Fraction(2, 5)


def tiny(seed: int, widths: tuple[int, ...] = (2, 5, 3)) -> tuple[Network, Tensor]:
    rng = torch.Generator().manual_seed(100 + seed)
    return dense(ReLU(), widths, seed), torch.rand(7, widths[0], generator=rng)


def grid_of(problem: SharedProblem, steps: int = 41) -> Tensor:
    """Perturbations of two inputs that lie in the ball, (n, 2)."""
    line = torch.linspace(-1, 1, steps) * float(EPS)
    points = torch.cartesian_prod(line, line)
    return points[torch.stack([problem.ball.contains(point[None])[0] for point in points])]


def most_fooled(problem: SharedProblem, deltas: Tensor) -> int:
    """The largest count among these perturbations, by the network's own floats."""
    return max(int((problem.violations(delta) > 1e-6).sum()) for delta in deltas)


class Reciprocals(torch.nn.Module):
    """One over what a module computes."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return 1 / self.module(x)


QUICK = (("linf", (0, 1), 2), ("l1", None, 0))
SETS = [pytest.param(*norm, seed, marks=() if (*norm, seed) in QUICK else pytest.mark.conformance)
        for norm in NORMS for seed in range(8)]


@pytest.mark.parametrize(("norm", "clip", "seed"), SETS)
def test_no_perturbation_of_a_grid_beats_the_bound(norm: str, clip: tuple[int, int] | None, seed: int):
    network, x = tiny(seed)
    problem = shared_problem(network, x, None, EPS, norm, clip)
    counted = most_fooled(problem, grid_of(problem))
    found = verify.universal(network, x, eps=EPS, norm=norm, clip=clip, methods=[verify.UAPBound(20)])
    assert counted <= found.upper <= found.single[1]
    assert found.single[0] <= found.single[1]
    assert found.closed
    assert found.rigour in (Rigour.FLOAT, Rigour.PROVED)


@pytest.mark.parametrize(("norm", "clip", "seed"), SETS)
def test_no_perturbation_of_a_grid_beats_a_program_that_counts(
    norm: str, clip: tuple[int, int] | None, seed: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("verify.uap.bound.FEW", 0)  # no box is halved
    network, x = tiny(seed)
    problem = shared_problem(network, x, None, EPS, norm, clip)
    counted = most_fooled(problem, grid_of(problem))
    method = verify.UAPBound(1 if (norm, clip, seed) in QUICK else 8)
    found = verify.universal(network, x, eps=EPS, norm=norm, clip=clip, methods=[method])
    assert counted <= found.upper <= found.single[1]
    assert found.lower <= found.upper
    assert found.methods["bound"].notes["programs"] or found.closed


@pytest.mark.parametrize(("norm", "clip"), NORMS)
def test_lines_lie_above_their_rows_in_rationals(norm: str, clip: tuple[int, int] | None):
    network, x = tiny(5, (3, 6, 4, 3))
    problem = shared_problem(network, x, None, EPS, norm, clip)
    relaxation = SharedRelaxation(problem)
    first = relaxation.first()
    rng = torch.Generator().manual_seed(0)
    at = problem.ball.sample(rng)[0]
    lines = first + relaxation.near(first, at)
    assert not torch.equal(lines.slope[: len(first.owner)], lines.slope[len(first.owner) :])
    for delta in [torch.zeros(3), at, *(problem.ball.maximiser(torch.randn(1, 3, generator=rng))[0] for _ in range(3))]:
        d, slopes, offsets = exact_array(delta), exact_array(lines.slope), exact_array(lines.offset)
        for i in range(len(x)):
            moved = exact_array(x[i]) + d
            if clip is not None:
                moved = np.array([min(max(v, Fraction(clip[0])), Fraction(clip[1])) for v in moved], dtype=object)
            outputs = exact_value(network, moved)
            for k in (lines.owner == i).nonzero().flatten().tolist():
                value = exact_array(problem.each.spec.output[i, lines.row[k]]) @ outputs
                assert value <= slopes[k] @ d + offsets[k]


def test_lines_of_a_linear_network_are_its_rows():
    network, x = tiny(1, (4, 3))
    problem = shared_problem(network, x, None, EPS, "linf", None)
    lines = SharedRelaxation(problem).first()
    delta = problem.ball.sample(torch.Generator().manual_seed(0))[0]
    rows = problem.each.spec.values(x, network(x + delta))[lines.owner, lines.row]
    torch.testing.assert_close(lines.at(delta), rows.double(), rtol=1e-5, atol=1e-5)


def some_lines(seed: int, count: int = 7, size: int = 3) -> SharedLines:
    rng = torch.Generator().manual_seed(seed)
    slope = torch.randn(count, size, generator=rng, dtype=torch.float64)
    offset = -torch.rand(count, generator=rng, dtype=torch.float64)
    return SharedLines(torch.arange(count), torch.zeros(count, dtype=torch.long), slope, offset)


@pytest.mark.parametrize(("norm", "seed"), [("linf", 0), ("linf", 1), ("l2", 2)])
def test_what_lines_exclude_no_perturbation_reaches(norm: str, seed: int):
    lines = some_lines(seed, count=6)
    ball = Ball(torch.zeros(1, 3, dtype=torch.float64), EPS, norm, None)
    rng = torch.Generator().manual_seed(seed)
    points = torch.cat([ball.project(torch.randn(1, 3, generator=rng, dtype=torch.float64)) for _ in range(2000)])
    above = lines.slope @ points.T + lines.offset[:, None] >= 0  # (lines, points)
    conflicts, separation, out = pairs(lines, ball), Separation(ball), 0
    for i, j in combinations(range(len(lines.owner)), 2):
        both = bool((above[i] & above[j]).any())
        separated = separation.of(lines.take(torch.tensor([i, j])))
        assert not (both and (conflicts[i, j] or separated.weights is not None))
        assert separated.delta is None or bool(ball.contains(separated.delta[None])[0])
        out += separated.weights is not None
    assert out > 1
    assert not excluded(lines, torch.zeros(len(lines.owner), dtype=torch.float64), ball)
    covered = cliques(conflicts)
    assert {pair for c in covered for pair in combinations(sorted(c), 2)} >= {
        (i, j) for i, j in combinations(range(len(conflicts)), 2) if conflicts[i, j]}
    assert all(conflicts[i, j] for c in covered for i, j in combinations(c, 2))


@pytest.mark.parametrize("seed", range(3))
def test_a_program_counts_what_a_linear_network_allows(seed: int):
    lines = some_lines(seed, count=8, size=2)
    network, x = tiny(0, (2, 2))
    ball = shared_problem(network, x, None, EPS, "linf", None).ball.double()
    elements = Elements(lines.owner.numpy(), lines.row.numpy())
    program = CountingProgram(lines, np.arange(8), elements, ball, [])
    steps = torch.linspace(-1, 1, 201, dtype=torch.float64) * float(EPS)
    grid = torch.cartesian_prod(steps, steps)
    counted = int((lines.slope @ grid.T + lines.offset[:, None] >= 0).sum(0).max())
    found = program.solve()
    assert found.is_optimal
    assert counted <= found.upper <= counted + 1
    assert len(found.chosen) == found.upper
    assert program.proves(found.upper)
    assert not program.proves(found.upper - 1)
    ruled = CountingProgram(lines, np.arange(8), elements, ball, [(list(range(8)), 1)])
    assert ruled.solve().upper == min(counted, 1)


def test_a_shared_perturbation_fools_fewer_than_perturbations_of_their_own():
    network, x = tiny(1, (6, 3))
    found = verify.universal(network, x, eps="1/5", methods=[verify.StochasticUAP(epochs=10), verify.UAPBound(8)])
    assert found.closed
    assert found.upper < found.single[0]
    assert found.rigour == Rigour.FLOAT


def test_boxes_cover_the_ball_and_their_count_is_a_bound():
    network, x = tiny(3)
    problem = shared_problem(network, x, None, EPS, "linf", None)
    best = verify.universal(network, x, eps=EPS, methods=[]).problem
    assert best.count == problem.count
    low, high = problem.ball.low[0].double(), problem.ball.high[0].double()
    first, second = halving._halves(low, high, 1)
    assert bool((first[0] == low).all() & (second[1] == high).all())
    assert float(first[1][1]) == float(second[0][1])
    relaxation = SharedRelaxation(problem, first)
    lines = relaxation.first()
    for delta in (first[0], first[1], (first[0] + first[1]) / 2):
        rows = problem.each.spec.values(x, network(problem.moved(delta.float())))
        assert bool((rows[lines.owner, lines.row].double() <= lines.at(delta) + 1e-5).all())


def test_limits_are_kept_and_said():
    network, x = tiny(0)
    with pytest.raises(verify.InputError, match="time_limit=0"):
        verify.UAPBound(0)
    found = verify.universal(network, x, eps=EPS, methods=[verify.UAPBound()], time_limit=1e-9)
    assert found.upper == len(x)
    assert found.methods["bound"].notes["stopped"]


def test_a_row_without_a_finite_line_counts():
    x = torch.rand(4, 2, generator=torch.Generator().manual_seed(0))
    module = torch.nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, -1.0], [0.5, 1.0]]))
        module.bias.zero_()
    network = verify.trace(Reciprocals(module).eval(), torch.zeros(1, 2))
    found = verify.universal(network, x, eps=3, methods=[verify.UAPBound(0.5)])
    assert found.upper == found.single[1] == 4  # each sample is fooled near its pole
