"""Bounds for training: sound against exact maxima and samples, exact where nothing is relaxed, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn
from torch.autograd import gradcheck
from torch.testing import assert_close

from tests.support.phases import exact_maximum
from tests.support.small_nets import NETWORKS, dense
from tests.support.training import noise
from verify.ir.graph import BoundGraph, Network
from verify.ir.torch_export import trace
from verify.ops import ReLU
from verify.ops.base import IntervalBounds, Lines
from verify.ops.maximum import Members
from verify.problem import robustness
from verify.sets import Ball
from verify.train.losses.base import margin_rows
from verify.train.losses.certified import boxes_over
from verify.upper.linear_bounds import kernels as pulled
from verify.upper.linear_bounds.crown_ibp import affine_end_bounds, crown_ibp_bounds, through

BALLS = [(norm, clip) for norm in ("linf", "l2", "l1") for clip in (None, (-1, 1))]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def inside(network: Network, count: int, seed: int) -> Tensor:
    """Centers in [-0.8, 0.8]^inputs."""
    return random(count, *network.input_shape, seed=seed).clamp(-0.8, 0.8)


def bounds(network: BoundGraph, ball: Ball, rows: Tensor) -> tuple[Tensor, Tensor]:
    boxes = boxes_over(network, ball)
    return affine_end_bounds(network, boxes, rows), crown_ibp_bounds(network, ball, boxes, rows)


# ---- sound, and how tight ----


@pytest.mark.parametrize(("norm", "clip"), BALLS)
@pytest.mark.parametrize("name", NETWORKS)
def test_bounds_hold_at_all_kinds_of_points(name: str, norm: str, clip: tuple[float, float] | None) -> None:
    """Random points, maximisers of random directions (corners, for boxes), with gaps that shrink with the ball."""
    network = NETWORKS[name](3).double()
    x, rows = inside(network, 4, 1), random(4, 5, 3, seed=2)
    gaps: list[tuple[float, float]] = []
    for eps in (0.4, 0.02):
        ball = Ball(x, eps, norm, clip)
        moves = random(100, *x.shape, seed=3)
        found = [ball.maximiser(m) if k % 2 else ball.project(x + eps * m) for k, m in enumerate(moves)]
        values = torch.stack([torch.einsum("bro,bo->br", rows, network(at)) for at in found]).amax(0)
        both = bounds(network, ball, rows)
        assert all(bool((values <= bound + 1e-9).all()) for bound in both)
        gaps.append((float((both[0] - values).max()), float((both[1] - values).max())))
    assert all(0 < small < large < 100 for small, large in zip(gaps[1], gaps[0], strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_bounds_hold_at_the_exact_maximum_of_boxes(name: str) -> None:
    network, eps = NETWORKS[name](5), "1/5"
    x, y = inside(network, 1, 4).float(), torch.tensor([1])
    problem = robustness(network, x, y, eps, "linf", (-1, 1))
    exact = max(exact_maximum(problem, case) for case in range(problem.spec.output.shape[0]))
    wide = network.double()
    both = bounds(wide, Ball(x.double(), eps, "linf", (-1, 1)), margin_rows(y, 3, x.double()))
    for bound in both:
        assert exact - 1e-6 <= float(bound.amax()) < exact + 200
    assert float(torch.minimum(*both).amax()) >= exact - 1e-6


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_without_nonlinear_layers_bounds_are_the_dual_norm(norm: str, dual: float) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).double().eval()
    for p in module.parameters():
        p.data.copy_(random(*p.shape, seed=p.numel()))
    x, rows = inside(network := trace(module, torch.zeros(1, 1, 3, 3).double()), 4, 1), random(4, 5, 3, seed=2)
    start = module(torch.zeros(1, 1, 3, 3).double())[0]
    matrix = torch.stack([module(unit.reshape(1, 1, 3, 3))[0] - start for unit in torch.eye(9).double()], 1).detach()
    expected = torch.einsum("bro,oi,bi->br", rows, matrix, x.flatten(1)) + rows @ start.detach()
    slack = 0.3 * torch.linalg.vector_norm(rows @ matrix, dual, dim=2)
    interval, crown = bounds(network, Ball(x, 0.3, norm, None), rows)
    assert_close(crown, expected + slack, rtol=1e-7, atol=1e-9)
    assert_close(interval, expected + 0.3 * (rows @ matrix).abs().sum(2), rtol=1e-7, atol=1e-9)


def relu_lines(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lower slope, upper slope, upper intercept) of CROWN, case by case."""
    out = np.zeros((3, len(low)))
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        if a >= 0:
            out[:, i] = 1, 1, 0
        elif b > 0:
            out[:, i] = float(b > -a), b / (b - a), -a * b / (b - a)
    return out[0], out[1], out[2]


@pytest.mark.parametrize("seed", range(4))
def test_both_bounds_are_those_of_matrices(seed: int) -> None:
    """Of x -> W3 relu(W2 relu(W1 x + b1) + b2) + b3, written out in NumPy for one sample and one row."""
    network = dense(ReLU(), (3, 5, 4, 3), seed).double()
    (w1, b1, w2, b2, w3, b3) = (t.numpy() for t in network.parameters.values())
    x, rows, eps = inside(network, 1, seed), random(1, 2, 3, seed=seed), 0.3
    found = bounds(network, Ball(x, eps, "linf", None), rows)
    center = x[0].numpy()
    ends = [w1 @ center + b1 + sign * eps * np.abs(w1).sum(1) for sign in (-1, 1)]
    first = [np.maximum(end, 0) for end in ends]
    middle, radius = w2 @ (first[0] + first[1]) / 2 + b2, np.abs(w2) @ (first[1] - first[0]) / 2
    second = [np.maximum(middle - radius, 0), np.maximum(middle + radius, 0)]
    for k, row in enumerate(rows[0].numpy()):
        merged = row @ w3
        corner = np.where(merged > 0, second[1], second[0])
        assert float(found[0][0, k]) == pytest.approx(merged @ corner + row @ b3, abs=1e-9)
        total, a = row @ b3, merged
        for weight, bias, low, high in ((w2, b2, middle - radius, middle + radius), (w1, b1, ends[0], ends[1])):
            lower, upper, raised = relu_lines(low, high)
            total += np.maximum(a, 0) @ raised
            a = np.where(a > 0, a * upper, a * lower)
            total, a = total + a @ bias, a @ weight
        assert float(found[1][0, k]) == pytest.approx(total + a @ center + eps * np.abs(a).sum(), abs=1e-9)


# ---- rows through lines ----


def plain(a: Tensor, lines: Lines, bias: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Rows (batch, rows, n) through lines over z - bias, by the definition."""
    up, down = a.clamp(min=0), a.clamp(max=0)
    lower_slope, lower, upper_slope, upper = (part[:, None] for part in lines.parts)
    added = up * (upper + upper_slope * bias) + down * (lower + lower_slope * bias)
    return up * upper_slope + down * lower_slope, added.sum(2)


def same_gradients(found: Sequence[Tensor], expected: Sequence[Tensor], inputs: list[Tensor]) -> None:
    weights = [random(*t.shape, seed=6) for t in expected]
    gradients = [torch.autograd.grad(pair, inputs, weights) for pair in (found, expected)]
    assert_close(tuple(found), tuple(expected))
    assert_close(*gradients)


@pytest.mark.parametrize("chunk", [1, 1 << 20])
@pytest.mark.parametrize("level", [False, True])
def test_rows_go_through_lines_as_the_formula_says(level: bool, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients in every argument, in one piece and sample by sample."""
    monkeypatch.setitem(pulled.CHUNK, "cpu", chunk)
    a, slope, start, rise, lift = inputs = [random(3, *shape, seed=k) for k, shape in enumerate([(2, 5), *[(5,)] * 4])]
    if not level:
        start.zero_()
    for t in inputs:
        t.requires_grad_()
    lines = Lines(slope, start, slope + rise, start + lift)
    same_gradients(pulled.ThroughLines.apply(*inputs), plain(a, lines), inputs)
    assert gradcheck(pulled.ThroughLines.apply, inputs)


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_rows_go_through_relu_as_its_lines_say(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of all phases, and a bias that the lines absorb."""
    monkeypatch.setitem(pulled.CHUNK, "cpu", chunk)
    a, bias, low = random(4, 3, 6, seed=1), random(6, seed=2), random(4, 6, seed=3)
    inputs = [t.requires_grad_() for t in (a, low, low + random(4, 6, seed=4).abs() + 0.1, bias)]
    lines = ReLU().relax((), IntervalBounds(inputs[1], inputs[2]))
    same_gradients(pulled.ThroughReLU.apply(*inputs), plain(a, lines, bias), inputs)
    assert gradcheck(pulled.ThroughReLU.apply, inputs)


def test_rows_meet_the_corners_of_boxes() -> None:
    a, low, high = inputs = [random(3, 2, 5), random(3, 5, seed=1), random(3, 5, seed=1) + random(3, 5, seed=2).abs()]
    masks = [torch.tensor(bits) for bits in product([False, True], repeat=5)]
    corners = torch.stack([torch.einsum("brn,bn->br", a, high.where(mask, low)) for mask in masks])
    assert_close(pulled.Corner.apply(*inputs), corners.amax(0))
    assert gradcheck(pulled.Corner.apply, [t.requires_grad_() for t in inputs])


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_rows_go_to_the_members_that_a_relaxation_names(seed: int) -> None:
    """Members of a maximum: each output's coefficient goes to one input, several of them to the same."""
    index = torch.randint(0, 5, (2, 3, 4), generator=noise(seed))
    slope, intercept = (random(3, 4, seed=seed + k) for k in range(2))
    a = random(3, 2, 4, seed=seed + 9)
    out, added = through(a, Members((5,), index[0], index[1], slope, intercept, torch.zeros_like(intercept)))
    expected = torch.zeros_like(out)
    for b, r, j in np.ndindex(*a.shape):
        is_upper = float(a[b, r, j]) > 0
        expected[b, r, int(index[int(is_upper), b, j])] += a[b, r, j] * (slope[b, j] if is_upper else 1)
    assert_close(out, expected)
    assert_close(added, (a.clamp(min=0) * intercept[:, None]).sum(2))
