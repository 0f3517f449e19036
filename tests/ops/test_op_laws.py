"""Laws of the operators: each runs over every registered op's examples. A new op brings an example and an oracle."""

from __future__ import annotations

import math
from itertools import product as cartesian

import pytest
import torch
from torch import Tensor

from tests.support.laws import (
    EXACT,
    ORACLES,
    boundary_boxes,
    cast,
    every_dtype,
    every_op,
    is_rounded_outward,
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
    Max,
    Piecewise,
    Product,
    ReLU,
    register,
)
from verify.ops.base import Op
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


@every_op
def test_a_gradient_in_closed_form_is_that_of_automatic_differentiation(example: Example):
    if type(example.op).with_gradient is Op.with_gradient:
        return
    p = cast(example, torch.float64)
    for xs in points(boundary_boxes(example, torch.float64, 5), 2, 6):
        leaves = [x.clone().requires_grad_() for x in xs]
        y = example.op.forward(p, *leaves)
        a = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        expected = torch.autograd.grad(y, leaves, a)
        again, pull = example.op.with_gradient(p, *xs)
        assert torch.equal(again, y.detach())
        for mine, theirs in zip(pull(a), expected, strict=True):
            torch.testing.assert_close(mine, theirs)
