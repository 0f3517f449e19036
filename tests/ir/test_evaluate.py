"""The output at a rational point: by hand, and the two evaluations against each other."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.laws import rational_input
from tests.support.nets import nets
from tests.support.small_nets import NETWORKS
from verify.errors import UnsupportedMethod
from verify.ir.builder import GraphBuilder
from verify.ir.evaluate import bounded_value, exact_value, exact_work
from verify.ir.graph import Network
from verify.ops import BatchNorm, Linear, ReLU, Sigmoid
from verify.rationals import exact_array

MODELS = nets()


def two_layers() -> Network:
    """x -> relu(x0 - 3 x1, x0 + x1) -> 2 a - b + 1/2."""
    b = GraphBuilder("x", (2,))
    first = b.parameter("w", torch.tensor([[1.0, -3.0], [1.0, 1.0]]))
    last = b.parameter("v", torch.tensor([[2.0, -1.0]])), b.parameter("c", torch.tensor([0.5]))
    hidden = b.add("act", ReLU(), (b.add("fc", Linear(), ("x",), (first,)),))
    return b.finish(b.add("out", Linear(), (hidden,), last))


def overflowing() -> Network:
    """x -> 2^1143 x."""
    b = GraphBuilder("x", (1,))
    factor, at = b.parameter("w", torch.tensor([[2.0**127]])), "x"
    for _ in range(9):
        at = b.add("fc", Linear(), (at,), (factor,))
    return b.finish(at)


def points(*values: Fraction) -> np.ndarray:
    return np.array(values, dtype=object)


def test_by_hand() -> None:
    network = two_layers()
    assert exact_work(network) == 4 + 2
    for x0, x1 in ((Fraction(1, 3), Fraction(1, 10)), (Fraction(-1, 7), Fraction(2, 7)), (Fraction(0), Fraction(0))):
        y = 2 * max(x0 - 3 * x1, 0) - max(x0 + x1, 0) + Fraction(1, 2)
        assert exact_value(network, points(x0, x1)).tolist() == [y]
        low, high = bounded_value(network, points(x0, x1))
        assert low[0] <= y <= high[0]
        assert high[0] - low[0] <= Fraction(1, 10**12)


@pytest.mark.parametrize("name", NETWORKS)
@given(seed=st.integers(0, 1000), scale=st.integers(-12, 12))
@settings(deadline=None, max_examples=10)
def test_the_bound_holds_the_exact_value(name: str, seed: int, scale: int) -> None:
    network = NETWORKS[name](seed)
    x = rational_input(network.input_shape, seed) * Fraction(10) ** scale
    exact = exact_value(network, x)
    low, high = bounded_value(network, x)
    assert (low <= exact).all()
    assert (exact <= high).all()
    assert max((high - low).flat) <= 10.0**-9 * (1 + 10.0**scale)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_the_bound_of_a_smooth_network_holds_what_long_doubles_give(seed: int) -> None:
    """They have 11 bits more, so their own error is a small part of the bound's width."""
    network = MODELS["smooth"]
    x = rational_input(network.input_shape, seed) / 7
    low, high = bounded_value(network, x)
    value = np.array([np.longdouble(v.numerator) / v.denominator for v in x])
    functions = {"Sigmoid": lambda z: 1 / (1 + np.exp(-z)), "Tanh": np.tanh}
    for node, p in network.walk():
        wide = [t.numpy().astype(np.longdouble) for t in p]
        value = wide[0] @ value + wide[1] if wide else functions[type(node.op).__name__](value)
    for a, v, h in zip(low, value, high, strict=True):
        assert a < Fraction(*v.as_integer_ratio()) < h
        assert h - a <= Fraction(1, 10**10)


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"smooth", "residual"}))
def test_the_bound_holds_the_exact_value_of_larger_networks(name: str) -> None:
    network = MODELS[name]
    x = rational_input(network.input_shape, 3) / 7
    low, high = bounded_value(network, x)
    assert all(a <= y <= h for a, y, h in zip(low.flat, exact_value(network, x).flat, high.flat, strict=True))
    assert max((high - low).flat) <= Fraction(1, 10**9)


def test_the_bound_of_batch_norm_meets_its_rational_enclosure() -> None:
    """Where mean and factor are large beside the result, so that the rounded bias counts."""
    b = GraphBuilder("x", (1, 1, 1))
    p = [torch.tensor([v]) for v in (3.1, 0.7, 1e6, 1e-3)]
    names = tuple(b.parameter(f"p{k}", t) for k, t in enumerate(p))
    network = b.finish(b.add("norm", BatchNorm(1e-5, 2), ("x",), names))
    x = np.full((1, 1, 1), Fraction(10**6) + Fraction(1, 3), dtype=object)
    low, high = bounded_value(network, x)
    inner = BatchNorm(1e-5, 2).enclose(tuple(p), x)
    assert low[0, 0, 0] <= inner[0][0, 0, 0]
    assert inner[1][0, 0, 0] <= high[0, 0, 0]


def test_the_bound_counts_what_the_input_loses() -> None:
    """1/3 - fl64(1/3), times a weight of 2^60, is about 2^60 2^-54 / 3."""
    b = GraphBuilder("x", (1,))
    network = b.finish(b.add("fc", Linear(), ("x",), (b.parameter("w", torch.tensor([[2.0**60]])),)))
    low, high = bounded_value(network, points(Fraction(1, 3)))
    assert low[0] <= Fraction(2**60, 3) <= high[0]
    assert low[0] < Fraction(1 / 3) * 2**60 < Fraction(2**60, 3)


def test_what_is_not_rational_and_what_overflows_is_refused() -> None:
    with pytest.raises(UnsupportedMethod, match=r"\(Sigmoid\) has irrational values"):
        exact_value(MODELS["smooth"], exact_array(torch.zeros(5)))
    for evaluate, message in ((bounded_value, "overflows"), (exact_value, "beyond the largest float64")):
        with pytest.raises(UnsupportedMethod, match=message):
            evaluate(overflowing(), points(Fraction(1)))


def test_the_bound_of_a_smooth_network_holds_a_hand_value() -> None:
    b = GraphBuilder("x", (1,))
    network = b.finish(b.add("s", Sigmoid(), ("x",)))
    low, high = bounded_value(network, points(Fraction(0)))
    assert low[0] <= Fraction(1, 2) <= high[0]
    assert high[0] - low[0] < Fraction(1, 10**13)
