"""Inputs that are one number are constants: they are not split, not counted, and have no columns."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import verify
from verify.bracket import Verdict
from verify.exact.search.branching_choice import dependent_neurons, frontier_of
from verify.exact.search.input_split import InputSplit
from verify.exact.search.limits import Limits
from verify.exact.search.neuron_split import NeuronSplit
from verify.ops.base import IntervalBounds, Nonlinear
from verify.problem import Problem
from verify.proof.prover import prove
from verify.sets import Box
from verify.spec import Specification
from verify.upper.linear_bounds.forward import Forward

ACTS = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class Branches(nn.Module):
    """A branch of the first `pinned` inputs and one of the others, added up by further layers."""

    def __init__(self, act: type[nn.Module], pinned: int, free: int, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.pinned = pinned
        self.first, self.second = nn.Linear(pinned, 8), nn.Linear(free, 8)
        self.act, self.joined, self.last = act(), nn.Linear(16, 8), nn.Linear(8, 1)
        with torch.no_grad():
            for p in self.parameters():
                p.mul_(2)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.act(self.first(x[:, : self.pinned])), self.act(self.second(x[:, self.pinned :]))]
        return self.last(self.act(self.joined(torch.cat(parts, 1))))


def decimals(pinned: int, free: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) (1, inputs) rationals: decimals of three digits, the last ones 1 wide on both sides."""
    middle = [Fraction(int(v), 1000) for v in np.random.default_rng(seed).integers(-999, 1000, pinned + free)]
    width = [Fraction(0)] * pinned + [Fraction(1)] * free
    low, high = (np.array([[m + s * w for m, w in zip(middle, width, strict=True)]], object) for s in (-1, 1))
    return low, high


def asked(act: str, pinned: int, free: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[Problem, float]:
    """Is the output anywhere above its sampled maximum and a twentieth of its spread? And that spread."""
    module = Branches(ACTS[act], pinned, free, seed).to(dtype).eval()
    network = verify.trace(module, torch.zeros(1, pinned + free, dtype=dtype))
    box = Box(*decimals(pinned, free, seed), dtype=dtype)
    share = torch.rand(100_000, pinned + free, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    with torch.no_grad():
        y = module(box.low + share * (box.high - box.low))
    spread = float(y.max() - y.min())
    offset, one = torch.full((1, 1), float(y.max()) + spread / 20, dtype=dtype), torch.ones(1, 1, dtype=torch.bool)
    spec = Specification(torch.ones(1, 1, 1, dtype=dtype), offset, torch.zeros(1, 1, dtype=torch.long), one)
    return Problem(network, box, spec, torch.zeros(1, dtype=torch.long), 1).merged, spread


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_one_number_rounds_to_does_not_vary(dtype: torch.dtype) -> None:
    low = np.array([["1/10", "-1/3", "0", "1", "1/10", "1/1024", "1000000007/10"]], object)
    exact = np.vectorize(Fraction, otypes=[object])(low)
    moved = exact.copy()
    moved[0, 4] += Fraction(1, 10**6)
    box = Box(exact, moved, dtype)
    assert bool((box.low < box.high)[0, 0])
    assert box.varies.tolist() == [[False, False, False, False, True, False, False]]
    assert not bool(verify.robustness(verify.trace(nn.Linear(2, 2), torch.zeros(1, 2)), torch.rand(3, 2), [0] * 3, 0)
                    .inputs.varies.any())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("act", ACTS)
def test_a_branch_of_pinned_inputs_costs_no_splits(act: str, seed: int) -> None:
    given, _ = asked(act, 3, 3, seed)
    bracket = verify.solve(given, verify.BranchAndBound(domains=3000))
    assert bracket.verdicts == [Verdict.VERIFIED], bracket.notes


def test_inputs_are_split_where_few_vary_among_many() -> None:
    given, spread = asked("relu", 226, 4, 0)
    frontier = frontier_of(given, torch.zeros(1, dtype=torch.float64), Limits())
    assert isinstance(frontier, InputSplit)
    assert dependent_neurons(given.network, given.inputs.varies).tolist() == [16]
    varies = given.inputs.varies.any(0)
    forward = Forward(given.network, IntervalBounds(given.inputs.low, given.inputs.high), varies)
    assert len(forward.forms[given.network.graph.input].columns) == 4
    assert verify.solve(given, verify.BranchAndBound(domains=3000)).verdicts == [Verdict.VERIFIED]
    many, _ = asked("relu", 2, 20, 0)
    assert isinstance(frontier_of(many, torch.zeros(1, dtype=torch.float64), Limits()), NeuronSplit)
    assert spread > 0


def test_a_search_never_halves_a_constant() -> None:
    given, _ = asked("tanh", 3, 2, 1)
    frontier = InputSplit(given, torch.tensor([-torch.inf], dtype=torch.float64))  # nothing is ever closed
    for _ in range(5):
        frontier.step(torch.tensor([-torch.inf], dtype=torch.float64), Limits())
    parts = frontier.pool.parts
    here = frontier.pool.filled()
    assert len(here) > 8
    assert bool((parts[4][here] >= 3).all())


def test_a_box_that_holds_one_point_is_closed_as_it_is() -> None:
    given, _ = asked("sigmoid", 3, 2, 2)
    low, high = given.inputs.double().low, given.inputs.double().low
    point = Problem(given.network, Box(low.float(), high.float()), given.spec, given.owner, 1)
    frontier = InputSplit(point, torch.tensor([-torch.inf], dtype=torch.float64))
    frontier.step(torch.tensor([-torch.inf], dtype=torch.float64), Limits())
    assert not bool(frontier.is_open().any())
    attained = float(point.in_float64.violation(low.float().double()))
    assert float(frontier.certified(60.0)) == pytest.approx(attained, abs=1e-9)


@pytest.mark.parametrize("act", ACTS)
def test_forms_hold_what_pinned_inputs_are(act: str) -> None:
    """The inputs without columns are moved by a thousandth, far more than rounding would."""
    given, _ = asked(act, 3, 3, 3, torch.float64)
    varies = given.inputs.varies[0]
    middle = (given.inputs.low + given.inputs.high) / 2
    low, high = (torch.where(varies, end, middle + side) for end, side in
                 ((given.inputs.low, -1e-3), (given.inputs.high, 1e-3)))
    start, source = IntervalBounds(low, high), given.network.graph.input
    forward, boxes = Forward(given.network, start, varies), {source: start}
    assert forward.rounding is not None
    share = torch.rand(2000, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share[::2] = share[::2].round()
    values = {source: low + share * (high - low)}
    for node, p in given.network.walk():
        boxes[node.name] = forward.rounding.see(node, boxes)
        values[node.name] = node.op.forward(p, *(values[name] for name in node.inputs))
        if isinstance(node.op, Nonlinear):
            box = boxes[node.inputs[0]]
            forward.relax(node, box, node.op.relax(p, box))
        else:
            forward.visit(node)
        found = forward.forms[node.name].box
        assert bool((found.low - 1e-12 <= values[node.name]).all())
        assert bool((values[node.name] <= found.high + 1e-12).all())


def test_a_problem_with_pinned_inputs_is_certified() -> None:
    given, _ = asked("relu", 4, 3, 5)
    proof = prove(given, seconds=60)
    assert proof.certificate is not None, proof.reason


def test_what_is_no_number_or_unbounded_is_no_constant() -> None:
    ends = torch.tensor([[0.1, 1e9, torch.nan, -torch.inf, 0.0]]), torch.tensor([[0.1, 1e9 + 64, 1.0, torch.inf, 1e-3]])
    assert IntervalBounds(*ends).is_wide.tolist() == [[False, False, True, True, True]]
