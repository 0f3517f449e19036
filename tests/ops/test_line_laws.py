"""Laws of the lines of every operator: they bracket it, have the least area, and can be differentiated."""

from __future__ import annotations

import math

import hypothesis
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.laws import (
    DTYPES,
    along,
    boundary_boxes,
    cast,
    every_dtype,
    every_op,
    is_rounded_outward,
    lines_of,
    magnitude,
    of_family,
    plain_boxes,
    points,
    relaxation_of,
    rounding,
)
from verify.ops import (
    Curve,
    Example,
    IntervalBounds,
    Lines,
    Max,
    Piecewise,
    Product,
    Relaxation,
    ReLU,
    Sigmoid,
    Tanh,
)
from verify.ops.smooth.trigonometric import Wave


@every_dtype
@of_family(Curve, Max)
def test_lines_bracket_the_function(example: Example, dtype: torch.dtype):
    p = cast(example, dtype)
    (box,) = boundary_boxes(example, dtype, 6)
    check_bracket(example, box, relaxation_of(example.op, p, box))


@every_dtype
@of_family(Curve)
def test_lines_for_any_point_and_moved_toward_it_bracket_too(example: Example, dtype: torch.dtype):
    op = example.op
    assert isinstance(op, Curve)
    (box,) = boundary_boxes(example, dtype, 22)
    share = torch.rand(box.low.shape, generator=torch.Generator().manual_seed(23), dtype=dtype)
    at = box.low + share * (box.high - box.low)
    start, end = op.relax((), box), op.relax((), box, at)
    check_bracket(example, box, end)
    check_bracket(example, box, op.nearer((), box, start, at, 0.3))


def check_bracket(example: Example, box: IntervalBounds, relaxation: Relaxation) -> None:
    """Lower side <= f <= upper side at points of the box, within the rounding of an intercept, if not rounded out."""
    op, p, wide = example.op, cast(example, box.low.dtype), cast(example, torch.float64)
    ends = torch.maximum(box.low.abs(), box.high.abs())
    slack = 0 if is_rounded_outward(op) else rounding(example, p, ends)
    for (x,) in points((box,), 31, 7):
        lower, upper = along(relaxation, x)
        y = op.forward(wide, x.double())
        exact = 8 * torch.finfo(torch.float64).eps * (1 + magnitude(example, p, x))  # of this comparison
        assert (lower <= y + slack + exact).all()
        assert (upper >= y - slack - exact).all()
        assert (lower <= upper + slack).all()
    if isinstance(relaxation, Lines):
        assert all(torch.isfinite(v).all() for v in relaxation.parts[:3])


def test_a_maximum_with_a_leader_is_that_member():
    groups = torch.tensor([[0, 1, 1], [2, 2, 2]])
    box = IntervalBounds(torch.tensor([[0.0, 2, -1]]), torch.tensor([[2.0, 3, 4]]))
    members = Max().relax((groups,), box)
    assert members.lower_index.tolist() == members.upper_index.tolist() == [[1, 2]]
    assert members.upper_slope.tolist() == [[1, 1]]
    assert members.lower_intercept.tolist() == members.upper_intercept.tolist() == [[0, 0]]


@every_dtype
@of_family(Curve)
def test_lines_have_the_least_area(example: Example, dtype: torch.dtype):
    """The area is decided at the midpoint; no line of any slope, the chord's included, lies nearer there."""
    op, p = example.op, ()
    (box,) = boundary_boxes(example, dtype, 8)
    widest = 2 * math.pi if isinstance(op, Wave) else 1e3  # beyond a period its lines are level
    moderate = (box.high - box.low < widest) & (box.high - box.low > 1e-4)
    low, high = box.low[moderate].double(), box.high[moderate].double()
    middle = (low + high) / 2
    lines = lines_of(op, box)
    lower, upper = (v[moderate] for v in along(lines, box.low + (box.high - box.low) / 2))
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
    x = low + t * (high - low)
    assert isinstance(op, Curve)
    x = torch.cat([x, *(torch.full_like(low, b).clamp(low, high)[None] for b in op.linear_breakpoints)])
    y = op.forward(p, x)
    chord = (y[2000] - y[0]) / (high - low)
    slopes = [chord, *(torch.full_like(low, s) for s in np.linspace(-1, 1.5, 101))]
    if not op.is_continuous:  # no line is steeper than a piece; beside jumps f is seen but nearly
        slopes = [op.derivative(piece, low) for piece in range(len(op.curvature))]
        x, y = torch.cat([x, x, x]), torch.cat([y, op.forward((), x - 1e-9), op.forward((), x + 1e-9)])
    size = (1 + low.abs() + high.abs()).maximum(y.abs().amax(0))
    if is_rounded_outward(op):
        size = size.maximum(chord.abs() * (low.abs() + high.abs()))
    near = 0 if op.is_continuous else (high - low) / 1000
    slack = near + 64 * torch.finfo(dtype).eps * size + 1e-6 * is_rounded_outward(op) * y.abs().amax(0).clamp(min=1)
    for slope in slopes:
        offset = y - slope * x
        assert (upper <= slope * middle + offset.amax(0) + slack).all()
        assert (lower >= slope * middle + offset.amin(0) - slack).all()


@every_dtype
def test_relu_lines_are_the_textbook_ones(dtype: torch.dtype):
    low = torch.tensor([[-2.0, -1, -1, -1, 1, -1, 0, -1]], dtype=dtype)
    high = torch.tensor([[-1.0, 2, 0.5, 1, 2, 0, 1, 3]], dtype=dtype)
    lines = ReLU().relax((), IntervalBounds(low, high))
    chord = torch.where(high <= 0, 0, torch.where(low >= 0, 1, high / (high - low)))
    torch.testing.assert_close(lines.upper_slope, chord)
    torch.testing.assert_close(lines.upper_intercept, torch.where((low < 0) & (high > 0), -low * chord, 0))
    assert torch.equal(lines.lower_slope, (high > -low).to(dtype))
    assert torch.equal(lines.lower_intercept, torch.zeros_like(low))


@given(st.sampled_from([Sigmoid(), Tanh()]), st.floats(-40, 40), st.floats(0, 60), st.sampled_from(DTYPES))
@hypothesis.example(Sigmoid(), -5.0, 25.0, torch.float32)  # the rounding of f at the far end counts too
@settings(deadline=None, max_examples=150)
def test_smooth_lines_hold_densely(op: Curve, start: float, width: float, dtype: torch.dtype):
    low = torch.tensor([[start]], dtype=dtype)
    high = torch.maximum(low, torch.tensor([[start + width]], dtype=dtype))
    lines = op.relax((), IntervalBounds(low, high))
    x = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None] * (high - low).double() + low.double()
    x = torch.cat([x, low.double(), high.double()])
    y = op.forward((), x)
    lower, upper = along(lines, x)
    assert (lower <= y + 1e-15 * (1 + y.abs())).all()
    assert (upper >= y - 1e-15 * (1 + y.abs())).all()


@every_op
def test_interval_is_differentiable(example: Example):
    """In the boxes and in the parameters, as training needs it."""
    p = tuple(t.clone().requires_grad_() if t.is_floating_point() else t for t in cast(example, torch.float64))
    ends = [end[:1].clone().requires_grad_() for box in plain_boxes(example, torch.float64, 16) for end in box]

    def bounds(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        boxes = [IntervalBounds(*tensors[i : i + 2]) for i in range(0, len(ends), 2)]
        return example.op.interval(tensors[len(ends) :], *boxes)

    assert torch.autograd.gradcheck(bounds, (*ends, *p))


def values_of(relaxation: Relaxation, x: Tensor) -> tuple[Tensor, ...]:
    """Both sides of a relaxation, without intercepts, at points of one sample, and the intercepts."""
    sides = (relaxation.linear(x, is_upper) for is_upper in (False, True))
    return (*sides, relaxation.lower_intercept, relaxation.upper_intercept)


@of_family(Piecewise, Max, Product)
def test_relaxations_are_differentiable(example: Example):
    (box,) = plain_boxes(example, torch.float64, 17)

    def bounds(low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
        relaxation = relaxation_of(example.op, example.parameters, IntervalBounds(low, high))
        return values_of(relaxation, box.high[1:2])

    assert torch.autograd.gradcheck(bounds, tuple(end[:1].clone().requires_grad_() for end in box))


@of_family(Curve, Max)
def test_gradients_of_lines_are_finite(example: Example):
    (box,) = boundary_boxes(example, torch.float64, 18)
    low, high = (end.clone().requires_grad_() for end in box)
    relaxation = relaxation_of(example.op, example.parameters, IntervalBounds(low, high))
    moderate = (box.low.abs() < 200) & (box.high.abs() < 200) & (box.high - box.low > 1e-6)
    if isinstance(example.op, Curve):
        moderate &= torch.isfinite(example.op.steepness(box))  # a root is infinitely steep at 0
    total = torch.stack([v.sum() for v in values_of(relaxation, torch.ones_like(box.low))]).sum()
    for gradient in torch.autograd.grad(total, (low, high)):
        assert torch.isfinite(gradient[moderate]).all()
