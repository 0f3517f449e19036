"""Networks that do in float32 what they do not do in real arithmetic.

A large constant comes and goes around a tiny signal (Jia and Rinard 2021; Szasz, Banhelyi, Jelasity 2025). At level F
nothing is accepted that some order of summation breaks; at level R nothing that is false in rationals.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.certificates import claimed, dense, linear, row
from tests.support.chains import HINGE, Net, accepted, broken, case, chain, floats, matrix, real_maximum, scale, shift
from verify.check.checker import check

SEEDS = st.integers(0, 2**32 - 1)
traps = settings(deadline=None, max_examples=50, derandomize=True, database=None)


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


def test_the_margin_of_an_exact_check_is_no_less_than_the_rational_one() -> None:
    net, line = chain(1, ("a", scale(1))), row({0: 1}, "11/10")
    report = check(claimed(*net, [case(Fraction(1), Fraction(1), 1, [line])], "R", "interval").bytes(), exact=True)
    assert Fraction(report.margins["R"]) >= Fraction(-1, 10) > Fraction(-0.1)


def test_a_claim_in_words_names_what_varies_and_what_is_rounded() -> None:
    net, lines = chain(3, ("a", matrix(floats([1, 0, 0])))), [row({0: 1}, 2 + k) for k in range(7)]
    given = case(Fraction(1, 3) + Fraction(1, 10**9), Fraction(1, 2), 3, lines)
    (words,) = check(claimed(*net, [given], "R", "interval").bytes()).claim
    assert words.startswith("for x_0 in [~0.333333, 1/2], and 2 fixed inputs: never 1 y_0 >= 2, never 1 y_0 >= 3")
    assert words.endswith("never 1 y_0 >= 6, and 2 more")
