"""Attacks: closed forms on linear networks, planted counterexamples, replay, and published errors."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from verify.errors import InputError
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.lower.engine.best import BestPoints
from verify.lower.fgsm import FGSM
from verify.lower.objectives.base import aimed
from verify.lower.objectives.smooth_maximum import SmoothMaximum
from verify.lower.pgd import PGD
from verify.ops import Linear, ReLU
from verify.problem import Problem, robustness
from verify.sets import Ball, Box, InputSet, Polytope
from verify.solving import solve
from verify.spec import Specification, margins


def dense(*sizes: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Network:
    """Linear layers with ReLU between them and random weights."""
    source = torch.Generator().manual_seed(seed)
    builder = GraphBuilder("x", (sizes[0],), dtype)
    value = "x"
    for k, (n, m) in enumerate(pairwise(sizes)):
        weight = torch.randn(m, n, generator=source, dtype=dtype) / n**0.5
        bias = torch.randn(m, generator=source, dtype=dtype) / 10
        names = builder.parameter(f"w{k}", weight), builder.parameter(f"b{k}", bias)
        value = builder.add(f"linear{k}", Linear(), (value,), names)
        if k < len(sizes) - 2:
            value = builder.add(f"relu{k}", ReLU(), (value,))
    return builder.finish(value)


def problem(network: Network, inputs: InputSet, spec: Specification) -> Problem:
    return Problem(network, inputs, spec, torch.arange(spec.cases), spec.cases)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("clip", [None, (0, 1)])
@pytest.mark.parametrize("method", [FGSM(), PGD(steps=5)])
def test_linear_networks_reach_the_closed_form(norm: str, clip: tuple[int, int] | None, method: FGSM | PGD) -> None:
    network = dense(12, 3)
    x, y = torch.rand(6, 12, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1, 2])
    x[:, :3] = torch.tensor([0.0, 1.0, 0.02])
    weight, bias = network.parameters["w0"].double(), network.parameters["b0"].double()
    goal = (y + 1) % 3
    found = solve(robustness(network, x, y, "0.3", norm, clip, goal), method).lower
    for i in range(6):
        a, b = weight[goal[i]] - weight[y[i]], bias[goal[i]] - bias[y[i]]
        exact = float(a @ x[i].double() + b) + gain(a, x[i].double(), 0.3, norm, clip)
        if isinstance(method, FGSM) or exact < 0:
            assert float(found[i]) == pytest.approx(exact, abs=1e-5)
        else:
            assert 0 <= float(found[i]) <= exact + 1e-5


def gain(a: Tensor, x: Tensor, eps: float, norm: str, clip: tuple[int, int] | None) -> float:
    """max of a . d over the ball around x: the dual norm, with the clip by greedy filling or by bisection."""
    if clip is None:
        return eps * float(a.norm(p={"linf": 1, "l2": 2, "l1": torch.inf}[norm]))
    room = torch.where(a > 0, clip[1] - x, x - clip[0])
    if norm == "linf":
        return float((a.abs() * room.clamp(max=eps)).sum())
    if norm == "l1":
        total, left = 0.0, eps
        for size, most in sorted(zip(a.abs().tolist(), room.tolist(), strict=True), reverse=True):
            used = min(left, most)
            total, left = total + size * used, left - used
        return total
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if float((a.abs() * middle).minimum(room).norm()) < eps else (low, middle)
    return float((a.abs() * (a.abs() * low).minimum(room)).sum())


def some_sets(batch: int, size: int, dtype: torch.dtype) -> list[InputSet]:
    x = torch.rand(batch, size, generator=torch.Generator().manual_seed(5), dtype=dtype)
    thin = Box(x, x + torch.tensor([0.0] + [0.4] * (size - 1), dtype=dtype))
    rows = np.full((batch, 1, size), Fraction(1), dtype=object)
    rational = [[Fraction(v).limit_denominator(100) for v in row] for row in x.sum(1, keepdim=True).tolist()]
    cut = Polytope(thin, rows, np.array(rational, dtype=object) + Fraction(3, 5))
    balls = [Ball(x, "1/5", norm, clip) for norm in ("linf", "l2", "l1") for clip in (None, (0, 1))]
    return [thin, cut, *balls]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_witness_replays_and_pgd_is_no_worse_than_fgsm(dtype: torch.dtype) -> None:
    network = dense(6, 16, 16, 4, seed=3, dtype=dtype)
    spec = margins(torch.tensor([0, 1, 2, 3, 0]), 4, dtype=dtype)
    for inputs in some_sets(5, 6, dtype):
        given = problem(network, inputs, spec)
        clean = given.violation(inputs.nominal())
        lowers = [clean]
        for method in (FGSM(), PGD(20, stop_when_falsified=False), PGD(20, restarts=4, stop_when_falsified=False)):
            found = solve(given, method)
            assert found.witness is not None
            assert found.witness.dtype == dtype
            assert bool(inputs.contains(found.witness).all())
            point, outputs = found.witness.double(), network(found.witness).double()
            least = given.in_float64.violation(point).minimum(given.in_float64.spec.violation(point, outputs))
            assert bool((found.lower.double() <= least).all())  # rounded down
            torch.testing.assert_close(found.lower.double(), least, rtol=torch.finfo(dtype).eps * 8, atol=1e-12)
            assert bool((found.lower >= lowers[-1] - 1e-6).all())
            lowers.append(found.lower)
        quick = solve(given, PGD(20, restarts=4))
        assert torch.equal(quick.lower >= 0, lowers[-1] >= 0)
        assert bool((quick.lower <= lowers[-1] + 1e-6).all())
        assert bool((lowers[2] > clean + 1e-3).all())


def planted(bumps: int, height: float) -> Network:
    """y = (0, sum of bumps - 1/2): a tent of this height around +-0.7 in the first of three inputs, else -1/2."""
    builder = GraphBuilder("x", (3,))
    at = [0.7, -0.7][:bumps]
    places = torch.tensor([[c - 0.3, c, c + 0.3] for c in at]).flatten()
    first = builder.add("first", Linear(), ("x",), (
        builder.parameter("w", torch.tensor([[1.0, 0.0, 0.0]]).repeat(len(places), 1)), builder.parameter("b", -places),
    ))
    hidden = builder.add("hidden", ReLU(), (first,))
    slopes = torch.tensor([1.0, -2.0, 1.0]).repeat(bumps) * height / 0.3
    second = builder.add("second", Linear(), (hidden,), (
        builder.parameter("v", torch.stack([torch.zeros(len(slopes)), slopes])),
        builder.parameter("c", torch.tensor([0.0, -0.5])),
    ))
    return builder.finish(second)


def test_restarts_find_a_counterexample_that_the_gradient_at_the_center_does_not_see() -> None:
    given = robustness(planted(1, 0.8), torch.zeros(1, 3), [0], 1, clip=None)
    assert float(solve(given, PGD()).lower) == -0.5  # the gradient is 0 there
    found = solve(given, PGD(restarts=20))
    assert float(found.lower) >= 0
    assert found.witness is not None
    assert abs(float(found.witness[0, 0]) - 0.7) < 0.3
    best = solve(given, PGD(200, restarts=20, stop_when_falsified=False))
    assert float(best.lower) == pytest.approx(0.3, abs=0.03)


def test_a_conjunction_needs_all_of_its_rows() -> None:
    """y_1 >= 0.2 and y_2 >= 0.1 and x_0 <= 0.5, or the impossible y_3 >= 1000."""
    network = dense(4, 20, 20, 4, seed=1)
    inputs = Box(-torch.ones(1, 4), torch.ones(1, 4))
    grid = torch.cartesian_prod(*[torch.linspace(-1, 1, 15)] * 4)
    output = torch.zeros(1, 4, 4)
    output[0, 0, 1] = output[0, 1, 2] = output[0, 3, 3] = 1
    extra = torch.zeros(1, 4, 4)
    extra[0, 2, 0] = -1
    offset, disjunct = torch.tensor([[0.2, 0.1, -0.5, 1000.0]]), torch.tensor([[0, 0, 0, 1]])
    spec = Specification(output, offset, disjunct, torch.ones(1, 4, dtype=torch.bool), extra)
    everywhere = spec.select(torch.zeros(len(grid), dtype=torch.long)).violation(grid, network(grid))
    found = solve(problem(network, inputs, spec), PGD(restarts=6, stop_when_falsified=False))
    assert float(found.lower) >= float(everywhere.max()) - 1e-3


def test_cases_of_one_problem_share_a_verdict() -> None:
    network, x = dense(3, 8, 2, seed=2), torch.zeros(4, 3)
    inputs = Box(x - 0.1, x + torch.tensor([0.1, 1.0, 0.1, 2.0])[:, None])
    spec = margins(torch.zeros(4, dtype=torch.long), 2)
    each = solve(problem(network, inputs, spec), PGD(stop_when_falsified=False)).lower
    both = solve(Problem(network, inputs, spec, torch.tensor([0, 0, 1, 1]), 2), PGD(stop_when_falsified=False)).lower
    assert torch.allclose(both, each.reshape(2, 2).amax(1), atol=1e-6)


@pytest.mark.parametrize("stop", [True, False])
def test_a_batch_gives_what_its_members_give_alone(stop: bool) -> None:
    network = dense(6, 16, 4, seed=4)
    x, y = torch.rand(7, 6, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    method = PGD(10, restarts=3, seed=7, stop_when_falsified=stop)
    for norm in ("linf", "l2", "l1"):
        together = solve(robustness(network, x, y, "0.2", norm), method)
        alone = [solve(robustness(network, x[i : i + 1], y[i : i + 1], "0.2", norm), method).lower for i in range(7)]
        assert torch.allclose(together.lower, torch.cat(alone), atol=1e-2)  # ascent magnifies rounding
        again = solve(robustness(network, x, y, "0.2", norm), method)
        assert torch.equal(together.lower, again.lower)


def test_small_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = dense(6, 16, 4, seed=4), torch.rand(9, 6, generator=torch.Generator().manual_seed(2))
    given = robustness(network, x, [0, 1, 2, 3, 0, 1, 2, 3, 0], "0.2")
    method = PGD(10, restarts=4)
    whole = solve(given, method).lower
    monkeypatch.setattr("verify.lower.engine.violation.MEMORY", {"cpu": 100})
    assert torch.allclose(solve(given, method).lower, whole, atol=1e-5)


def test_what_is_not_finite_spoils_only_its_own_sample() -> None:
    """The first output overflows for large inputs: inf - inf in the margin is NaN there."""
    builder = GraphBuilder("x", (2,))
    names = builder.parameter("w", torch.full((2, 2), 1e38)), builder.parameter("b", torch.tensor([0.0, -1e38]))
    network = builder.finish(builder.add("linear", Linear(), ("x",), names))
    inputs = Box(torch.tensor([[0.0, 0.0], [10.0, 10.0]]), torch.tensor([[1.0, 1.0], [20.0, 20.0]]))
    found = solve(problem(network, inputs, margins(torch.tensor([0, 0]), 2)), PGD(5, restarts=2))
    assert float(found.lower[0]) == pytest.approx(-1e38)
    assert float(found.lower[1]) == -torch.inf


def test_best_points_are_those_of_repeated_cases_and_no_nan() -> None:
    best = BestPoints(torch.zeros(3, 2))
    x = torch.arange(12.0).reshape(6, 2)
    best.offer_several(torch.tensor([0, 0, 2, 2, 1, 0]), torch.tensor([1.0, 3.0, 5.0, 5.0, torch.nan, -2.0]), x)
    assert best.values.tolist() == [3.0, -torch.inf, 5.0]
    assert best.points.tolist() == [[2.0, 3.0], [0.0, 0.0], [4.0, 5.0]]
    best.offer(torch.tensor([2, 1]), torch.tensor([4.0, -1.0]), x[:2])
    assert best.values.tolist() == [3.0, -1.0, 5.0]


def test_cold_weights_are_a_subgradient_and_warm_ones_a_softmax() -> None:
    rows = torch.tensor([[1.0, 2.0, 0.0, -5.0], [4.0, 4.0, 1.0, torch.nan]])
    disjunct = torch.tensor([[0, 0, 1, 1], [0, 1, 2, 2]])
    mask = torch.tensor([[True] * 4, [True, True, True, False]])
    spec = Specification(torch.zeros(2, 4, 1), torch.zeros(2, 4), disjunct, mask)
    free, smooth = aimed(spec, torch.tensor([-1, -1])), SmoothMaximum()
    assert smooth.slopes(spec, rows, free, 0.0).weights.tolist() == [[1, 0, 0, 0], [0.5, 0.5, 0, 0]]
    second = smooth.slopes(spec, rows, aimed(spec, torch.tensor([1, 7])), 0.0)
    assert second.weights.tolist() == [[0, 0, 0, 1], [0.5, 0.5, 0, 0]]
    assert second.value.tolist() == [-5, 4]
    warm = smooth.slopes(spec, rows, free, 1.0).weights
    assert torch.allclose(warm.sum(1), torch.ones(2))
    flat = margins(torch.tensor([0]), 5)
    values = torch.tensor([[1.0, 3.0, -2.0, 2.5]])
    assert torch.allclose(smooth.slopes(flat, values, None, 0.6**0.5).weights, torch.softmax(values / 0.5, 1))


X = torch.full((2, 3), 0.5)


@pytest.mark.parametrize(("x", "y", "message"), [
    (X, None, "y is None, but each sample needs its class"),
    (X, ["1", "2"], r"y is \['1', '2'\], which is no tensor; pass a tensor"),
    (X, torch.tensor([True, False]), "labels are booleans; pass class numbers"),
    (X, X[:, 0] + 0j, "labels are torch.complex64 but must be integer class numbers"),
    (X + 0j, [0, 1], "x has type torch.complex64 but must be float; pass real floats"),
    ((X * 255).to(torch.uint8), [0, 1], r"x has type torch.uint8 .* divide pixels by 255, or convert with x.float\(\)"),
    (None, [0, 1], "x is None, which is no tensor"),
])
def test_samples_and_labels_of_another_kind_are_refused(x: Tensor, y: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        robustness(dense(3, 2), x, y, "0.1")  # pyright: ignore


def test_labels_of_every_integer_type_are_class_numbers() -> None:
    for kind in (np.uint8, np.uint16, np.int64):
        assert robustness(dense(3, 2), X, np.array([0, 1], dtype=kind), "0.1").cases == 2  # pyright: ignore


def test_settings_out_of_range_are_refused() -> None:
    beyond: list[dict[str, Any]] = [{"steps": 0}, {"restarts": 0}, *({"step": s} for s in (0.0, torch.inf, torch.nan))]
    for bad in beyond:
        with pytest.raises(InputError, match="must be"):
            PGD(**bad)
    for bad in ({"steps": "3"}, {"steps": True}, {"restarts": 1.5}, {"seed": None}, {"step": "1"}, {"step": True}):
        with pytest.raises(InputError, match=r"must be an? (integer|number)$"):
            PGD(**bad)  # pyright: ignore
    assert PGD(20, 3).name == "PGD-20x3"
