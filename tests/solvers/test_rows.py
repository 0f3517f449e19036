"""The rows that operators write into linear models, by hand, and as hulls of single neurons."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from verify.ops import (
    REGISTRY,
    Abs,
    Affine,
    Clip,
    Concat,
    IntervalBounds,
    LeakyReLU,
    Linear,
    Max,
    Permute,
    Piecewise,
    ReLU,
    Reshape,
)
from verify.solvers.highs import Highs, SolverStatus
from verify.solvers.model import LinearModel


def _box(*ends: tuple[float, float]) -> IntervalBounds:
    low, high = torch.tensor(ends, dtype=torch.float64).T
    return IntervalBounds(low[None], high[None])


def _encoded(op, p, boxes) -> tuple[LinearModel, list[np.ndarray], np.ndarray]:
    """A model of the op alone: (model, columns of the inputs, columns of the output)."""
    model = LinearModel()
    xs = [model.add_columns(*(v[0].numpy() for v in box)) for box in boxes]
    wide = tuple(t.double() if t.is_floating_point() else t for t in p)
    return model, xs, op.encode(wide, model, xs, boxes)


def _text(op, *ends: tuple[float, float], p=()) -> list[str]:
    model = _encoded(op, p, [_box(*ends)])[0]
    return [line.strip() for line in model.to_text().splitlines()]


def test_relu_rows() -> None:
    """y >= 0, y >= x, y <= 3 z, y <= x + 2 (1 - z) on [-2, 3]."""
    assert _text(ReLU(), (-2, 3)) == [
        "rows", "0 <= +1 x1", "0 <= -1 x0 +1 x1", "+1 x1 -3 x2 <= 0", "-1 x0 +1 x1 +2 x2 <= 2",
        "columns", "-2 <= x0 <= 3", "0 <= x1 <= 3", "0 <= x2 <= 1 integer",
    ]


STABLE = [((-2, -1), "+1 x1 = 0"), ((-2, 0), "+1 x1 = 0"), ((0, 2), "-1 x0 +1 x1 = 0")]


@pytest.mark.parametrize(("ends", "row"), STABLE)
def test_stable_relu_has_no_binary(ends: tuple[float, float], row: str) -> None:
    text = _text(ReLU(), ends)
    assert text[1] == row
    assert not any("integer" in line for line in text)


def test_abs_rows() -> None:
    """y >= -x, y >= x, y <= -x + 2 * 3 z, y <= x + 2 * 2 (1 - z) on [-2, 3]."""
    assert _text(Abs(), (-2, 3)) == [
        "rows", "0 <= +1 x0 +1 x1", "0 <= -1 x0 +1 x1", "+1 x0 +1 x1 -6 x2 <= 0", "-1 x0 +1 x1 +4 x2 <= 4",
        "columns", "-2 <= x0 <= 3", "0 <= x1 <= 3", "0 <= x2 <= 1 integer",
    ]


def test_concave_clip_rows() -> None:
    """Of clip(x, -1, 1) only the upper end lies in [0, 3]: -y >= -x, -y >= -1, -y <= -x + 2 z, -y <= -1 + (1 - z)."""
    assert _text(Clip(Fraction(-1), Fraction(1)), (0, 3)) == [
        "rows", "0 <= +1 x0 -1 x1", "-1 <= -1 x1", "+1 x0 -1 x1 -2 x2 <= 0", "-1 x1 +1 x2 <= 0",
        "columns", "0 <= x0 <= 3", "0 <= x1 <= 1", "0 <= x2 <= 1 integer",
    ]


def test_clip_rows() -> None:
    """y = -1 + h1 - h2 on [-3, 3], hinges at -1 and 1, z2 <= z1, and the hull y >= -1, y >= x/2 - 1/2, mirrored."""
    assert _text(Clip(Fraction(-1), Fraction(1)), (-3, 3)) == [
        "rows",
        "1 <= -1 x0 +1 x2", "+1 x2 -4 x3 <= 0", "-1 x0 +1 x2 +2 x3 <= 3",
        "-1 <= -1 x0 +1 x4", "+1 x4 -2 x5 <= 0", "-1 x0 +1 x4 +4 x5 <= 3",
        "-1 x3 +1 x5 <= 0",
        "+1 x1 -1 x2 +1 x4 = -1",
        "-1 <= +1 x1", "-0.5 <= -0.5 x0 +1 x1",
        "-0.5 <= +0.5 x0 -1 x1", "-1 <= -1 x1",
        "columns", "-3 <= x0 <= 3", "-1 <= x1 <= 1",
        "0 <= x2 <= 4", "0 <= x3 <= 1 integer", "0 <= x4 <= 2", "0 <= x5 <= 1 integer",
    ]


def test_max_rows() -> None:
    """max of x0 in [0, 2], x1 in [-1, 3]; x2 <= -2 can never be the largest."""
    text = _text(Max(), (0, 2), (-1, 3), (-4, -2), p=(torch.tensor([[0, 1, 2]]),))
    assert text == [
        "rows", "0 <= -1 x0 +1 x3", "0 <= -1 x1 +1 x3", "+1 x3 -1 x4 -1 x5 <= 0",
        "+1 x4 -2 x6 <= 0", "+1 x5 -3 x7 <= 0", "-1 x0 +1 x4 <= 0", "-1 x1 +1 x5 +1 x7 <= 1", "+1 x6 +1 x7 = 1",
        "columns", "0 <= x0 <= 2", "-1 <= x1 <= 3", "-4 <= x2 <= -2", "0 <= x3 <= 3",
        "0 <= x4 <= 2", "-1 <= x5 <= 3", "0 <= x6 <= 1 integer", "0 <= x7 <= 1 integer",
    ]


def test_affine_rows_and_moves() -> None:
    weight, bias = torch.tensor([[1.0, -2.0]]), torch.tensor([0.5])
    text = _text(Linear(), (-1, 1), (0, 1), p=(weight, bias))
    assert text[:2] == ["rows", "-1 x0 +2 x1 +1 x2 = 0.5"]
    assert text[-1] == "-2.5 <= x2 <= 1.5"
    box = IntervalBounds(torch.zeros(1, 2, 3, dtype=torch.float64), torch.ones(1, 2, 3, dtype=torch.float64))
    for op, boxes in ((Reshape((6,)), [box]), (Permute((1, 0)), [box]), (Concat(0, (2, 2)), [box, box])):
        model, xs, y = _encoded(op, (), boxes)
        assert model.rows == 0
        moved = op.forward((), *(torch.from_numpy(x)[None] for x in xs))[0]
        np.testing.assert_array_equal(y, moved.numpy())


def _examples(kind: type) -> list:
    found = [(name, e) for name, (cls, make) in REGISTRY.items() if issubclass(cls, kind) for e in make()]
    return [pytest.param(e, id=f"{name}-{i}") for i, (name, e) in enumerate(found)]


def _random_boxes(shapes, seed: int) -> list[IntervalBounds]:
    """Boxes around 0 with thin, degenerate, negative and positive entries."""
    rng = torch.Generator().manual_seed(seed)
    boxes = []
    for shape in shapes:
        center = 2 * torch.randn((1, *shape), generator=rng, dtype=torch.float64)
        radius = 3 * torch.rand((1, *shape), generator=rng, dtype=torch.float64)
        radius = torch.where(torch.rand(radius.shape, generator=rng) < 0.2, 0, radius)
        boxes.append(IntervalBounds(center - radius, center + radius))
    return boxes


@pytest.mark.parametrize("example", [*_examples(Affine), *_examples(Piecewise), *_examples(Max)])
def test_fixed_input_fixes_output(example) -> None:
    """The law of encodings: with x fixed, min y = max y = f(x)."""
    boxes = _random_boxes(example.shapes, 1)
    model, xs, y = _encoded(example.op, example.parameters, boxes)
    arrays = model.arrays()
    wide = tuple(t.double() if t.is_floating_point() else t for t in example.parameters)
    rng = torch.Generator().manual_seed(2)
    for part in (0.0, 1.0, None):
        low, high, points = arrays.low.copy(), arrays.high.copy(), []
        for box in boxes:
            t = torch.rand(box.low.shape, generator=rng, dtype=torch.float64) if part is None else part
            points.append(box.low + t * (box.high - box.low))
        for columns, point in zip(xs, points, strict=True):
            low[columns.ravel()] = high[columns.ravel()] = point.numpy().ravel()
        highs = Highs(arrays._replace(low=low, high=high))
        expected = example.op.forward(wide, *points)[0].numpy().ravel()
        for sign in (1.0, -1.0):
            cost = np.zeros(model.columns)
            np.add.at(cost, y.ravel(), sign)
            solution = highs.maximise(cost)
            assert solution.status is SolverStatus.OPTIMAL
            assert solution.x is not None
            np.testing.assert_allclose(solution.x[y.ravel()], expected, atol=1e-5)


@pytest.mark.parametrize("example", _examples(Piecewise))
def test_lp_of_one_piecewise_neuron_is_its_hull(example) -> None:
    """max over the LP of s y - t x equals its maximum over the vertices of the graph, for both signs of s."""
    for box in (*_random_boxes(example.shapes, 3), *(_box((-9, 9)), _box((-9, 0.5)), _box((-0.5, 9)))):
        model, (x,), y = _encoded(example.op, (), [box])
        arrays = model.arrays()
        highs = Highs(arrays, relaxed=True)
        vertices = [(px.numpy().ravel(), py.numpy().ravel()) for px, py in zip(*example.op.vertices(box), strict=True)]
        rng = np.random.default_rng(4)
        for t in rng.normal(size=6):
            for sign in (1.0, -1.0):
                cost = np.zeros(model.columns)
                cost[y.ravel()], cost[x.ravel()] = sign, -t
                expected = np.max([sign * py - t * px for px, py in vertices], axis=0).sum()
                assert highs.maximise(cost).value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("example", _examples(Max))
def test_lp_of_one_maximum_is_its_hull(example) -> None:
    """Above, a convex function's envelope over a box is spanned by the corners; below it is the function itself."""
    (full,) = _random_boxes(example.shapes, 5)
    groups = example.parameters[0].reshape(-1, example.parameters[0].shape[-1])
    rng = np.random.default_rng(6)
    for group in groups[:4]:
        members = torch.unique(group)
        low, high = (v.flatten()[members].numpy() for v in full)
        local = (torch.searchsorted(members, group.contiguous())[None],)
        model, (x,), y = _encoded(Max(), local, [_box(*zip(low, high, strict=True))])
        highs = Highs(model.arrays(), relaxed=True)
        corners = np.array(list(product(*zip(low, high, strict=True))))
        for _ in range(6):
            slope = rng.random(members.numel()) / 2
            cost = np.zeros(model.columns)
            cost[y], cost[x] = 1, -slope
            expected = (corners.max(1) - corners @ slope).max()
            assert highs.maximise(cost).value == pytest.approx(expected, abs=1e-6)
            rows = np.hstack([np.eye(members.numel()), -np.ones((members.numel(), 1))])
            bounds = [*zip(low, high, strict=True), (None, None)]
            below = linprog([*-slope, 1], A_ub=rows, b_ub=np.zeros(members.numel()), bounds=bounds)
            assert highs.maximise(-cost).value == pytest.approx(-below.fun, abs=1e-6)


def test_equal_slopes_still_fix_the_output() -> None:
    leaky = LeakyReLU(Fraction(1))
    model, xs, y = _encoded(leaky, (), [_box((-2, 3))])
    arrays = model.arrays()
    arrays.low[xs[0]] = arrays.high[xs[0]] = -1.5
    highs = Highs(arrays)
    cost = np.zeros(model.columns)
    cost[y] = 1
    assert highs.maximise(cost).value == pytest.approx(-1.5)
    assert highs.maximise(-cost).value == pytest.approx(1.5)
