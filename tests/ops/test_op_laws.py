"""Laws of the operators: each runs over every registered op's examples. A new op brings an example and an oracle."""

from __future__ import annotations

import math
from itertools import product as cartesian

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.laws import (
    DTYPES,
    EXACT,
    ORACLES,
    along,
    boundary_boxes,
    cast,
    every_dtype,
    every_op,
    lines_of,
    magnitude,
    of_family,
    plain_boxes,
    points,
    rational_input,
    relaxation_of,
    rounding,
)
from verify.ops import (
    REGISTRY,
    Affine,
    Curve,
    Example,
    IntervalBounds,
    Lines,
    Max,
    Op,
    Piecewise,
    Product,
    Relaxation,
    ReLU,
    Sigmoid,
    Tanh,
    register,
)
from verify.ops.smooth.trigonometric import Wave


def test_every_op_has_an_oracle_and_examples():
    assert REGISTRY.keys() == ORACLES.keys(), "give a new op an entry in tests.support.laws.ORACLES"
    for name, (cls, examples) in REGISTRY.items():
        listed = examples()
        assert listed, f"{name} has no examples"
        assert all(type(example.op) is cls for example in listed)
    elementwise = {name for name, (cls, _) in REGISTRY.items() if issubclass(cls, Piecewise)}
    assert elementwise == EXACT.keys()


def test_register_refuses_a_class_twice_and_examples_that_are_no_function():
    with pytest.raises(ValueError, match="ReLU is registered twice"):
        register(lambda op: [])(ReLU)
    with pytest.raises(TypeError, match="needs a function"):
        register([])(type("Novel", (ReLU,), {}))  # pyright: ignore
    assert "Novel" not in REGISTRY


@every_dtype
@every_op
def test_forward_equals_the_oracle(example: Example, dtype: torch.dtype):
    p = cast(example, dtype)
    for boxes in (plain_boxes(example, dtype, 1), boundary_boxes(example, dtype, 2)):
        for xs in points(boxes, 3, 3):
            expected = ORACLES[type(example.op).__name__](example.op, p, *xs)
            found = example.op.forward(p, *xs)
            assert found.shape == expected.shape
            assert found.dtype == dtype
            assert ((found.double() - expected.double()).abs() <= rounding(example, p, *xs)).all()


@every_dtype
@every_op
def test_interval_encloses_points_and_is_attained(example: Example, dtype: torch.dtype):
    p, op = cast(example, dtype), example.op
    wide = cast(example, torch.float64)
    boxes = boundary_boxes(example, dtype, 4)
    out = op.interval(p, *boxes)
    assert out.low.dtype == dtype
    assert (out.low <= out.high).all()
    low, high = extremes(example, wide, tuple(IntervalBounds(b.low.double(), b.high.double()) for b in boxes))
    if isinstance(op, Curve) and is_rounded_outward(op):
        kind, largest = torch.finfo(dtype), low.abs().maximum(high.abs())
        slack = 32 * (kind.eps * largest + kind.tiny) + 2 * op.tail * kind.eps
    else:
        slack = rounding(example, p, *(torch.maximum(b.low.abs(), b.high.abs()) for b in boxes))
    none = (is_rounded_outward(op) or isinstance(op, Max)) and dtype == torch.float32  # rounded outward, or not at all
    for xs in points(boxes, 9, 5):
        y = op.forward(wide, *(x.double() for x in xs))
        assert (y >= out.low.double() - (0 if none else slack)).all()
        assert (y <= out.high.double() + (0 if none else slack)).all()
    torch.testing.assert_close((out.low.double() - low).abs().clamp(min=slack), slack, rtol=0, atol=0)
    torch.testing.assert_close((out.high.double() - high).abs().clamp(min=slack), slack, rtol=0, atol=0)


def is_rounded_outward(op: Op) -> bool:
    """Whether bounds hold in real arithmetic as far as the library's f is trusted."""
    return isinstance(op, Curve) and op.ulps > 0


def extremes(example: Example, p: tuple[Tensor, ...], boxes: tuple[IntervalBounds, ...]) -> tuple[Tensor, Tensor]:
    """Least and largest value over boxes of float64, each at a corner or a breakpoint, by the oracle or the matrix."""
    op = example.op
    if isinstance(op, Affine):
        shape = tuple(op.forward(p, *(b.low for b in boxes)).shape)
        low = high = op.forward(p, *(torch.zeros_like(b.low) for b in boxes)).flatten(1)
        for k, box in enumerate(boxes):
            a = torch.from_numpy(op.matrix(p, k, example.shapes[k], shape[1:]).toarray())
            up, down = a.clamp(min=0), a.clamp(max=0)
            low = low + box.low.flatten(1) @ up.T + box.high.flatten(1) @ down.T
            high = high + box.high.flatten(1) @ up.T + box.low.flatten(1) @ down.T
        return low.reshape(shape), high.reshape(shape)
    oracle = ORACLES[type(op).__name__]
    at = list(boxes[0])
    if isinstance(op, Product):
        low, high = (end.flatten(1) for end in boxes[0])
        at = [torch.where(torch.tensor(bits), high, low) for bits in cartesian((False, True), repeat=low.shape[1])]
    if isinstance(op, Curve):
        places = map(float, (*op.linear_breakpoints, *op.turns))
        at += [torch.full_like(at[0], place).clamp(boxes[0].low, boxes[0].high) for place in places]
        if isinstance(op, Wave):  # the turns nearest to the ends
            near = [((end - op.turns[0]) / torch.pi).round() * torch.pi + op.turns[0] for end in boxes[0]]
            at += [(turn + k * torch.pi).clamp(*boxes[0]) for turn in near for k in range(-2, 3)]
    values = torch.stack([oracle(op, p, x) for x in at])
    return values.amin(0), values.amax(0)


def test_interval_of_an_affine_op_with_signs_in_several_arguments():
    class Blend(Affine):
        """(x1 - 2 x2) + (y2 - y1)."""

        def linear(self, p: tuple[Tensor, ...], k: int, x: Tensor) -> Tensor:
            return x @ p[k]

    p = (torch.tensor([[1.0], [-2]]), torch.tensor([[-1.0], [1]]))
    box = IntervalBounds(torch.tensor([[0.0, -1]]), torch.tensor([[1.0, 3]]))
    assert [end.item() for end in Blend().interval(p, box, box)] == [-8, 6]


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


@every_op
def test_nothing_is_mutated(example: Example):
    op, p = example.op, cast(example, torch.float32)
    boxes = plain_boxes(example, torch.float32, 19)
    inputs = [*p, *(end for box in boxes for end in box)]
    before = [(t.clone(), t._version) for t in inputs]
    exact = tuple(abs(rational_input(shape, 20)) + 1 for shape in example.shapes)
    copies = [x.copy() for x in exact]
    out = op.forward(p, *(b.low for b in boxes))
    op.interval(p, *boxes)
    op.enclose(p, *exact)
    if isinstance(op, Affine):
        for k, shape in enumerate(example.shapes):
            op.adjoint(p, k, out, shape)
            op.absolute(p, k, boxes[k].high)
            op.matrix(p, k, shape, tuple(out.shape[1:]))
    else:
        relaxation_of(op, p, boxes[0])
    for tensor, (copy, version) in zip(inputs, before, strict=True):
        assert torch.equal(tensor, copy)
        assert tensor._version == version
    assert all((a == b).all() for a, b in zip(exact, copies, strict=True))


@every_op
def test_a_box_with_nan_gives_no_finite_bound(example: Example):
    """NaN must stay visible: a bound made of it must not look like a number."""
    boxes = [IntervalBounds(b.low.clone(), b.high.clone()) for b in plain_boxes(example, torch.float32, 21)]
    for box in boxes:
        box.low.fill_(math.nan)
        box.high.fill_(math.nan)
    out = example.op.interval(cast(example, torch.float32), *boxes)
    fed = example.op.forward(cast(example, torch.float32), *(torch.full_like(b.low, math.nan) for b in boxes))
    assert torch.equal(~out.low.isfinite(), fed.isnan())
    assert torch.equal(~out.high.isfinite(), fed.isnan())
