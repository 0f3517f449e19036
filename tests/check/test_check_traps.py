"""Networks that do in float32 what they do not do in real arithmetic.

A large constant comes and goes around a tiny signal (Jia and Rinard 2021; Szasz, Banhelyi, Jelasity 2025), numbers are
too small or too large for float32, inputs are no floats. At level F nothing is accepted that some order of summation
breaks; at level R nothing that is false in rationals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.certificates import Parts, claimed, dense, linear, real_violation, row
from tests.support.machines import Arrays, Rationals, Singles, outputs
from verify.check.checker import check

Net = tuple[dict[str, Any], Arrays]
SEEDS = st.integers(0, 2**32 - 1)
traps = settings(deadline=None, max_examples=50, derandomize=True, database=None)
PROOFS = [("interval", "adaptive"), ("backward", "adaptive"), ("backward", "parallel")]


def floats(*values: Any) -> np.ndarray:
    return np.array(values, "<f4")


def chain(inputs: int, *steps: tuple[str, dict[str, Any]]) -> Net:
    """Nodes one after the other: (name, fields), fields that are arrays are stored."""
    nodes, arrays, at = [], {}, "x"
    for name, fields in steps:
        kept = {}
        for key, value in fields.items():
            kept[key] = value
            if isinstance(value, np.ndarray):
                kept[key] = f"{name}.{key}"
                arrays[kept[key]] = value
        nodes.append({"name": name, "inputs": [at], **kept})
        at = name
    return {"input": "x", "shape": [inputs], "nodes": nodes}, arrays


def matrix(weight: np.ndarray, bias: np.ndarray | None = None) -> dict[str, Any]:
    return {"op": "linear", "shape": [len(weight)], "weight": weight, "bias": bias}


def shift(by: float) -> dict[str, Any]:
    return {"op": "shift", "shape": [1], "offset": floats(by)}


def scale(by: float) -> dict[str, Any]:
    return {"op": "scale", "shape": [1], "factor": floats(by)}


HINGE = {"op": "piecewise", "breakpoints": ["0"], "slopes": ["0", "1"], "anchor": ["0", "0"]}


def residual(big: float) -> Net:
    """(x + big) - big, where the second big is a branch of its own."""
    net, arrays = chain(1, ("a", shift(big)))
    arrays.update(w=floats([0]), b=floats(big))
    branch = linear("b", "x", 1, "w", "b")
    return {**net, "nodes": [*net["nodes"], branch, {
        "name": "y", "inputs": ["a", "b"], "shape": [1], "op": "add", "signs": [1, -1]}]}, arrays


def conv(big: float) -> Net:
    """A kernel (1, big, -big) on the map (x, 1, 1)."""
    every, ones = np.arange(3, dtype="<i4")[:, None], np.ones(3, "<i4")
    as_map = {"op": "gather", "shape": [1, 3], "index": every, "divisor": ones}
    fields = {"op": "conv", "shape": [1, 1], "weight": floats([[1, big, -big]]), "bias": None, "stride": [1],
              "padding": [0], "dilation": [1], "groups": 1, "transposed": False}
    return chain(3, ("map", as_map), ("y", fields))


def total(big: float, divisor: int) -> Net:
    """x, big and -big, summed up and divided."""
    add = {"op": "gather", "shape": [1], "index": np.array([[0, 1, 2]], "<i4"), "divisor": np.array([divisor], "<i4")}
    return chain(1, ("parts", matrix(floats([1], [0], [0]), floats(0, big, -big))), ("y", add))


AFFINE: dict[str, tuple[Callable[[float], Net], int]] = {  # and the number of inputs, all but the first of which are 1
    "dot": (lambda big: chain(3, ("y", matrix(floats([1, big, -big])))), 3),
    "bias": (lambda big: chain(2, ("y", matrix(floats([1, big]), floats(-big)))), 2),
    "two layers": (lambda big: chain(1, ("a", shift(big)), ("y", shift(-big))), 1),
    "stretched": (lambda big: chain(1, ("a", scale(3)), ("b", shift(big)), ("c", shift(-big)), ("y", scale(0.1))), 1),
    "residual": (residual, 1), "conv": (conv, 3), "sum": (lambda big: total(big, 1), 1),
    "average": (lambda big: total(big, 3), 1),
}
CURVED: dict[str, tuple[Callable[[float], Net], int]] = {
    "through ReLU": (lambda big: dense([floats([1]), floats([1])], [floats(big), floats(-big)]), 1),
    "detector": (lambda big: dense(  # ReLU of -x/2, which rounding makes positive
        [floats([1, big, -big, 0.0], [1, 0, 0, 0]), floats([1, -1.5]), floats([1])], [None, None, None]), 4),
    "max": (lambda big: chain(1, ("a", shift(big)), ("b", {**HINGE, "shape": [1]}), ("c", {
        "op": "max", "shape": [1], "groups": np.array([[0, 0]], "|i1")}), ("y", shift(-big))), 1),
}
FORMS = {**AFFINE, **CURVED}


def case(low: Fraction, high: Fraction, inputs: int, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The first input in a box, the others 1; each line a disjunct of its own."""
    ends = ([str(end), *["1"] * (inputs - 1)] for end in (low, high))
    return {**dict(zip(("low", "high"), ends, strict=True)), "disjuncts": [[line] for line in lines]}


def accepted(net: Net, given: dict[str, Any], level: str, exact: bool = False) -> bool:
    """By any of the proofs that are boxes alone; the report's margins are true in any case."""
    found = False
    for box, slope in PROOFS:
        report = check(claimed(*net, [given], level, box, slope=slope).bytes(), exact=exact)
        assert report.accepted or report.reason
        found |= report.accepted
    return found


def broken(net: Net, given: dict[str, Any], rng: np.random.Generator) -> bool:
    """Whether some float32 machine violates the claim at some rounded point of the box."""
    parts, inputs = claimed(*net, [given], "F"), len(given["low"])
    low, high = (np.float32(float(Fraction(given[end][0]))) for end in ("low", "high"))
    first = np.clip([low, high, np.nextafter(low, high), np.nextafter(high, low),
                     *rng.uniform(low, high, 12).astype(np.float32)], low, high)
    x = np.ones((len(first), inputs))
    x[:, 0] = first
    orders = "sequential", "fused", "tree", "pairwise"
    machines = [Singles(rng, how, flush) for how in orders for flush in (False, True)]
    return any(bool((real_violation(parts, given, x, m) >= 0).any()) for m in (*machines, *machines[:4], *machines[:2]))


def real_maximum(net: Net, given: dict[str, Any]) -> Fraction:
    """Of the first output of a network that is convex in its first input: at an end of the box."""
    ends = np.array([[Fraction(v) for v in given[end]] for end in ("low", "high")], object)
    return max(outputs(*net, Rationals(), ends)[:, 0])


def drawn(rng: np.random.Generator, form: str) -> tuple[Net, dict[str, Any], Fraction, float]:
    """A trap, a case without its claim, the real maximum, and the distance of floats at the large constant."""
    make, inputs = FORMS[form]
    big = float(np.float32(2.0 ** rng.integers(3, 60) if rng.random() < 0.5 else 10.0 ** rng.integers(1, 20)))
    ulp = float(np.spacing(np.float32(big)))
    low = Fraction(float(rng.choice([0, 0.25, 0.499, 0.5, 0.51, 0.75, 1.5, 3]) * ulp))
    low += Fraction(int(rng.integers(3)), 10)
    high = low + Fraction(float(rng.choice([0, 0.01, 0.5, 2]) * ulp))
    net, given = make(big), case(low, high, inputs, [])
    return net, given, real_maximum(net, given), ulp


@traps
@given(st.sampled_from(list(FORMS)), SEEDS)
def test_nothing_is_accepted_that_float32_or_rationals_break(form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    net, given, top, ulp = drawn(rng, form)
    for part in (0, 2.0**-40, 0.1, 0.5, 1, 2, 8, -0.5):
        offset = top + Fraction(float(part)) * Fraction(ulp)
        claim = {**given, "disjuncts": [[row({0: 1}, offset)]]}
        if part <= 0:
            assert not accepted(net, claim, "R")
            assert not accepted(net, claim, "R", exact=True)
        if accepted(net, claim, "F"):
            assert part > 0
            assert not broken(net, claim, rng)


@traps
@given(st.sampled_from(list(AFFINE)), SEEDS, st.integers(1, 300))
def test_in_rationals_an_affine_claim_is_accepted_if_and_only_if_it_is_true(form: str, seed: int, bits: int) -> None:
    net, given, top, _ = drawn(np.random.default_rng(seed), form)
    for gap, true in ((Fraction(1, 2**bits), True), (0, False), (-Fraction(1, 2**bits), False)):
        claim = {**given, "disjuncts": [[row({0: 1}, top + gap)]]}
        assert accepted(net, claim, "R", exact=True) == true
        assert true or not accepted(net, claim, "R")


@pytest.mark.parametrize("form", FORMS)
def test_traps_are_traps_and_not_all_is_refused(form: str) -> None:
    """Beside 2^24, 1.1 becomes 2: true at level R, false in float32; with room for rounding, accepted at both."""
    make, inputs = FORMS[form]
    net, rng = make(2.0**24), np.random.default_rng(0)
    given = case(Fraction(11, 10), Fraction(23, 20), inputs, [])
    top = real_maximum(net, given)
    close, wide = ({**given, "disjuncts": [[row({0: 1}, top + gap)]]} for gap in (Fraction(1, 50), Fraction(100)))
    assert broken(net, close, rng)
    assert accepted(net, close, "R")
    assert not accepted(net, close, "F")
    assert not broken(net, wide, rng)
    assert accepted(net, wide, "F")


def test_a_level_r_certificate_is_none_of_level_f() -> None:
    net, inputs = FORMS["detector"][0](2.0**24), 4
    given = case(Fraction(11, 10), Fraction(23, 20), inputs, [row({0: 1}, Fraction(1, 50))])
    parts = claimed(*net, [given], "R", "backward")
    assert check(parts.bytes()).accepted
    assert not check(parts.bytes(), "F").accepted
    parts.header["level"] = "F"
    assert not check(parts.bytes()).accepted


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
