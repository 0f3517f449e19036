"""Maxima as hinges: the same function, and bounds over it hold for programs that take maxima."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given

from tests.check.test_check_bounds import EXACT, FLOATS, RULES, SEEDS, SINGLE_OPS, boxes, few, holds, points
from tests.support.canonical_nets import random_network
from tests.support.checked import evaluated
from tests.support.machines import Rationals, Singles, values
from verify.check.bounds import Level, sweep
from verify.check.network import Network, Node, build
from verify.check.numbers import Rejected
from verify.check.ops import Affine, Max
from verify.check.unfold import unfolded

KINDS = (*SINGLE_OPS, "max", "max", "max", "max")


@few
@given(SEEDS)
def test_the_function_is_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = build(EXACT, *random_network(rng, KINDS))
    hinged, owner = unfolded(EXACT, network)
    assert not any(isinstance(node.op, Max) for node in hinged.nodes)
    assert set(owner.values()) == {node.name for node in network.nodes
                                   if isinstance(node.op, Max) and node.op.groups.shape[1] > 1}
    x = Rationals().numbers(rng.integers(-8, 9, (2, 18))) / 8
    assert bool((evaluated(hinged, EXACT, x) == evaluated(network, EXACT, x)).all())


@few
@given(SEEDS, RULES)
def test_bounds_of_level_f_hold_what_maxima_in_float32_give(seed: int, rule: tuple[str, str]) -> None:
    rng = np.random.default_rng(seed)
    scale = float(rng.choice([1e-38, 1e-20, 1.0]))
    net, (low, high) = random_network(rng, KINDS, scale=scale), boxes(rng)
    network, _ = unfolded(FLOATS, build(FLOATS, *net))
    layers = {node.name: rule for node in network.nodes if not isinstance(node.op, Affine)}
    found = sweep(network, Level(FLOATS, True), low, high, layers)
    rows = rng.normal(size=(2, 3))
    bounds = found.row_bounds(network.output, rows, np.arange(2))
    for flush in (False, True):
        for k in range(2):
            value = values(*net, Singles(rng, "tree", flush), points(low[k], high[k], rng, 8).astype(np.float32))
            value.pop("x")
            holds(found, k, {name: Rationals().numbers(at) for name, at in value.items()})
            y = Rationals().numbers(value[network.output])
            assert bool((y @ Rationals().numbers(rows[k]) <= Fraction(float(bounds[k]))).all())


def test_a_name_that_is_taken_is_rejected() -> None:
    groups = Max(np.array([[0, 1], [1, 2]]))
    nodes = (Node("m.rise0_0", groups, ("x",), (2,)), Node("m", groups, ("x",), (2,)))
    with pytest.raises(Rejected, match="the name that a part of a maximum gets"):
        unfolded(FLOATS, Network("x", (3,), nodes))
