"""The checker's products against rationals and float32 machines: planes, boxes, rows, and what does not fit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.machines import Arrays, Machine, Rationals, Singles, values
from verify.check.bounds import Level, Relaxation, sweep
from verify.check.network import build
from verify.check.numbers import Arithmetic, Rejected
from verify.check.ops import Affine
from verify.check.rows import Duals

FLOATS, EXACT = Arithmetic(), Arithmetic(True)
SEEDS, RULES = st.integers(0, 2**32 - 1), st.sampled_from(["adaptive", "zero", "one", "parallel"])
few = settings(deadline=None, max_examples=40, derandomize=True, database=None)


def node(name: str, op: str, inputs: list[str], shape: list[int], **fields: Any) -> dict[str, Any]:
    return {"name": name, "op": op, "inputs": inputs, "shape": shape, **fields}


def attention(rng: np.random.Generator, scale: float = 1.0) -> tuple[dict[str, Any], Arrays]:
    """Of x (2, 3, 2): maps of it multiplied as matrices, the product with itself, and sums of both; 4 outputs."""
    arrays = {
        "u": (rng.normal(size=(2, 2)) * scale).astype("<f4"), "v": (rng.normal(size=(4, 3)) * scale).astype("<f4"),
        "turn": np.arange(12).reshape(2, 3, 2).swapaxes(1, 2).reshape(-1, 1).astype("<i4"),
        "once": np.ones(12, "<i4"), "w": (rng.normal(size=(4, 18)) * scale).astype("<f4"),
        "flat": np.arange(18).reshape(-1, 1).astype("<i4"), "ones": np.ones(18, "<i4"), "b": np.ones(3, "<f4"),
    }
    nodes = [
        node("q", "linear", ["x"], [2, 3, 2], weight="u", bias=None),
        node("k", "gather", ["x"], [2, 2, 3], index="turn", divisor="once"),
        node("s", "product", ["q", "k"], [2, 3, 3], pairing="matrix"),
        node("r", "shift", ["s"], [2, 3, 3], offset="b"),
        node("p", "product", ["r", "s"], [2, 3, 3], pairing="entrywise"),
        node("f", "gather", ["p"], [18], index="flat", divisor="ones"),
        node("y", "linear", ["f"], [4], weight="w", bias=None),
    ]
    return {"input": "x", "shape": [2, 3, 2], "nodes": nodes}, arrays


def boxes(rng: np.random.Generator, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Two boxes of float32 ends, some inputs fixed."""
    center, spread = rng.normal(size=(2, 12)), rng.random((2, 12)) * (rng.random((2, 12)) > 0.3) * radius
    low, high = ((center + side * spread).astype(np.float32).astype(np.float64) for side in (-1, 1))
    return low, high


def relaxed(net: tuple[dict[str, Any], Arrays], level: Level, box: tuple[np.ndarray, np.ndarray], rule: str,
            how: str = "backward") -> Relaxation:
    network = build(level.number, *net)
    layers = {n.name: (how, rule) for n in network.nodes if not isinstance(n.op, Affine)}
    with np.errstate(all="ignore"):
        return sweep(network, level, level.number.of(box[0]), level.number.of(box[1]), layers)


@few
@given(SEEDS, RULES, st.sampled_from(["R", "F", "exact"]))
def test_boxes_and_rows_hold_the_values(seed: int, rule: str, how: str) -> None:
    rng = np.random.default_rng(seed)
    scale = float(rng.choice([0.5, 2, 1e4, 1e-30]))
    net, (low, high) = attention(rng, scale), boxes(rng, float(rng.choice([1e-3, 1, 0])))
    level = Level(EXACT if how == "exact" else FLOATS, how == "F")
    found = relaxed(net, level, (low, high), rule, str(rng.choice(["interval", "backward"])))
    rows, direct, owner = rng.normal(size=(3, 4)), rng.normal(size=(3, 12)), np.array([0, 1, 1])
    bounds = found.row_bounds("y", level.number.of(rows), owner, level.number.of(direct))
    machine: Machine = Rationals()
    if how == "F":
        machine = Singles(rng, str(rng.choice(["sequential", "fused", "tree", "pairwise"])), bool(rng.integers(2)))
    for k in range(2):
        share = rng.random((5, 12))
        share[::2] = share[::2].round()
        x = np.clip((low[k] + share * (high[k] - low[k])).astype(np.float32).astype(np.float64), low[k], high[k])
        value = {name: Rationals().numbers(v) for name, v in values(*net, machine, machine.numbers(x)).items()}
        for name, exact in value.items():
            ends = [Rationals().numbers(side[name][min(k, len(side[name]) - 1)]) for side in (found.low, found.high)]
            assert bool(((ends[0] <= exact) & (exact <= ends[1])).all()), name
        for r in np.flatnonzero(owner == k):
            total = value["y"] @ Rationals().numbers(rows[r]) + Rationals().numbers(x) @ Rationals().numbers(direct[r])
            assert total.max() <= Fraction(bounds[r])


@few
@given(SEEDS, RULES)
def test_planes_touch_at_their_corners(seed: int, rule: str) -> None:
    """One product of two inputs: over the box the row's bound is the exact maximum of the planes, at a corner."""
    rng = np.random.default_rng(seed)
    net = ({"input": "x", "shape": [2], "nodes": [
        node("a", "gather", ["x"], [1], index="i", divisor="1"),
        node("b", "gather", ["x"], [1], index="j", divisor="1"),
        node("y", "product", ["a", "b"], [1], pairing="entrywise")]},
        {"i": np.array([[0]], "<i4"), "j": np.array([[1]], "<i4"), "1": np.ones(1, "<i4")})
    ends = np.sort(rng.integers(-16, 17, (2, 2)) / 8, 0)
    found = relaxed(net, Level(EXACT), (ends[:1], ends[1:]), rule)
    (c, e), (r, s) = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    t = {"zero": -1, "one": 1}.get(rule, 0)
    for sign in (1, -1):
        got = found.row_bounds("y", EXACT.of(np.array([[sign]])), np.array([0]))[0]
        planes = [sign * (c * y + e * x - c * e) + r * s + t * (sign * 0 + (r * (y - e) - sign * s * (x - c)))
                  for x in ends[:, 0] for y in ends[:, 1]]
        assert got == max(map(Fraction, planes))
        corners = [sign * x * y for x in ends[:, 0] for y in ends[:, 1]]
        assert Fraction(max(corners)) == (found.high["y"][0, 0] if sign > 0 else -found.low["y"][0, 0])
        assert got >= max(corners)


@few
@given(SEEDS, st.sampled_from(["R", "F", "exact"]))
def test_rows_with_shares_and_multipliers_hold_where_factors_are_in_their_ranges(seed: int, how: str) -> None:
    """Of points of the box: columns are some entries of the factors, their ranges hold the values there."""
    rng = np.random.default_rng(seed)
    scale = float(rng.choice([0.5, 2, 1e4, 1e-30]))
    net, (low, high) = attention(rng, scale), boxes(rng, float(rng.choice([1e-3, 1])))
    level = Level(EXACT if how == "exact" else FLOATS, how == "F")
    found = relaxed(net, level, (low[:1], high[:1]), "adaptive", "interval")
    machine: Machine = Rationals()
    if how == "F":
        machine = Singles(rng, str(rng.choice(["sequential", "fused", "tree", "pairwise"])), bool(rng.integers(2)))
    x = low[0] + rng.random((6, 12)) * (high[0] - low[0])
    x = np.clip(x.astype(np.float32).astype(np.float64), low[0], high[0])
    value = {name: Rationals().numbers(v) for name, v in values(*net, machine, machine.numbers(x)).items()}
    columns, at, count = {}, [], 0
    for name, factors in (("s", ("q", "k")), ("p", ("r", "s"))):
        both = np.concatenate([value[factor] for factor in factors], 1)
        entries = rng.permutation(both.shape[1])[: rng.integers(1, both.shape[1] + 1)]
        columns[name] = entries, slice(count, count + len(entries))
        at.append(both[:, entries].astype(np.float64))
        count += len(entries)
    centers, wide = np.concatenate(at, 1), np.abs(np.concatenate(at, 1)).max() + 1e-30
    spread = wide * 10.0 ** rng.integers(-6, 1, (2, 6, count)) * rng.random((2, 6, count))
    ranges = [level.number.of(np.nextafter(centers + sign * part, sign * np.inf)) for sign, part in
              zip((-1, 1), spread, strict=True)]
    pressed = rng.normal(size=(6, count)) * (rng.random((6, count)) < 0.3) * scale
    shares = level.number.of(rng.integers(0, 129, (6, count)) / 128)
    duals = Duals(columns, ranges[0], ranges[1], shares, level.number.of(pressed))
    rows = rng.normal(size=(6, 4))
    with np.errstate(all="ignore"):
        bounds = found.row_bounds("y", level.number.of(rows), np.zeros(6, int), duals=duals)
    for k in range(6):
        assert value["y"][k] @ Rationals().numbers(rows[k]) <= Fraction(bounds[k])


def test_products_that_do_not_fit_are_rejected() -> None:
    rng = np.random.default_rng(0)
    for change in ({"pairing": "outer"}, {"inputs": ["q"]}, {"inputs": ["q", "q"]}, {"shape": [2, 3, 2]}, {"more": 1},
                   {"pairing": "entrywise"}, {"inputs": ["q", "k", "k"]}):
        header, arrays = attention(rng)
        header["nodes"][2].update(change)
        with pytest.raises(Rejected):
            build(FLOATS, header, arrays)


def test_products_that_overflow_are_rejected() -> None:
    net, box = attention(np.random.default_rng(1), 1e30), (np.full((1, 12), 1e31), np.full((1, 12), 2e31))
    with pytest.raises(Rejected, match="beyond"):
        relaxed(net, Level(FLOATS), box, "adaptive")
    mild = attention(np.random.default_rng(1), 1e8), (np.full((1, 12), 1e8), np.full((1, 12), 1e8))
    relaxed(mild[0], Level(FLOATS), mild[1], "adaptive")
    with pytest.raises(Rejected, match="overflow float32"):
        relaxed(mild[0], Level(FLOATS, True), mild[1], "adaptive")
