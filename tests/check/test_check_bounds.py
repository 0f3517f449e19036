"""The checker's bounds against exact values, float32 machines, and rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import fsum
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.canonical_nets import ALL, SMOOTHABLE, random_network
from tests.support.checked import evaluated
from tests.support.machines import Arrays, Machine, Rationals, Singles, outputs, values
from verify.check.bounds import Level, Relaxation, sweep
from verify.check.network import Network, build
from verify.check.numbers import DOUBLE, SINGLE, Arithmetic, gamma
from verify.check.ops import Affine, Max, Piecewise
from verify.check.rows import Duals
from verify.check.tree import Forest

FLOATS, EXACT = Arithmetic(), Arithmetic(True)
SEEDS = st.integers(0, 2**32 - 1)
RULES = st.tuples(st.sampled_from(["interval", "backward"]), st.sampled_from(["adaptive", "zero", "one", "parallel"]))
few = settings(deadline=None, max_examples=60, derandomize=True, database=None)


SINGLE_OPS = tuple(kind for kind in ALL if kind != "norm")  # level F refuses it


def boxes(rng: np.random.Generator, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Random boxes of float32 ends, some inputs fixed; (count, 18) float64."""
    center, radius = rng.normal(size=(count, 18)), rng.random((count, 18)) * (rng.random((count, 18)) > 0.3)
    ends = ((center + side * radius).astype(np.float32).astype(np.float64) for side in (-1, 1))
    low, high = ends
    return low, high


def relaxed(
    net: tuple[dict[str, Any], Arrays], level: Level, box: tuple[np.ndarray, np.ndarray], rule: tuple[str, str]
) -> tuple[Network, Relaxation]:
    network = build(level.number, *net)
    layers = {node.name: rule for node in network.nodes if not isinstance(node.op, Affine)}
    low, high = map(level.number.of, box)
    with np.errstate(all="ignore"):
        return network, sweep(network, level, low, high, layers)


def points(low: np.ndarray, high: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """float32 points of one box, half of them corners; float64."""
    share = rng.random((count, len(low)))
    share[::2] = share[::2].round()
    inside = np.clip((low + share * (high - low)).astype(np.float32).astype(np.float64), low, high)
    return np.where(share == 1, high, inside)


def holds(found: Relaxation, k: int, value: dict[str, np.ndarray]) -> None:
    """Rational values (points, entries) lie in the k-th boxes."""
    for name, at in value.items():
        low, high = (Rationals().numbers(side[name][min(k, len(side[name]) - 1)]) for side in (found.low, found.high))
        assert bool((low <= at).all()), name
        assert bool((at <= high).all()), name


@few
@given(SEEDS)
def test_both_evaluators_mean_the_same_by_every_op(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = random_network(rng, SINGLE_OPS)
    x = Rationals().numbers(rng.integers(-8, 9, (2, 18))) / 8
    assert bool((evaluated(build(EXACT, *net), EXACT, x) == outputs(*net, Rationals(), x)).all())


@few
@given(SEEDS, RULES)
def test_boxes_and_rows_hold_exact_values(seed: int, rule: tuple[str, str]) -> None:
    rng = np.random.default_rng(seed)
    net, (low, high) = random_network(rng, scale=float(rng.choice([0.5, 2, 1e6]))), boxes(rng)
    network, found = relaxed(net, Level(FLOATS), (low, high), rule)
    rows, direct = rng.normal(size=(4, 3)), rng.normal(size=(4, 18))
    owner = np.array([0, 1, 1, 0])
    bounds = found.row_bounds(network.output, rows, owner, direct)
    alone = found.entry_bounds(network.output, owner, np.array([0, 1, 2, 2]), np.array([1.0, -1, 1, -1]))
    picked = np.array([[1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    for k in range(2):
        x = Rationals().numbers(points(low[k], high[k], rng, 6))
        value = values(*net, Rationals(), x)
        holds(found, k, value)
        for r in np.flatnonzero(owner == k):
            y = value[network.output]
            exact = y @ Rationals().numbers(rows[r]) + x @ Rationals().numbers(direct[r])
            assert Fraction(float(bounds[r])) >= exact.max()
            assert Fraction(float(alone[r])) >= (y @ Rationals().numbers(picked[r])).max()


@few
@given(SEEDS, st.booleans(), st.booleans())
def test_rows_with_duals_hold_wherever_their_columns_do(seed: int, exact: bool, single: bool) -> None:
    """Any slope and any multiplier: the bound is of the inputs whose columns lie in the row's boxes."""
    rng, number = np.random.default_rng(seed), EXACT if exact else FLOATS
    net, (low, high) = random_network(rng, SINGLE_OPS if single else ALL, 3), boxes(rng, 1)
    network, found = relaxed(net, Level(number, single), (low, high), ("backward", "adaptive"))
    machine: Machine = Singles(rng, "tree") if single else Rationals()
    value = values(*net, machine, machine.numbers(points(low[0], high[0], rng, 40)))
    columns, start, ends, inside = {}, 0, [], np.ones(40, bool)
    for node in network.nodes:
        if isinstance(node.op, Piecewise):
            entries = rng.permutation(node.entries)[:3]
            columns[node.name] = entries, slice(start, start + len(entries))
            start, source = start + len(entries), node.inputs[0]
            box = [side[source][:, entries].copy() for side in (found.low, found.high)]
            if rng.integers(2):  # lines may be those of wider boxes
                more = number.of(rng.random(len(entries)) * 2)
                box = [box[0] - more, box[1] + more]
            cut, at = rng.integers(3, size=len(entries)), number.of(value[source][0][entries].astype(np.float64))
            box[0][0] = np.where(cut == 1, np.maximum(at, box[0][0]), box[0][0])
            box[1][0] = np.where(cut == 2, np.minimum(at, box[1][0]), box[1][0])
            inside &= ((value[source][:, entries] >= box[0]) & (value[source][:, entries] <= box[1])).all(1)
            ends.append(box)
    bottom, top = (np.concatenate([number.zeros((1, 0)), *(box[k] for box in ends)], 1) for k in (0, 1))
    share = number.of(rng.integers(0, 129, (1, start)) / 128)
    multiplier = number.of((rng.normal(size=(1, start)) * rng.integers(0, 3, (1, start))).astype(np.float32))
    duals = Duals(columns, bottom, top, share, multiplier)
    rows = rng.normal(size=(1, 3))
    bound = found.row_bounds(network.output, number.of(rows), np.zeros(1, int), None, duals)[0]
    y = Rationals().numbers(value[network.output][inside])
    assert bool((y @ Rationals().numbers(rows[0]) <= Fraction(bound)).all())


@few
@given(SEEDS, st.booleans())
def test_exact_bounds_agree_and_are_never_looser(seed: int, backward: bool) -> None:
    """Rules that choose among lines may choose others where rounding breaks a tie; hinges off their ends do not."""
    rng = np.random.default_rng(seed)
    net, box = random_network(rng, SMOOTHABLE if backward else ALL, 3), boxes(rng, 1)
    rule = ("backward" if backward else "interval"), "zero"
    (network, rounded), (_, exact) = (relaxed(net, Level(number), box, rule) for number in (FLOATS, EXACT))
    for node in network.nodes:
        if isinstance(node.op, Piecewise) and backward:
            sides = [exact.low[node.inputs[0]] - b for b in node.op.breakpoints]
            sides += [exact.high[node.inputs[0]] - b for b in node.op.breakpoints]
            assume(all(abs(v) > 1e-9 for side in sides for v in side.flat))
        size = 1 + float(rounded.most[node.name].max())
        pairs = (rounded.low, exact.low, -1), (rounded.high, exact.high, 1)
        for mine, other, sign in ((a[node.name], b[node.name], sign) for a, b, sign in pairs):
            assert not any(isinstance(v, float) for v in other.flat)
            gap = sign * (Rationals().numbers(mine) - other)
            assert bool((gap >= 0).all()), node.name
            assert bool((gap <= 1e-9 * size).all()), node.name
    rows = rng.normal(size=(3, 3))
    ends = [found.row_bounds(network.output, found.number.of(rows), np.zeros(3, int)) for found in (rounded, exact)]
    for a, b in zip(*ends, strict=True):
        assert b <= Fraction(float(a)) <= b + Fraction(1e-9) * (1 + abs(b) + int(rounded.most[network.output].max()))


@few
@given(SEEDS, RULES, st.sampled_from([1e-38, 1e-20, 0.3, 1.0, 1e5]))
def test_boxes_of_level_f_hold_float32_values_in_every_order(seed: int, rule: tuple[str, str], scale: float) -> None:
    rng = np.random.default_rng(seed)
    net, (low, high) = random_network(rng, SINGLE_OPS, scale=scale), boxes(rng)
    network, found = relaxed(net, Level(FLOATS, True), (low, high), rule)
    rows = rng.normal(size=(2, 3))
    bounds = found.row_bounds(network.output, rows, np.arange(2))
    for how in ("sequential", "fused", "tree", "pairwise"):
        for flush in (False, True):
            for k in range(2):
                machine = Singles(rng, how, flush)
                value = values(*net, machine, points(low[k], high[k], rng, 8).astype(np.float32))
                value.pop("x")
                holds(found, k, {name: Rationals().numbers(at) for name, at in value.items()})
                y = Rationals().numbers(value[network.output])
                assert bool((y @ Rationals().numbers(rows[k]) <= Fraction(float(bounds[k]))).all())


def products(a: np.ndarray, b: np.ndarray) -> tuple[Fraction, Fraction]:
    """The sum of the products, and of their magnitudes."""
    parts = Rationals().numbers(a) * Rationals().numbers(b)
    return parts.sum(), abs(parts).sum()


@few
@given(SEEDS, st.integers(1, 200), st.floats(-30, 30))
def test_the_model_of_rounding_covers_every_order_of_a_sum(seed: int, terms: int, exponent: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, terms)) * 10 ** (exponent * rng.random((2, terms)) / 4)
    exact, size = products(a, b)
    tiny = Fraction(FLOATS.absolute(terms))
    for found in (float(a @ b), float(np.einsum("i,i->", a, b)), float((a * b)[::-1].sum()), fsum(a * b)):
        assert abs(Fraction(found) - exact) <= Fraction(gamma(terms, DOUBLE)) * size + tiny
    short = a.astype(np.float32), b.astype(np.float32)
    exact, size = products(*short)
    for order in (slice(None), slice(None, None, -1), rng.permutation(terms)):
        total = np.float32(0)
        for x, y in zip(short[0][order], short[1][order], strict=True):
            total = np.float32(total + x * y)
        limit = Fraction(gamma(terms, SINGLE)) * size + Fraction(2.0**-126) * terms
        assert abs(Fraction(float(total)) - exact) <= limit


@pytest.mark.parametrize(("unit", "kind"), [(DOUBLE, np.float64), (SINGLE, np.float32)])
def test_gamma_is_just_enough_where_every_rounding_goes_one_way(unit: float, kind: type) -> None:
    """1 + u rounds to 1: each further term u is lost whole."""
    total, lost = kind(1), 0
    for _ in range(1000):
        total, lost = total + kind(unit), lost + 1
    assert total == 1
    error, size = Fraction(unit) * lost, 1 + Fraction(unit) * lost
    assert error <= Fraction(gamma(1001, unit)) * size <= error * Fraction(102, 100)


@few
@given(SEEDS, st.integers(0, 12), st.integers(1, 3))
def test_leaves_of_a_forest_cover_its_roots(seed: int, splits: int, roots: int) -> None:
    rng = np.random.default_rng(seed)
    inner, nodes = [], roots
    while len(inner) < splits:  # breadth first: any later node may split
        inner.append(int(rng.integers(inner[-1] + 1 if inner else 0, nodes)))
        nodes += 2
        if inner[-1] == nodes - 1:
            break
    variable = np.full(nodes, -1)
    variable[inner] = rng.integers(0, 2, len(inner))
    forest = Forest(roots, variable, rng.normal(size=len(inner)).round(1), 2)
    low, high = rng.normal(size=(roots, 2)) - 1, rng.normal(size=(roots, 2)) + 1
    high = np.maximum(low, high)
    root, lows, highs = forest.boxes(FLOATS, forest.leaves, low, high, np.arange(roots))
    for r in range(roots):
        x = low[r] + rng.random((50, 2)) * (high[r] - low[r])
        inside = (x[:, None] >= lows[root == r]) & (x[:, None] <= highs[root == r])
        assert bool(inside.all(2).any(1).all())
        assert bool((lows[root == r] >= low[r]).all() and (highs[root == r] <= high[r]).all())


def test_every_op_of_the_checker_occurs_in_random_networks() -> None:
    seen = set()
    for seed in range(40):
        network = build(FLOATS, *random_network(np.random.default_rng(seed)))
        seen |= {type(node.op).__name__ for node in network.nodes}
    assert seen == {"Linear", "Conv", "Gather", "Add", "Entrywise", "Norm", Piecewise.__name__, Max.__name__}
