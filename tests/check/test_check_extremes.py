"""Numbers that are too small or too large for float32, inputs that are no floats, boxes of one point, empty claims.

At level F nothing is accepted that some order of summation breaks; at level R nothing that is false in rationals.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.certificates import Parts, claimed, dense, real_violation, row
from tests.support.chains import HINGE, accepted, broken, case, chain, floats, matrix, real_maximum, scale
from tests.support.machines import Rationals, outputs
from verify.check.checker import check

SEEDS = st.integers(0, 2**32 - 1)
traps = settings(deadline=None, max_examples=50, derandomize=True, database=None)


def test_subnormal_and_huge_weights() -> None:
    """Products of weights from 1e-45 to 1e38 that float32 may flush or overflow on the way."""
    seen: Counter[str] = Counter()
    traps(given(seed=SEEDS)(_extreme_weights))(seen=seen)
    assert seen["R"] >= 90, f"too few are accepted: {seen}"
    assert seen["F"] >= 35, f"too few are accepted: {seen}"


def _extreme_weights(seed: int, seen: Counter[str]) -> None:
    rng = np.random.default_rng(seed)
    factors = 10.0 ** rng.uniform(-45, 38, int(rng.integers(1, 5))) * rng.choice([-1, 1])
    steps = [(f"s{k}", scale(factor)) for k, factor in enumerate(factors)]
    if rng.random() < 0.5:
        steps.insert(int(rng.integers(len(steps) + 1)), ("act", {**HINGE, "shape": [1]}))
    net = chain(1, *steps)
    low = Fraction(float(10.0 ** rng.uniform(-44, 30)))
    given = case(low, low * int(rng.integers(1, 3)), 1, [])
    top, bottom = (real_maximum(net, {**given, "high": given["low"]}), real_maximum(net, given))
    for part in (Fraction(1), Fraction(11, 10), Fraction(1, 2), Fraction(2), Fraction(0)):
        for sign in (1, -1):
            line = row({0: sign}, part * max(sign * top, sign * bottom))
            claim = {**given, "disjuncts": [[line]]}
            if accepted(net, claim, "F"):
                seen["F"] += 1
                assert not broken(net, claim, rng)
            if accepted(net, claim, "R"):
                seen["R"] += 1
                ends = np.array([[Fraction(given[end][0])] for end in ("low", "high")], object)
                assert max(real_violation(claimed(*net, [claim]), claim, ends)) < 0


def test_overflow_is_no_proof() -> None:
    wide = chain(2, ("y", matrix(floats([3e38, -3e38]))))
    far = case(Fraction(2), Fraction(2), 2, [row({0: 1}, 10**39)])
    assert broken(wide, far, np.random.default_rng(0))
    assert not accepted(wide, far, "F")
    assert accepted(wide, far, "R")
    mean = {"op": "gather", "shape": [1], "index": np.zeros((1, 16), "<i4"), "divisor": np.array([16], "<i4")}
    large = case(Fraction(2**125), Fraction(2**125), 1, [row({0: 1}, 2**126)])
    assert broken(chain(1, ("y", mean)), large, np.random.default_rng(0))
    assert not accepted(chain(1, ("y", mean)), large, "F")
    beyond = chain(1, *((f"s{k}", scale(1e38)) for k in range(9)))
    assert not accepted(beyond, case(Fraction(0), Fraction(1), 1, [row({0: -1}, 1)]), "R")
    double = chain(1, ("y", {**matrix(floats([1])), "weight": np.array([[1e300]])}))
    assert not accepted(double, case(Fraction(0), Fraction(0), 1, [row({0: 1}, 1)]), "F")


def test_what_underflows_in_the_checker_is_not_zero() -> None:
    """A subnormal quarter of 1e-330 times 2^1000 is far above 2^-200."""
    net = chain(
        1, ("a", {**HINGE, "shape": [1], "slopes": ["0", "1/4"]}),
        ("b", {**matrix(floats([1])), "weight": np.array([[2.0**1000]])}),
        ("c", {**HINGE, "shape": [1], "breakpoints": [f"1/{2**200}"], "anchor": [f"1/{2**200}", "0"]}))
    given = case(Fraction(0), Fraction(1, 10**330), 1, [row({0: 1}, Fraction(1, 2**150))])
    assert real_maximum(net, given) > Fraction(1, 2**150)
    assert not accepted(net, given, "R")
    assert not accepted(net, given, "R", exact=True)


def test_maxima_may_flush() -> None:
    net = chain(2, ("y", {"op": "max", "shape": [1], "groups": np.array([[0, 1]], "|i1")}))
    tiny = -Fraction(1, 10**40)
    given = {"low": [str(tiny)] * 2, "high": [str(tiny)] * 2, "disjuncts": [[row({0: 1}, 0)]]}
    assert accepted(net, given, "R")
    assert not accepted(net, given, "F")


@pytest.mark.parametrize("text", ["1/10", "-1/3", "2/3", f"1/{10**40}", f"{2**30 + 1}/{2**30}"])
def test_boxes_of_one_point_that_is_no_float(text: str) -> None:
    """At level F the input is the float32 next to it, whichever that is; the network moves it, which rounds nothing."""
    value, one = Fraction(text), np.ones(1, "<i4")
    net = chain(1, ("y", {"op": "gather", "shape": [1], "index": 0 * one[:, None], "divisor": one}))
    near = Fraction(float(np.float32(float(value))))
    for sign in (1, -1):
        for offset in (value, near):
            for gap in (Fraction(0), Fraction(1, 2**60), Fraction(1, 1000)):
                given = case(value, value, 1, [row({0: sign}, sign * offset + gap)])
                real, single = (sign * v - (sign * offset + gap) < 0 for v in (value, near))
                assert accepted(net, given, "R", exact=True) == real
                assert real or not accepted(net, given, "R")
                assert single or not accepted(net, given, "F")
    assert accepted(net, case(value, value, 1, [row({0: 1}, value + 1)]), "F")


@traps
@given(SEEDS)
def test_boxes_of_one_point_are_evaluated(seed: int) -> None:
    """Where low == high everywhere, exact rationals decide: the claim holds if and only if the value is below 0."""
    rng = np.random.default_rng(seed)
    sizes = [3, *rng.integers(1, 5, int(rng.integers(1, 4))).tolist(), 2]
    weights = [rng.normal(size=(m, n)).astype(np.float32) for n, m in pairwise(sizes)]
    net = dense(weights, [rng.normal(size=len(w)).astype(np.float32) for w in weights])
    x = np.array([Fraction(int(rng.integers(-20, 21)), int(rng.integers(1, 20))) for _ in range(3)], object)
    value = outputs(*net, Rationals(), x[None])[0]
    point = {"low": [str(v) for v in x], "high": [str(v) for v in x]}
    for gap in (Fraction(0), Fraction(1, 2**200), -Fraction(1, 2**200), Fraction(1, 1000)):
        claim = {**point, "disjuncts": [[row({0: 1, 1: -2}, value[0] - 2 * value[1] + gap)]]}
        assert accepted(net, claim, "R", exact=True) == (gap > 0)
        assert gap > 0 or not accepted(net, claim, "R")
    assert accepted(net, claim, "R")


def test_claims_and_proofs_of_nothing() -> None:
    net = dense([floats([1])], [None])
    unsafe = case(Fraction(0), Fraction(1), 1, [row({0: 1}, 0)])
    parts = claimed(*net, [unsafe])
    assert not check(parts.bytes()).accepted
    nothing = {".tasks": np.zeros((0, 2), "<i4"), ".variable": np.zeros(0, "<i4"), ".weight": np.zeros((0, 0), "<u2")}
    empty = Parts(parts.header, {**parts.arrays, **nothing})
    assert "nothing proves" in check(empty.bytes()).reason
    empty.header["boxes"] = []
    empty.header["searches"] = [{"case": 0, "columns": [], "ranges": [], "lemmas": [], "tasks": []}]
    assert not check(empty.bytes()).accepted
    for disjuncts in ([], [[]]):
        bare = parts.copy()
        bare.header["cases"][0]["disjuncts"] = disjuncts
        assert not check(bare.bytes()).accepted
    turned = parts.copy()
    turned.header["cases"][0].update(low=["1"], high=["0"])
    assert "empty box" in check(turned.bytes()).reason
