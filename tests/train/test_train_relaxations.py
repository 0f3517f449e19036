"""What bounds for training are built of: lines of ReLU, boxes of layers, estimated boxes, the regularizer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from tests.support.small_nets import dense, residual
from tests.support.training import bound, case, noise
from verify.errors import InputError
from verify.ops import Conv, ConvTranspose, Linear, ReLU
from verify.ops.affine import Affine, SumDifference, Weighted
from verify.ops.base import IntervalBounds
from verify.ops.piecewise import Piecewise
from verify.sets import Ball
from verify.train.losses import Regularizer, Threat
from verify.train.losses.certified import boxes_over
from verify.train.losses.projected import estimated_boxes, parallel

FINITE = st.floats(-1e6, 1e6, allow_subnormal=False, width=32)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


# ---- lines of ReLU ----


@given(ends=st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=8), kind=st.sampled_from(["float32", "float64"]))
@example(ends=[(0.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (2.0, 2.0), (-2.0, -2.0), (-1.0, 1.0)], kind="float32")
@example(ends=[(-1e-30, 1e30), (-1e30, 1e-30), (-1e-38, 1e-38), (-3e38, 3e38)], kind="float32")
@settings(deadline=None, max_examples=60)
def test_the_lines_of_relu_are_those_of_its_family(ends: list[tuple[float, float]], kind: str) -> None:
    """And bound it at both ends and at 0, up to the rounding of the check itself."""
    dtype = getattr(torch, kind)
    box = IntervalBounds(*torch.tensor([sorted(pair) for pair in ends], dtype=dtype).T.contiguous())
    found, expected = ReLU().relax((), box), Piecewise.relax(ReLU(), (), box)
    scale = torch.maximum(box.low.abs(), box.high.abs())
    near = 8 * torch.finfo(dtype).eps
    wide = box.low < box.high  # through a point go many lines
    assert bool(((found.upper_slope - expected.upper_slope).abs() <= near)[wide].all())
    assert bool(((found.upper_intercept - expected.upper_intercept).abs() <= near * scale)[wide].all())
    same = (found.lower_slope == expected.lower_slope) & (found.lower_intercept == expected.lower_intercept)
    assert bool((same | ~wide | (box.low + box.high == 0)).all())
    for x in (box.low, box.high, box.low.clamp(max=0).maximum(box.high.clamp(max=0))):
        value, slack = x.clamp(min=0), near * scale
        assert bool((found.lower_slope * x + found.lower_intercept <= value + slack).all())
        assert bool((value <= found.upper_slope * x + found.upper_intercept + slack).all())


@given(ends=st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_the_chord_is_not_below_a_vertex_in_exact_arithmetic(ends: list[tuple[float, float]]) -> None:
    from fractions import Fraction

    box = IntervalBounds(*torch.tensor([sorted(pair) for pair in ends]).T.contiguous())
    lines = ReLU().relax((), box)
    for low, high, slope, raised in zip(*(t.tolist() for t in (*box, lines.upper_slope, lines.upper_intercept)),
                                        strict=True):
        for x in {low, high, min(max(low, 0.0), high)}:
            short = max(Fraction(x), Fraction(0)) - (Fraction(slope) * Fraction(x) + Fraction(raised))
            assert short <= Fraction(2.0**-24) * abs(Fraction(x)) + Fraction(2.0**-149)  # the intercept's own rounding


@pytest.mark.parametrize("ends", [(math.nan, 1.0), (-1.0, math.nan), (math.nan, math.nan), (-math.inf, math.inf)])
def test_what_is_no_number_stays_seen(ends: tuple[float, float]) -> None:
    """The line above is NaN; the one below, 0, is sound whatever the box."""
    lines = ReLU().relax((), IntervalBounds(*torch.tensor(ends)[:, None]))
    assert bool(torch.isnan(lines.upper_slope + lines.upper_intercept).all())
    assert (float(lines.lower_slope), float(lines.lower_intercept)) == (0, 0)


@pytest.mark.parametrize("ends", [(-math.inf, 1.0), (-1.0, math.inf)])
def test_half_infinite_boxes_have_no_line_that_is_too_low(ends: tuple[float, float]) -> None:
    lines = ReLU().relax((), IntervalBounds(*torch.tensor(ends)[:, None]))
    for x in (-1.0, 0.0, 1.0):
        assert not float(lines.upper_slope) * x + float(lines.upper_intercept) < max(x, 0)  # NaN is not too low


def test_gradients_of_the_lines_of_relu() -> None:
    low = torch.tensor([-2.0, -1.0, 0.5, -3.0, -0.2], dtype=torch.float64, requires_grad=True)
    high = torch.tensor([1.0, 3.0, 2.0, -1.0, 0.1], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a, b: ReLU().relax((), IntervalBounds(a, b)).parts[2:], (low, high))
    bounds = IntervalBounds(low, high)
    own, family = (
        torch.autograd.grad([part.sum() for part in lines.parts[2:]], (low, high))
        for lines in (ReLU().relax((), bounds), Piecewise.relax(ReLU(), (), bounds))
    )
    assert_close(own, family)


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_a_neuron_that_is_zero_has_a_finite_gradient(size: float) -> None:
    """Black pixels without a bias, at radius 0: low == high == 0."""
    ends = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    lines = ReLU().relax((), IntervalBounds(*ends))
    for gradient in torch.autograd.grad(size * (lines.upper_slope + lines.upper_intercept).sum(), ends):
        assert bool(torch.isfinite(gradient).all())


# ---- boxes of layers ----


LAYERS: list[tuple[Weighted, tuple[Tensor, ...], tuple[int, ...]]] = [
    (Linear(), (random(3, 4), random(3)), (4,)),
    (Linear(), (random(2, 4),), (3, 4)),
    (Conv((2, 1), (1, 0), (1, 1), 1), (random(3, 2, 2, 2), random(3)), (2, 4, 3)),
    (ConvTranspose((2, 2), (1, 1), (0, 0), (1, 1), 1), (random(2, 3, 2, 2), random(3)), (2, 3, 2)),
]


@pytest.mark.parametrize(("op", "p", "shape"), LAYERS, ids=lambda v: type(v).__name__)
def test_boxes_of_layers_are_those_of_centers_and_radii(op: Weighted, p: tuple[Tensor, ...], shape: tuple) -> None:
    """The plain formula of the affine family, corner by corner, and gradients in the box and in the weights."""
    middle, radius = random(2, *shape, seed=1), random(2, *shape, seed=2).abs()
    box = IntervalBounds(middle - radius, middle + radius)
    found = op.interval(p, box)
    assert_close(tuple(found), tuple(Affine.interval(op, p, box)))
    shape = (2, *shape)
    matrix = torch.from_numpy(op.matrix(p, 0, shape[1:], tuple(found.low.shape[1:])).toarray())
    chosen = torch.where(matrix[None] > 0, box.high.flatten(1)[:, None], box.low.flatten(1)[:, None])
    at_zero = op.forward(p, torch.zeros(1, *shape[1:], dtype=torch.float64)).flatten(1)
    assert_close(found.high.flatten(1), (matrix * chosen).sum(2) + at_zero)
    inputs = [t.clone().requires_grad_() for t in (*box, *p)]
    assert gradcheck(lambda low, high, *p: tuple(op.interval(p, IntervalBounds(low, high))), inputs)


def test_sum_and_difference_are_their_own_adjoint() -> None:
    a, b = (random(3, 2, seed=k).requires_grad_() for k in range(2))
    assert_close(SumDifference.apply(a, b), (a + b, a - b))
    assert gradcheck(SumDifference.apply, (a, b))
    assert torch.autograd.gradgradcheck(SumDifference.apply, (a, b))


# ---- the dual loss ----


def exact_boxes(network, ball: Ball, dual: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Boxes of the dual bound of one sample with every coefficient written down: (inputs and offsets of each ReLU)."""
    center = ball.center[0].numpy()
    values = {network.graph.input: (center, {"in": np.eye(len(center))})}
    found = {}
    for node, p in network.walk():
        if isinstance(node.op, Affine):
            parts = [values[name] for name in node.inputs]
            moved = [torch.from_numpy(np.ascontiguousarray(part[0]))[None] for part in parts]
            mean = node.op.forward(p, *moved)[0].numpy()
            total: dict[str, np.ndarray] = {}
            for k, (_, forms) in enumerate(parts):
                for origin, form in forms.items():
                    pushed = node.op.linear(p, k, torch.from_numpy(form)).numpy()  # (coefficients, outputs)
                    total[origin] = total.get(origin, 0) + pushed
            values[node.name] = mean, total
            continue
        mean, forms = values[node.inputs[0]]
        radius = sum(float(ball.eps) * np.linalg.norm(form, dual, axis=0) if origin == "in" else np.abs(form).sum(0)
                     for origin, form in forms.items())
        low, high = mean - radius, mean + radius
        found[node.inputs[0]] = low, high
        slope = np.clip(high, 0, None) / (np.clip(high, 0, None) + np.clip(-low, 0, None))
        half = -slope * np.clip(low, None, 0) / 2
        scaled = {origin: form * slope for origin, form in forms.items()}
        values[node.name] = slope * mean + half, {**scaled, node.name: np.diag(half)}
    return found


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("build", [lambda: dense(ReLU(), (3, 6, 5, 3), 1), lambda: residual(2)])
def test_estimated_boxes_approach_the_dual_ones(build, norm: str, dual: float) -> None:
    network = build().double()
    ball = Ball(random(1, 3, seed=3), "1/3", norm, None)
    exact = exact_boxes(network, ball, dual)
    errors = []
    for vectors in (101, 40_001):
        boxes = estimated_boxes(network, ball, vectors, noise(1))
        assert set(exact) | {network.graph.input} == set(boxes)
        off = [abs(np.concatenate([boxes[key].low[0].numpy() - low, boxes[key].high[0].numpy() - high])).max()
               / (high - low).max() for key, (low, high) in exact.items()]
        errors.append(max(off))
    assert errors[1] < 0.015
    assert errors[1] < errors[0] < 0.5


def test_parallel_lines_bound_relu_with_one_slope() -> None:
    low, high = torch.tensor([[-2.0, -1, 1, -3]]).double(), torch.tensor([[1.0, 3, 2, -1]]).double()
    lines = parallel(ReLU(), (), IntervalBounds(low, high))
    assert_close(lines.lower_slope, torch.tensor([[1 / 3, 3 / 4, 1, 0]]).double())
    assert torch.equal(lines.lower_slope, lines.upper_slope)
    assert_close(lines.lower_intercept, torch.zeros(1, 4).double())
    assert_close(lines.upper_intercept, torch.tensor([[2 / 3, 3 / 4, 0, 0]]).double())


def test_an_l1_ball_has_no_estimate() -> None:
    network, x, _ = bound("normed")
    with pytest.raises(InputError, match="no random projection estimates the dual norm of an l1 ball"):
        estimated_boxes(network, Ball(x, 0.1, "l1"), 10, noise())


# ---- the regularizer ----


@pytest.mark.parametrize(("net", "layers"), [("normed", 2), ("residual", 3), ("linear", 0)])
def test_the_regularizer_neuron_by_neuron(net: str, layers: int) -> None:
    live, x, _ = case(net)
    network = live.on_batch(x)
    boxes = boxes_over(network, Threat().ball(x, 0.05))
    sources = [node.inputs[0] for node, _ in network.walk() if isinstance(node.op, ReLU)]
    assert len(sources) == layers
    source, total = boxes[network.graph.input], 0.0
    for name in sources:
        low, high = (end.detach().flatten().tolist() for end in boxes[name])
        middles = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        mean = sum(middles) / len(middles)
        width = sum(b - a for a, b in zip(low, high, strict=True)) / len(low)
        active = [m for m, a in zip(middles, low, strict=True) if a > 0]
        inactive = [m for m, b in zip(middles, high, strict=True) if b < 0]
        squares = [sum((m - mean) ** 2 for m in part) for part in (active, inactive)]
        pairs = [(sum(active), -sum(inactive)), tuple(squares)]
        ratios = [min(pair) / max(pair) if max(pair) else 1.0 for pair in pairs]
        ratios.append(float((source.high - source.low).mean()) / width)
        total += sum(max(0.0, 0.5 - ratio) for ratio in ratios)
    expected = 0.7 * total / (0.5 * max(1, layers))
    assert float(torch.as_tensor(Regularizer(0.7)(network, boxes)).detach()) == pytest.approx(expected, rel=1e-9)
    assert Regularizer(0.0)(network, boxes) == 0
