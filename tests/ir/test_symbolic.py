"""Symbolic values: what they build is what they say, at random points, in brackets, and in errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import verify
from tests.support.small_nets import NETWORKS
from verify.errors import InputError
from verify.ir.head import Head
from verify.ops import Product
from verify.sets import Box

C = torch.tensor([[0.5, -1.25], [3.0, 0.1]], dtype=torch.float64)
WAYS: dict[str, Callable[[Any], Any]] = {
    "numbers": lambda v: (2 * v - 0.1307) / 0.3081 + 1, "reflected": lambda v: 1 - v, "negated": lambda v: -(v / 3),
    "tensor": lambda v: v * C + C, "tensor first": lambda v: C - v, "column": lambda v: (v - C[:, :1]) / C[:, :1],
    "entries": lambda v: v[1], "entry": lambda v: v[0, 1] * 3, "slices": lambda v: v[:, [1, 0]],
    "shape": lambda v: v.reshape(1, 4) + 1, "flat": lambda v: v.flatten()[[3, 0, 0]],
    "two values": lambda v: v[0] - 3 * v[1] + v[0], "twice": lambda v: v + v,
}


@pytest.mark.parametrize("name", WAYS)
def test_values_are_those_of_the_arithmetic(name: str) -> None:
    x = torch.randn(20, 2, 2, dtype=torch.float64)
    network = WAYS[name](verify.variable((2, 2), torch.float64)).network()
    want = torch.stack([WAYS[name](part) for part in x])
    torch.testing.assert_close(network(x).reshape(want.shape), want, rtol=1e-12, atol=1e-12)


def test_constants_may_be_texts_lists_and_arrays() -> None:
    v, x = verify.variable((2, 2), torch.float64), torch.randn(20, 2, 2, dtype=torch.float64)
    for made, want in ((v * "1/3", x / 3), (v - ["1/7", 2], x - torch.tensor([1 / 7, 2])), (C.numpy() + v, C + x)):
        torch.testing.assert_close(made.network()(x), want, rtol=1e-7, atol=1e-7)


def test_networks_compose() -> None:
    first, x = NETWORKS["relu"](0).double(), torch.randn(20, 3, dtype=torch.float64)
    second = NETWORKS["leaky"](1).double()
    v = verify.variable((3,), torch.float64)
    torch.testing.assert_close(second(first(v)).network()(x), second(first(x)))
    assert len(first(first(v)).network().parameters) == len(first.parameters)  # the weights are there once


def test_two_images_share_one_perturbation() -> None:
    network, points = NETWORKS["relu"](0), torch.randn(2, 3)
    delta = verify.variable((3,))
    whole = verify.concatenate([network(point + delta) for point in points]).network()
    d = torch.randn(20, 3, dtype=torch.float64)
    want = torch.cat([network.double()(point.double() + d) for point in points], 1)
    torch.testing.assert_close(whole.double()(d), want)
    assert whole.output_shape == (2 * network.outputs,)


def test_brackets_are_those_of_the_network_merged_by_hand() -> None:
    network, x = NETWORKS["relu"](0), torch.randn(4, 3)
    labels = network(x).argmax(1)
    weight, *rest = (name for name in network.parameters if network.parameters[name].ndim == 2)
    first = network.graph.nodes[0]
    assert first.parameters[0] == weight
    assert rest
    merged = {**network.parameters, weight: network.parameters[weight] / 4}
    merged[first.parameters[1]] = network.parameters[first.parameters[1]] - network.parameters[weight].sum(1) / 2
    by_hand = replace(network, parameters=merged)  # of (x - 2) / 4
    front = ((verify.variable((3,)) - 2) / 4).network()
    asked = [verify.robustness(by_hand, x, labels, "1/10", clip=None),
             verify.robustness(network, x, labels, "1/10", clip=None, front=front)]
    for method in (verify.Interval(), verify.CROWN(), verify.BranchAndBound(goal="optimum", gap=1e-6)):
        hand, own = (verify.solve(problem, method) for problem in asked)
        torch.testing.assert_close(own.upper, hand.upper, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(own.lower, hand.lower, rtol=1e-4, atol=1e-4)
    assert asked[0].front is None
    assert asked[1].front is not None


def test_a_variable_has_the_shape_of_a_set() -> None:
    assert verify.variable(Box(torch.zeros(1, 2, 3), torch.ones(1, 2, 3))).shape == (2, 3)


def test_a_head_is_one_at_the_end_and_elsewhere_computed() -> None:
    network = replace(NETWORKS["relu"](0), head=Head(False))
    made = network(verify.variable((3,)) * 2)
    assert made.network().head == Head(False)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    for symbolic, known in ((made[:1], network(2 * x)[:, :1]), (made + 1, network(2 * x) + 1)):
        torch.testing.assert_close(symbolic.network()(x), known)


def test_products_quotients_and_powers_of_values_are_built() -> None:
    v = verify.variable((2, 3))
    x = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(2))
    below = x * x + 1
    built = v * v * v + v / (v * v + 1) - (v + 1) ** 2 + 1 / (v**2 + 2) + (v + 1) * (v - 1)
    torch.testing.assert_close(built.network()(x), x**3 + x / below - (x + 1) ** 2 + 1 / (x * x + 2) + x * x - 1)
    torch.testing.assert_close((v.reshape(3, 2) @ v).network()(x), x.reshape(-1, 3, 2) @ x)
    torch.testing.assert_close((v / v).network()(x), torch.ones_like(x))
    assert not any(isinstance(node.op, Product) for node in (v * v).network().graph.nodes)


def test_what_does_not_fit_is_told() -> None:
    other, network = verify.variable((2, 2)), NETWORKS["relu"](0)
    v: Any = verify.variable((2, 2))  # of a type that lets wrong things be written
    wrongs: list[tuple[Callable[[], Any], str]] = [
        (lambda: v + other, "different variables"), (lambda: v * other, "different variables"),
        (lambda: v * v[0], r"are multiplied; reshape"), (lambda: v @ v[0], "no matrix product"),
        (lambda: v + v[0], r"shape \(2, 2\) and one of shape \(2,\)"), (lambda: v / 0, "divided by zero"),
        (lambda: v + torch.zeros(3), r"shape \(3,\) does not broadcast"), (lambda: v["a"], "no entries"),
        (lambda: v[5], "no entries"), (lambda: v.reshape(3), "cannot be reshaped"),
        (lambda: network(v), "takes samples"),
        (lambda: v + "a", "not a finite number"), (lambda: v + float("nan"), "not a finite number"),
        (lambda: verify.concatenate([v, other]), "different variables"), (lambda: verify.concatenate([]), "or none"),
        (lambda: verify.concatenate([v, v[0]]), "do not fit"), (lambda: verify.variable((0,)), "at least 1"),
        (lambda: network(verify.variable((3,), torch.float64)), "make the variable with dtype"),
    ]
    for wrong, words in wrongs:
        with pytest.raises(InputError, match=words):
            wrong()


def test_entries_are_picked_clipped_and_summed() -> None:
    x = verify.variable((2, 3), torch.float64)
    given = torch.tensor([[[0.5, -1.0, 2.0], [3.0, 0.25, -0.5]]], dtype=torch.float64)
    places = np.array([[5, -1], [0, 2]])
    assert x.picked(places).network()(given).tolist() == [[[-0.5, 0.0], [0.5, 2.0]]]
    assert x.clip("-1/2", 1).network()(given).tolist() == [[[0.5, -0.5, 1.0], [1.0, 0.25, -0.5]]]
    assert x.sum(1).network()(given).tolist() == [[1.5, 2.75]]
    torch.testing.assert_close(x.sin().network()(given), given.sin())
    torch.testing.assert_close(x.cos().network()(given), given.cos())
    for places in ([6], [-2]):
        with pytest.raises(InputError, match="has no entries at flat places"):
            x.picked(np.array(places))
    with pytest.raises(InputError, match="must be below the upper one"):
        x.clip(1, 1)
    with pytest.raises(InputError, match="has no axis 2"):
        x.sum(2)
