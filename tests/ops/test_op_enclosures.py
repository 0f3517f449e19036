"""Laws of the rational enclosures: exact, or of stated width around the true value."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.laws import (
    EXACT,
    EXAMPLES,
    ORACLES,
    cast,
    every_op,
    of_family,
    plain_boxes,
    rational_input,
    rounding,
)
from verify.ops import (
    Affine,
    AvgPool,
    BatchNorm,
    Clip,
    Curve,
    Example,
    HardSigmoid,
    LeakyReLU,
    Max,
    Piecewise,
    ReLU,
    Sigmoid,
    Tanh,
)


def dyadic(example: Example) -> Example:
    """The example with parameters of few bits, so that float64 computes its affine map without rounding."""
    rounded = tuple(torch.round(t * 16) / 16 if t.is_floating_point() else t for t in example.parameters)
    return example._replace(parameters=rounded)


@of_family(Affine, but=BatchNorm)  # whose factor is irrational
def test_enclosure_of_an_affine_op_is_exact(example: Example):
    example = dyadic(example)
    xs = tuple(36 * 840 * rational_input(shape, 10 + k) for k, shape in enumerate(example.shapes))  # divisible integers
    floats = tuple(torch.tensor(x.astype(np.float64))[None] for x in xs)
    expected = ORACLES[type(example.op).__name__](example.op, cast(example, torch.float64), *floats)[0]
    low, high = example.op.enclose(example.parameters, *xs)
    assert low.shape == tuple(expected.shape)
    assert all(a == b == Fraction(c) for a, b, c in zip(low.flat, high.flat, expected.flatten().tolist(), strict=True))


def test_enclosure_of_a_mean_over_three_is_exact():
    x = rational_input((1, 3, 3), 11)
    low, high = AvgPool((3, 3), (1, 1), (0, 0), False, True).enclose((), x)
    assert low[0, 0, 0] == high[0, 0, 0] == sum(x.flat) / 9


@of_family(Piecewise)
def test_enclosure_of_a_piecewise_op_is_exact(example: Example):
    (x,) = (rational_input(shape, 12) for shape in example.shapes)
    assert isinstance(example.op, Piecewise)
    x.flat[0] = example.op.breakpoints[0]
    exact = EXACT[type(example.op).__name__]
    low, high = example.op.enclose((), x)
    assert all(a == b == exact(example.op, v) for a, b, v in zip(low.flat, high.flat, x.flat, strict=True))


@of_family(Max)
def test_enclosure_of_a_maximum_is_exact(example: Example):
    (x,) = (rational_input(shape, 13) for shape in example.shapes)
    low, high = example.op.enclose(example.parameters, x)
    expected = [max(x.flat[i] for i in group) for group in example.parameters[0].flatten(0, -2).tolist()]
    assert low.ravel().tolist() == high.ravel().tolist() == expected


@every_op
def test_enclosure_contains_the_float_result(example: Example):
    boxes = plain_boxes(example, torch.float64, 14)
    xs = tuple(b.low[:1] for b in boxes)
    exact = [np.vectorize(Fraction, otypes=[object])(x[0].numpy()) for x in xs]
    low, high = example.op.enclose(example.parameters, *exact)
    p = cast(example, torch.float64)
    y, slack = example.op.forward(p, *xs), rounding(example, p, *xs)
    for a, b, value, room in zip(low.flat, high.flat, y.flatten().tolist(), slack.flatten().tolist(), strict=True):
        assert a - Fraction(room) <= Fraction(value) <= b + Fraction(room)
        far = Fraction(example.op.tail) / 2**50 if isinstance(example.op, Curve) else 0  # what tails may err by besides
        assert b - a <= (Fraction(room) if example.op.is_exact else abs(Fraction(value)) / 2**44 + far)


def _sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def _tanh(x: Decimal) -> Decimal:
    return 1 - 2 / ((2 * x).exp() + 1)


@given(st.sampled_from([(Sigmoid(), _sigmoid), (Tanh(), _tanh)]), st.fractions(-700, 700, max_denominator=1000))
@settings(deadline=None, max_examples=100)
def test_enclosure_of_a_smooth_op_holds_the_true_value(case: tuple, x: Fraction):
    op, function = case
    low, high = op.enclose((), np.array([x], dtype=object))
    with localcontext(prec=700):
        true = Fraction(function(Decimal(x.numerator) / Decimal(x.denominator)))
    assert low[0] <= true <= high[0]
    assert high[0] - low[0] <= abs(true) / 2**40 + Fraction(1, 2**990) + abs(x) / 2**50


def test_enclosure_of_batch_norm_holds_the_true_value():
    example = next(e for e in EXAMPLES.values() if isinstance(e.op, BatchNorm) and e.op.spatial == 0)
    assert isinstance(example.op, BatchNorm)
    x = rational_input((4,), 15)
    low, high = example.op.enclose(example.parameters, x)
    weight, bias, mean, variance = (t.double().tolist() for t in example.parameters)
    with localcontext(prec=80):
        for c, value in enumerate(x):
            root = (Decimal(variance[c]) + Decimal(example.op.eps)).sqrt()
            true = Fraction(Decimal(weight[c]) / root) * (value - Fraction(mean[c])) + Fraction(bias[c])
            assert low[c] <= true <= high[c]


def test_pieces_against_hand_values():
    third = Fraction(1, 3)
    assert ReLU().intercepts == (0, 0)
    assert Clip(Fraction(-1), Fraction(2)).intercepts == (-1, 0, 2)
    assert HardSigmoid(Fraction(1, 6), Fraction(1, 2)).intercepts == (0, Fraction(1, 2), 1)
    assert HardSigmoid(Fraction(1, 6), Fraction(1, 2)).breakpoints == (-3, 3)
    assert LeakyReLU(third).exact(Fraction(-6)) == -2
    assert Clip(third, 2 * third).exact(Fraction(1, 2)) == Fraction(1, 2)

    class Late(Piecewise):
        """Slopes 1, -1, 2 between 0 and 2, through (3, 5): the anchor lies beyond both breakpoints."""

        @property
        def breakpoints(self) -> tuple[Fraction, ...]:
            return Fraction(0), Fraction(2)

        @property
        def slopes(self) -> tuple[Fraction, ...]:
            return Fraction(1), Fraction(-1), Fraction(2)

        @property
        def anchor(self) -> tuple[Fraction, Fraction]:
            return Fraction(3), Fraction(5)

    assert Late().intercepts == (5, 5, -1)
    assert [Late().exact(Fraction(x)) for x in (-1, 0, 1, 2, 3)] == [4, 5, 4, 3, 5]
