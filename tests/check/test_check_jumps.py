"""The checker's functions that jump against rationals: at jumps, one ulp beside them, subnormal, far away."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.support.curve_oracles import exactly
from verify.check.curve_lines import curve_interval, curve_lines, touching_lines, within_domain
from verify.check.curve_table import curve_of
from verify.check.numbers import Arithmetic, Rejected

FLOATS, RATIONALS = Arithmetic(), Arithmetic(True)
SIGN, LATE = ["0", "0", "-1", "0", "1", "0"], ["0", "0", "0", "0", "1", "3"]  # the latter is 3 at its jump
SHRINK = ["-1/2", "1/2", "1", "1/4", "0", "0", "1", "-1/4", "0", "0"]
CASES = [("floor", []), ("ceil", []), ("round", []), ("lines", SIGN), ("lines", LATE), ("lines", SHRINK),
         ("lines", ["1", "1/3", "0", "-1/7", "2", "1/5"])]
jumps = pytest.mark.parametrize(("name", "given"), CASES, ids=range(len(CASES)))


def boxes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends at multiples of 1/2, one ulp beside them, anywhere, subnormal, and large."""
    ends = rng.integers(-5, 6, (2, count)) / 2
    beside = rng.integers(-1, 2, ends.shape)
    ends = np.where(beside == 0, ends, np.nextafter(ends, 1e300 * beside))
    ends = np.where(rng.random(ends.shape) < 0.2, rng.normal(size=ends.shape) * 3, ends)
    ends = np.where(rng.random(ends.shape) < 0.1, rng.choice([5e-324, -5e-324, 1e-310], ends.shape), ends)
    ends = np.where(rng.random(count) < 0.05, ends + 1e10, ends)
    return ends.min(0), ends.max(0)


def points(low: Fraction, high: Fraction) -> list[Fraction]:
    """Of a box: its ends, points between, multiples of 1/2 and what lies close beside them."""
    found = [low + (high - low) * Fraction(k, 6) for k in range(7)]
    for k in range(int(2 * low) - 1, min(int(2 * high) + 2, int(2 * low) + 40)):
        found += [Fraction(k, 2) + by for by in (0, Fraction(1, 10**40), -Fraction(1, 10**40))]
    return [x for x in found if low <= x <= high]


@jumps
@pytest.mark.parametrize("arithmetic", [FLOATS, RATIONALS], ids=["floats", "rationals"])
def test_lines_and_intervals_hold_the_values(name: str, given: list[str], arithmetic: Arithmetic) -> None:
    rng, op = np.random.default_rng(7), curve_of(name, [Fraction(p) for p in given])
    low, high = boxes(rng, 30 if arithmetic.exact else 150)
    ends = [arithmetic.of(end)[None] for end in (low, high)]
    share = arithmetic.of(rng.integers(0, 129, (1, len(low))) / 128)
    with np.errstate(all="ignore"):
        found = curve_lines(arithmetic, op, *ends), touching_lines(arithmetic, op, ends[0], ends[1], share)
        bottom, top = curve_interval(arithmetic, op, *ends)
    bottom, top = (RATIONALS.of(part[0]) for part in (bottom, top))
    for lines in found:
        above, over, below, under = (RATIONALS.of(part[0]) for part in lines[:4])
        for k in range(len(low)):
            x = np.array(points(Fraction(low[k]), Fraction(high[k])), object)
            y = exactly(name, given, x)
            assert bool((below[k] * x + under[k] <= y).all())
            assert bool((y <= above[k] * x + over[k]).all())
            assert bool(((bottom[k] <= y) & (y <= top[k])).all())


@jumps
def test_intervals_are_the_range(name: str, given: list[str]) -> None:
    """Of boxes that do not end at a jump, to rounding; and lines of a box without a jump are the piece itself."""
    rng, op = np.random.default_rng(8), curve_of(name, [Fraction(p) for p in given])
    low = rng.normal(size=40) * 2
    high = low + rng.random(40) * 2
    bottom, top = curve_interval(FLOATS, op, low[None], high[None])
    lines = curve_lines(FLOATS, op, low[None], high[None])
    flat = 0
    for k in range(40):
        y = exactly(name, given, np.array(points(Fraction(low[k]), Fraction(high[k])), object))
        assert abs(float(min(y)) - bottom[0, k]) < 1e-12
        assert abs(float(max(y)) - top[0, k]) < 1e-12
        if min(y) == max(y):
            flat += 1
            for x in (low[k], high[k]):
                assert abs(lines[0][0, k] * x + lines[1][0, k] - float(min(y))) < 1e-12
                assert abs(lines[2][0, k] * x + lines[3][0, k] - float(min(y))) < 1e-12
    assert flat >= 2 or name == "lines"


@pytest.mark.parametrize("given", [
    [], ["0", "0", "-1", "0", "1"], [*SIGN, "0"], ["1/3", "0", "-1", "0", "1", "0"],
    ["1/2", "-1/2", "1", "1/4", "0", "0", "1", "-1/4", "0", "0"], ["0", "0", "-1", "0", str(2**41), "0"],
    [*map(str, range(17)), *["0"] * 36, *["0"] * 17],
])
def test_lines_that_do_not_fit_are_rejected(given: list[str]) -> None:
    with pytest.raises(Rejected, match="lines that jump"):
        curve_of("lines", [Fraction(p) for p in given])


def test_boxes_where_floats_are_far_apart_are_rejected() -> None:
    for name, given in CASES:
        op = curve_of(name, [Fraction(p) for p in given])
        within_domain(op, np.array([[-(2.0**40)]]), np.array([[2.0**40]]), "v")
        with pytest.raises(Rejected):
            within_domain(op, np.array([[0.0]]), np.array([[2.0**41]]), "v")
