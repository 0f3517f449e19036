"""Upper bounds hold in real arithmetic: against exact values of networks in which floats lose their digits."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import verify
from verify.bracket import Verdict
from verify.ir.evaluate import exact_value
from verify.ir.graph import Network
from verify.method import Method
from verify.problem import Problem
from verify.rationals import exact_array
from verify.sets import Ball, Box, InputSet
from verify.spec import Specification
from verify.upper.crown import sweep
from verify.upper.linear_bounds.rounding import Rounding

QUICK: list[Method] = [verify.Interval(), verify.CROWN(), verify.AlphaCROWN()]
DEAR: list[Method] = [
    verify.LP(), verify.ConvexLP(), verify.BranchAndBound(time_limit=1),
    verify.BranchAndBound(goal="optimum", time_limit=1), verify.MILP(), verify.SDP(),
]


def chain(random: torch.Generator, sizes: list[int], scale: float, dtype: torch.dtype) -> nn.Sequential:
    """Linear layers with weights of this scale in which rows nearly cancel, ReLU in between."""
    modules: list[nn.Module] = []
    for n, m in pairwise(sizes):
        layer = nn.Linear(n, m)
        weight = torch.randn((m, n), generator=random, dtype=torch.float64) * scale
        weight[:, n // 2 :] = -weight[:, : n - n // 2] * (1 + 2.0**-23 * torch.randn((m, 1), generator=random))
        layer.weight.data = weight.to(dtype)
        layer.bias.data = (torch.randn(m, generator=random, dtype=torch.float64) * scale).to(dtype)
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1]).to(dtype).eval()


def row_problem(network: Network, inputs: InputSet, row: Tensor, offset: float = 0.0) -> Problem:
    """max row . h(x) - offset."""
    output = row.to(network.dtype)[None, None]
    spec = Specification(
        output, torch.full((1, 1), offset, dtype=network.dtype), torch.zeros((1, 1), dtype=torch.long),
        torch.ones((1, 1), dtype=torch.bool),
    )
    return Problem(network, inputs, spec, torch.zeros(1, dtype=torch.long), 1)


def exact_violation(problem: Problem, x: Tensor) -> Fraction:
    """The one row of a problem at a point, in rationals."""
    image = exact_value(problem.network.unmerged or problem.network, exact_array(x)).reshape(-1)
    row = exact_array(problem.spec.output[0, 0])
    return sum((c * y for c, y in zip(row, image, strict=True)), Fraction(0)) - Fraction(float(problem.spec.offset))


def members(problem: Problem, seed: int) -> Tensor:
    """Corners, the middle and random ones."""
    low, high = problem.inputs.low[0].flatten(), problem.inputs.high[0].flatten()
    sides = torch.cartesian_prod(*([torch.tensor([0.0, 1.0])] * len(low))).reshape(-1, len(low)).to(low)
    points = [torch.where(side > 0, high, low) for side in sides] + [problem.inputs.nominal()[0].flatten()]
    random = torch.Generator().manual_seed(seed)
    points += [problem.inputs.sample(random)[0].flatten() for _ in range(20)]
    return torch.stack(points).reshape(-1, *problem.inputs.shape)


def assert_holds(problem: Problem, methods: list[Method], seed: int) -> None:
    points = members(problem, seed)
    inside = problem.inputs.select(torch.zeros(len(points), dtype=torch.long)).contains(points)
    best = max(exact_violation(problem, x) for x in points[inside])
    for method in methods:
        bracket = verify.solve(problem, method)
        upper = float(bracket.upper[0])
        assert upper == np.inf or Fraction(upper) >= best, (method.name, upper, float(best))
        assert bracket.verdicts != [Verdict.VERIFIED] or best < 0, method.name


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([1e-4, 1.0, 1e4, 1e9]), st.sampled_from([torch.float32, torch.float64]),
    st.booleans(),
)
def test_bounds_of_cancelling_networks_are_above_exact_values(
    seed: int, scale: float, dtype: torch.dtype, is_narrow: bool
) -> None:
    random = torch.Generator().manual_seed(seed)
    sizes = [2, 4, 3, 2]
    network = verify.trace(chain(random, sizes, scale, dtype), torch.zeros((1, 2), dtype=dtype))
    center = torch.rand((1, 2), generator=random).to(dtype)
    ball = Ball(center, "1/10000000" if is_narrow else "1/10")
    problem = row_problem(network, ball, torch.randn(2, generator=random))
    # the offset puts the answer where verdicts turn
    offset = float(problem.in_float64.network(center.double())[0] @ problem.spec.output[0, 0].double())
    problem = row_problem(network, problem.inputs, problem.spec.output[0, 0], offset)
    assert_holds(problem, QUICK, seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e6])
@pytest.mark.parametrize("method", DEAR, ids=lambda m: m.name)
def test_bounds_of_dear_methods_are_above_exact_values(method: Method, scale: float, dtype: torch.dtype) -> None:
    for seed in range(2):
        random = torch.Generator().manual_seed(seed)
        network = verify.trace(chain(random, [2, 3, 2], scale, dtype), torch.zeros((1, 2), dtype=dtype))
        center = torch.rand((1, 2), generator=random).to(dtype)
        assert_holds(row_problem(network, Ball(center, "1/10"), torch.randn(2, generator=random)), [method], seed)


def lost_digits(dtype: torch.dtype) -> nn.Module:
    """h(x) = ((x + 2^60) - 2^60 - x + 3/4, 0): float32 and float64 lose x on the way, in real arithmetic it is 3/4."""

    class Lost(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.far = nn.Linear(1, 1)
            self.back = nn.Linear(1, 1)
            self.far.weight.data, self.far.bias.data = torch.ones(1, 1), torch.tensor([2.0**60])
            self.back.weight.data, self.back.bias.data = torch.ones(1, 1), torch.tensor([-(2.0**60)])

        def forward(self, x: Tensor) -> Tensor:
            y = self.back(torch.relu(self.far(x)))
            return torch.cat([y - x - 0.25, 0 * y], 1)

    return Lost().to(dtype).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("method", [*QUICK, *DEAR[:4]], ids=lambda m: m.name)
def test_nothing_is_verified_where_float64_loses_the_digits_too(method: Method, dtype: torch.dtype) -> None:
    network = verify.trace(lost_digits(dtype), torch.zeros((1, 1), dtype=dtype))
    one = torch.ones((1, 1), dtype=dtype)
    for sign in (1.0, -1.0):  # the row is 1/4 or -1/4 exactly, and in floats something else
        row, offset = torch.tensor([sign, 0.0]), -0.5 if sign > 0 else 0.5
        problem = row_problem(network, Box(one, 2 * one), row, offset)
        exact = exact_violation(problem, torch.ones(1, dtype=dtype))
        bracket = verify.solve(problem, method)  # and no Contradiction
        assert Fraction(float(bracket.upper[0])) >= exact if float(bracket.upper[0]) < np.inf else True
        assert not (bracket.verdicts == [Verdict.VERIFIED] and exact >= 0)


def test_a_float32_witness_lies_below_the_bounds() -> None:
    one, two = nn.Linear(1, 3), nn.Linear(3, 2)
    one.weight.data = torch.tensor([[612.3046875], [18211.6484375], [-7.125]])
    one.bias.data = torch.tensor([-201.5009765625, -12001.873046875, -25111.12890625])
    two.weight.data = torch.tensor([[-91.2041015625, 455.1298828125, 113.75], [-301.8134765625, 322.0986328125, 1.5]])
    two.bias.data = torch.tensor([-78.5615234375, 111.0302734375])
    network = verify.trace(nn.Sequential(one, nn.ReLU(), two), torch.zeros(1, 1))
    problem = row_problem(network, Ball(torch.tensor([[0.3291]]), "1/3"), torch.tensor([0.1036, 0.1231]))
    assert_holds(problem, [*QUICK, *DEAR], 0)


def test_terms_are_far_below_what_bounds_are_about() -> None:
    """And no box of the sweep is wider for them by more than that."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    network = verify.trace(module.eval(), torch.zeros(1, 1, 8, 8))
    problem = verify.robustness(network, torch.rand(1, 1, 8, 8), [0], eps="1/50").in_float64.merged
    backward, boxes = sweep(problem.network, problem.inputs)
    assert isinstance(backward.rounding, Rounding)
    for name, field in backward.rounding.fields.items():
        assert float(field.max()) <= 1e-12 * float(boxes[name].high.abs().max())


def test_folded_constants_count_with_the_sizes_that_cancelled() -> None:
    torch.manual_seed(0)
    layer, norm = nn.Linear(2, 3), nn.BatchNorm1d(3)
    assert norm.running_mean is not None
    norm.running_mean.fill_(2.0**40)
    layer.bias.data.fill_(2.0**40)
    network = verify.trace(nn.Sequential(layer, norm, nn.ReLU(), nn.Linear(3, 2)).eval(), torch.zeros(1, 2))
    merged = verify.robustness(network, torch.rand(1, 2), [0], eps="1/50").in_float64.merged.network
    folded = merged.graph.nodes[0]
    assert float(merged.constants[folded.name].min()) > 2.0**40


def test_deciding_on_large_networks_bounds_what_float32_leaves_open_by_intervals() -> None:
    torch.manual_seed(0)
    network = verify.trace(nn.Sequential(nn.Linear(4, 3000), nn.ReLU(), nn.Linear(3000, 3)).eval(), torch.zeros(1, 4))
    x = torch.rand(6, 4)
    for eps in ("1/1000", "1/2"):
        problem = verify.robustness(network, x, network(x).argmax(1), eps=eps)
        methods = (verify.CROWN("decide"), verify.CROWN(), verify.Interval())
        loose, tight, box = (verify.solve(problem, method) for method in methods)
        verified = tight.upper < 0
        assert torch.equal(loose.upper < 0, verified)
        assert torch.equal(loose.upper[~verified], box.upper[~verified])
        assert bool((tight.upper <= loose.upper).all())
    unknown: Any = "verify"
    with pytest.raises(verify.InputError, match="decide, optimum"):
        verify.CROWN(unknown)
