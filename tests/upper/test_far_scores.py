"""Softmax over scores that lie far apart: rounding makes no pole of a sum that is at least 1."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import verify
from tests.support.onnx_models import Model
from tests.upper.test_upper_rounding import row_problem
from verify.check.checker import check
from verify.errors import Unbounded
from verify.exact.search.branching import split_points
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.method import Method
from verify.ops import Exp, Power, Sum
from verify.ops.base import IntervalBounds
from verify.problem import Problem
from verify.proof.prover import ModelFile, prove
from verify.sets import Box
from verify.solvers.encoding import encode_network
from verify.upper.crown import linear_boxes
from verify.upper.duals.root_bounds import Root
from verify.upper.linear_bounds.rounding import Rounding

MIX = torch.tensor([[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [-0.5, 0.3, 0.9]])
AT, ROW = torch.tensor([[0.6, 0.2, 0.25]]), torch.tensor([-1.0, 1.0, 0.0])
TIME = "the time limit was reached"  # and not that no part can be split
METHODS: list[Method] = [
    verify.Interval(), verify.CROWN(), verify.AlphaCROWN(), verify.LP(),
    verify.BranchAndBound(goal="optimum", time_limit=0.3),
]


class Scores(nn.Module):
    """Mixtures by the softmax of scores that are up to `far` apart over the unit box."""

    def __init__(self, far: float, kind: str):
        super().__init__()
        self.far, self.kind = far, kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "attention":
            q = x.reshape(-1, 3, 1)
            return torch.softmax(self.far * q @ q.transpose(1, 2), -1).reshape(-1, 9) @ torch.cat([MIX] * 3) / 3
        z = self.far * x
        if self.kind == "softmax":
            return torch.softmax(z, -1) @ MIX
        e = torch.exp(z - z.amax(-1, keepdim=True))
        return (e / e.sum(-1, keepdim=True)) @ MIX


def asked(network: Network, eps: float) -> Problem:
    return row_problem(network, Box(AT - eps, AT + eps), ROW)


def sampled(module: nn.Module, problem: Problem) -> float:
    points = problem.inputs.low + (problem.inputs.high - problem.inputs.low) * torch.rand(
        (4096, 3), generator=torch.Generator().manual_seed(0))
    return float((module(points).double() @ ROW.double()).max())


@pytest.mark.parametrize(("kind", "far"), [("softmax", 100), ("softmax", 1000), ("spelled", 100), ("attention", 100)])
def test_scores_far_apart_have_bounds(kind: str, far: float) -> None:
    module = Scores(far, kind)
    problem = asked(verify.trace(module, AT), 0.2)
    most = sampled(module, problem)
    for method in METHODS:
        bracket = verify.solve(problem, method)
        assert most - 1e-5 <= float(bracket.upper) < 2.2, method.name  # by intervals of the three probabilities


@pytest.mark.parametrize("kind", ["softmax", "attention"])
def test_a_search_splits_what_float32_does_not_hold(kind: str) -> None:
    """Eighteen inputs vary, so that ranges of exponents are split; exp(100) is beyond float32."""
    g = torch.Generator().manual_seed(0)
    first = nn.Linear(18, 3)
    first.weight.data, first.bias.data = torch.randn((3, 18), generator=g) / 18, torch.zeros(3)
    module = nn.Sequential(first, Scores(250.0, kind)).eval()
    x = torch.zeros(1, 18)
    problem = row_problem(verify.trace(module, x), Box(x - 1, x + 1), ROW, offset=1.2)
    root = Root.of(problem.merged)
    assert root.dual.network.dtype == root.problem.network.dtype == torch.float64
    assert Root.of(row_problem(problem.network, Box(x - 0.01, x + 0.01), ROW).merged).dual.low.dtype == torch.float32
    before = verify.solve(problem, verify.AlphaCROWN())
    after = verify.solve(problem, verify.BranchAndBound(time_limit=2))
    assert float(after.upper) < 0 or (after.upper <= before.upper and after.notes["stopped"] == TIME)


def test_ranges_without_end_are_split_at_numbers() -> None:
    network = verify.trace(Scores(1.0, "softmax"), AT)
    dual = Root.of(asked(network, 0.2).merged).dual
    low = torch.tensor([-np.inf, 1.0, -np.inf, -3e38, 1.0])
    high = torch.tensor([np.inf, np.inf, -4.0, 3e38, 3.0])
    points = split_points(dual, torch.full((5,), -1), low, high)
    assert bool((points.isfinite() & (low <= points) & (points <= high)).all())
    assert points.tolist() == [0.0, 2.5, -7.0, 0.0, 2.0]


def test_certificates_of_scores_far_apart(tmp_path: Path) -> None:
    """By trees over inputs, compared with the file, whose softmax over all entries is no last layer."""
    model = Model(1, 3, opset=17)
    model_file = tmp_path / "far.onnx"
    p = model("Softmax", model("Mul", "x", np.full((1, 3), 100, np.float32)), axis=-1)
    model_file.write_bytes(model.proto(model("MatMul", p, MIX.numpy())).SerializeToString())
    problem = asked(verify.load(model_file), 0.2)
    most = sampled(Scores(100.0, "softmax"), problem)
    proof = prove(replace(problem, spec=replace(problem.spec, offset=problem.spec.offset + most + 0.1)),
                  source=ModelFile(model_file), seconds=100)
    assert proof.certificate is not None, proof.reason
    assert proof.compared
    assert check(proof.certificate, model=model_file.read_bytes()).accepted


def test_ends_of_sums_keep_their_sign_and_their_digits() -> None:
    """1 / sum of exp(z) and the root of a sum of squares, against mpmath at the corners."""
    for op, exponent in ((Exp(), Fraction(-1)), (Power(Fraction(2)), Fraction(1, 2))):
        b = GraphBuilder("x", (3,), torch.float64)
        total = b.add("t", Sum((0,), True, False), (b.add("e", op, ("x",)),))
        network = b.finish(b.add("y", Power(exponent), (total,)))
        low, high = torch.tensor([[-2.0, -80.0, 0.0]]).double(), torch.tensor([[90.0, 80.0, 0.0]]).double()
        boxes, rounding = {"x": IntervalBounds(low, high)}, Rounding.of(network, IntervalBounds(low, high))
        assert rounding is not None
        for node in network.graph.nodes:
            boxes[node.name] = rounding.see(node, boxes)
        with mpmath.workdps(80):
            f = mpmath.exp if isinstance(op, Exp) else lambda v: v**2
            least = [min(f(mpmath.mpf(a)), f(mpmath.mpf(c)), f(mpmath.mpf(0)) if a < 0 < c and f is not mpmath.exp
                         else mpmath.inf) for a, c in zip(low[0].tolist(), high[0].tolist(), strict=True)]
            most = [max(f(mpmath.mpf(a)), f(mpmath.mpf(c))) for a, c in zip(*(e[0].tolist() for e in (low, high)),
                                                                          strict=True)]
            exact = sorted(mpmath.mpf(sum(ends)) ** mpmath.mpf(float(exponent)) for ends in (least, most))
            box = boxes["y"]
            assert 0 <= mpmath.mpf(float(box.low)) <= exact[0]
            assert exact[1] <= mpmath.mpf(float(box.high)) <= exact[1] * (1 + mpmath.mpf(2) ** -40)


def test_a_program_over_values_without_bounds_says_which() -> None:
    network = verify.trace(Scores(1000.0, "softmax"), AT)
    problem = asked(network, 0.2)
    bracket = verify.solve(problem, verify.LP())
    assert "node" in str(bracket.notes["stopped"])
    assert float(bracket.upper) <= float(verify.solve(problem, verify.CROWN()).upper) + 1e-6
    wide = problem.in_float64.merged
    with pytest.raises(Unbounded, match=r"values of node .* have no bounds below 1e\+15"):
        encode_network(wide.network, wide.inputs, linear_boxes(wide.network, wide.inputs))
