"""The checker's elementary functions against mpmath: every enclosure holds the true value, and is narrow."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from tests.support.curve_oracles import number
from verify.check import exact_functions, functions
from verify.check.numbers import Arithmetic
from verify.check.spans import Span

FLOATS, RATIONALS = Arithmetic(), Arithmetic(True)
TRUE: dict[str, Callable[[Any], Any]] = {
    "exp": mpmath.exp, "log": mpmath.log, "log1p": mpmath.log1p, "atan": mpmath.atan, "erf": mpmath.erf,
    "sin": mpmath.sin, "cos": mpmath.cos, "sqrt": mpmath.sqrt,
}
RELATIVE = ("exp", "log", "log1p", "sqrt")
EDGES = [0.0, 5e-324, 2.0**-1022, 2.0**-60, 0.125, 0.41421356, 0.5, 0.70710678, 1.0, 1.41421356, 2.0, 5.9999999, 6.0,
         7.0, 100.0, 689.9, 690.1, 710.0, 2.0**20, 2.0**20 + 1, 2.0**60, 2.0**199]


def points(name: str) -> np.ndarray:
    """A dense grid, numbers of all sizes, multiples of pi/4 and log 2, edges; each with both neighbours."""
    rng = np.random.default_rng(3)
    x = np.concatenate([
        np.linspace(-8, 8, 200), rng.uniform(-700, 700, 80), 2.0 ** rng.uniform(-1074, 199, 80), EDGES,
        np.pi / 4 * np.arange(-20, 20), np.log(2) * (np.arange(-20, 20) + 0.5),
        rng.integers(-(2**20), 2**20, 50) * np.pi,
    ])
    x = np.concatenate([x, np.nextafter(x, np.inf), np.nextafter(x, -np.inf), -x])
    if name in ("log", "sqrt", "log1p"):
        x = np.abs(x)
    return np.minimum(x, 1) if name == "log1p" else x[x > 0] if name == "log" else x


def enclosed(arithmetic: Arithmetic, name: str, x: np.ndarray) -> Span:
    if name in ("sin", "cos"):
        return getattr(functions, name)(x, arithmetic)
    return getattr(functions, name)(Span.at(arithmetic, x))


@pytest.mark.parametrize("name", TRUE)
def test_floats_enclose_and_are_narrow(name: str) -> None:
    x, wide = points(name), 0
    with np.errstate(all="ignore"):
        found = enclosed(FLOATS, name, x)
    with mpmath.workprec(200):
        for at, low, high in zip(x.tolist(), found.low.tolist(), found.high.tolist(), strict=True):
            true = TRUE[name](mpmath.mpf(at)) if not (name == "exp" and at > 2000) else mpmath.mpf(2) ** 2000
            assert low <= true <= high, at
            size = abs(true) if name in RELATIVE else 1
            known = abs(at) <= (690 if name == "exp" else 2**20)
            wide += known and mpmath.mpf(high) - mpmath.mpf(low) > size * 2.0**-43 + 2.0**-990
    assert wide == 0


@pytest.mark.parametrize("name", TRUE)
def test_rationals_enclose_and_are_narrow(name: str) -> None:
    """Also at rationals that are no floats."""
    rng = np.random.default_rng(4)
    x = points(name)[rng.permutation(len(points(name)))[:120]]
    exact = [Fraction(v) * (1 if k % 2 or name == "log1p" else Fraction(int(rng.integers(1, 1000)), 997))
             for k, v in enumerate(x.tolist())]
    with mpmath.workprec(1200):
        for at in exact:
            if name == "exp" and abs(at) > 2000:
                continue
            low, high = exact_functions.FUNCTIONS[name](at)
            true = TRUE[name](number(at))
            assert number(low) <= true <= number(high), at
            if abs(at) <= 1000:
                assert number(high - low) <= (abs(true) if name in ("exp", "sqrt") else 1) * mpmath.mpf(2) ** -150


@pytest.mark.parametrize("arithmetic", [FLOATS, RATIONALS])
def test_constants_are_enclosed(arithmetic: Arithmetic) -> None:
    with mpmath.workprec(600):
        for name, true in (("pi", +mpmath.pi), ("sqrt2", mpmath.sqrt(2)), ("sqrtpi", mpmath.sqrt(mpmath.pi))):
            found = functions.constant(arithmetic, name)
            assert number(found.low.item()) < true < number(found.high.item())
            assert found.high.item() - found.low.item() < 2.0**-50


@pytest.mark.parametrize("arithmetic", [FLOATS, RATIONALS])
def test_spans_hold_what_rationals_give(arithmetic: Arithmetic) -> None:
    rng = np.random.default_rng(5)
    ends = rng.normal(size=(4, 60)) * 10.0 ** rng.integers(-200, 50, (4, 60))
    ends[:, ::7] = 0
    a, b = (Span(arithmetic, *(arithmetic.of(v) for v in np.sort(pair, 0))) for pair in (ends[:2], ends[2:]))
    exact = [[Fraction(v) for v in row] for row in np.sort(ends.reshape(2, 2, -1), 1).reshape(4, -1).tolist()]
    for op in (lambda u, v: u + v, lambda u, v: u - v, lambda u, v: u * v, lambda u, v: u * Fraction(1, 3) + v / 7):
        found = op(a, b)
        for u in (0, 1):
            for v in (2, 3):
                for k in range(60):
                    value = op(exact[u][k], exact[v][k])
                    assert Fraction(found.low[k]) <= value <= Fraction(found.high[k])
    squares = a.square()
    assert all(Fraction(squares.low[k]) <= x[k] ** 2 <= Fraction(squares.high[k]) for x in exact[:2] for k in range(60))
    assert bool((squares.low[(a.low < 0) & (a.high > 0)] == 0).all())
