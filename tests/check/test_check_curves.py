"""The checker's curves against mpmath: curvature, lines and intervals over boxes of all kinds, and domains."""

from __future__ import annotations

from fractions import Fraction
from math import inf

import mpmath
import numpy as np
import pytest

from tests.support.curve_oracles import PARAMETERS, exactly, function, nearly, number
from tests.support.machines import Rationals, values
from verify.check.bounds import Level, sweep
from verify.check.curve_lines import curve_interval, curve_lines, within_domain
from verify.check.curve_table import NAMES, curve_of
from verify.check.curves import Curve, Exp
from verify.check.network import build
from verify.check.numbers import Arithmetic, Rejected

FLOATS, RATIONALS = Arithmetic(), Arithmetic(True)
CASES = [(name, given) for name in NAMES for given in PARAMETERS.get(name, [[]])]
curves = pytest.mark.parametrize(("name", "given"), CASES, ids=[f"{name} {' '.join(g)}" for name, g in CASES])


def made(name: str, given: list[str]) -> Curve:
    return curve_of(name, [Fraction(value) for value in given])


def least(name: str, given: list[str]) -> float:
    """The lower end of the domain, or of the side of it that is looked at."""
    root = name == "power" and (Fraction(given[0]) < 0 or Fraction(given[0]).denominator > 1)
    return 0.0 if root or name == "log" else -inf


def boxes(op: Curve, bottom: float, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Around the ends of pieces and one ulp beside them, far away, wide, narrow, of one point, subnormal."""
    ends = [float(end) for pair in op.breaks for end in pair] + [0.0, np.pi, -np.pi / 2, 2.0**20]
    middle = np.concatenate([rng.normal(size=count) * 3, rng.choice(ends, count), rng.normal(size=count) * 40])
    width = 10.0 ** rng.uniform(-17, 1.5, len(middle)) * rng.choice([0, 1, 1, 1], len(middle))
    low, high = middle - width * rng.random(len(middle)), middle + width
    beside = rng.integers(len(middle), size=count // 2)
    low[beside] = rng.choice(ends, len(beside))
    high[beside] = np.nextafter(low[beside], np.inf)
    tiny = rng.integers(len(middle), size=3)
    low[tiny], high[tiny] = -5e-324 * rng.integers(2), 1e-310
    if bottom == 0:
        low = np.abs(low) + (0 if op.image[0] == 0 and not op.outside(np.zeros(1), np.ones(1)).any() else 1e-3)
        high = low + width
    most = 100.0 if isinstance(op, Exp) else inf  # beyond which its values are, by far, no values of a network
    return np.minimum(low, most), np.minimum(np.maximum(low, high), most)


@curves
@pytest.mark.parametrize("arithmetic", [FLOATS, RATIONALS], ids=["floats", "rationals"])
def test_lines_and_intervals_hold_the_values(name: str, given: list[str], arithmetic: Arithmetic) -> None:
    rng, op = np.random.default_rng(len(name)), made(name, given)
    low, high = boxes(op, least(name, given), rng, 4 if arithmetic.exact else 16)
    with np.errstate(all="ignore"):
        lines = curve_lines(arithmetic, op, arithmetic.of(low)[None], arithmetic.of(high)[None])
        bottom, top = curve_interval(arithmetic, op, arithmetic.of(low)[None], arithmetic.of(high)[None])
    exact = [RATIONALS.of(part[0]) for part in (*lines[:4], bottom, top)]
    start, end = RATIONALS.of(low), RATIONALS.of(high)
    share = [Fraction(k, 8) for k in range(9)] + [Fraction(1, 2**60)]
    x = np.array([start + (end - start) * k for k in share], object)
    y = exactly(name, given, x)
    slack = np.array([Fraction(1, 10**60)] * len(low), object) * (1 + abs(y).max(0))  # of the oracle
    for at, value in zip(x, y, strict=True):
        assert bool((exact[2] * at + exact[3] <= value + slack).all())
        assert bool((value - slack <= exact[0] * at + exact[1]).all())
        assert bool((exact[4] - slack <= value).all())
        assert bool((value <= exact[5] + slack).all())


@curves
def test_intervals_and_lines_are_tight(name: str, given: list[str]) -> None:
    """Intervals lose no more than rounding against a fine grid, and lines meet as boxes shrink."""
    op, bottom = made(name, given), least(name, given)
    low = np.array([-4.0, -1.5, -0.1, 0.3, 1.2, 2.0]) if bottom < 0 else np.array([0.6, 0.9, 1.2, 2.0, 5.0, 9.0])
    high = low + np.array([0.5, 3, 0.2, 0.6, 2.5, 1])
    with np.errstate(all="ignore"):
        found = curve_interval(FLOATS, op, low[None], high[None])
        grid = nearly(name, given, np.concatenate([np.linspace(low, high, 300), np.clip(0, low, high)[None]]))
        size = 1 + np.abs(grid).max(0)
        assert bool((grid.min(0) - found[0][0] <= 1e-4 * size).all())
        assert bool((found[1][0] - grid.max(0) <= 1e-4 * size).all())
        for width in (1e-2, 1e-4):
            lines = curve_lines(FLOATS, op, low[None], low[None] + width)
            middle = low + width / 2
            gap = (lines[0] * middle + lines[1] - lines[2] * middle - lines[3])[0]
            assert bool((gap <= 8 * width**2 * size + 1e-12).all())


@curves
def test_curvature_is_as_stated(name: str, given: list[str]) -> None:
    """f'' by mpmath, at points of the inner part of every piece, and beside its ends."""
    op, rng = made(name, given), np.random.default_rng(2)
    low, high = (np.array([3.0]), np.array([4.5])) if name in ("sin", "cos") else (np.array([-1.0]), np.array([1.0]))
    with mpmath.workdps(60):
        f = function(name, given)
        for piece in op.pieces(FLOATS, low, high):
            start, end, sign = (float(np.asarray(v).reshape(-1)[0]) for v in (piece[3], piece[4], piece.sign))
            bottom = max(start, -12.0) if op.breaks or start > -inf else max(-12.0, least(name, given))
            at = bottom + (min(end, 12.0) - bottom) * np.concatenate([rng.random(12), [1e-6, 1 - 1e-6]])
            assert bottom < min(end, 12.0)
            for x in at.tolist():
                bend = mpmath.diff(f, mpmath.mpf(x), 2, h=mpmath.mpf(10) ** -18)
                assert sign * bend >= 0 if sign else abs(bend) < 1e-10, (x, bend)
            outer = [float(np.asarray(v).reshape(-1)[0]) for v in piece[1:3]]
            assert outer[0] <= start < end <= outer[1]


def test_ends_of_pieces_are_where_the_curvature_turns() -> None:
    found = 0
    with mpmath.workdps(60):
        for name, given in CASES:
            op, f = made(name, given), function(name, given)
            for (below, above), left, right in zip(op.breaks, op.signs, op.signs[1:], strict=False):
                if below < above:
                    found += 1
                    bends = [mpmath.diff(f, number(x), 2, h=mpmath.mpf(10) ** -20) for x in (below, above)]
                    assert left * bends[0] > 0 < right * bends[1], name
    assert found == 12


def test_sums_of_positive_terms_stay_positive() -> None:
    """1 / (exp(a) + exp(b) - -exp(c)) over boxes where the sum is between 1e-17 and 1e17: no pole, and sound."""
    nodes = [
        {"name": "e", "inputs": ["x"], "shape": [3], "op": "curve", "function": "exp", "parameters": []},
        {"name": "s", "inputs": ["e"], "shape": [1], "op": "gather", "index": "two", "divisor": "1"},
        {"name": "c", "inputs": ["e"], "shape": [1], "op": "gather", "index": "last", "divisor": "1"},
        {"name": "m", "inputs": ["c"], "shape": [1], "op": "scale", "factor": "minus"},
        {"name": "t", "inputs": ["s", "m"], "shape": [1], "op": "add", "signs": [1, -1]},
        {"name": "y", "inputs": ["t"], "shape": [1], "op": "curve", "function": "power", "parameters": ["-1"]}]
    arrays = {"two": np.array([[0, 1]], "<i4"), "last": np.array([[2]], "<i4"), "1": np.ones(1, "<i4"),
              "minus": np.array([-1], "<f4")}
    low, high = np.array([[-40.0, -39, -40.5]]), np.array([[38.0, 0, 40]])
    network = build(FLOATS, {"input": "x", "shape": [3], "nodes": nodes}, arrays)
    layers = {node: (how, "adaptive") for node, how in (("e", "interval"), ("y", "interval"))}
    with np.errstate(all="ignore"):
        found = sweep(network, Level(FLOATS), low, high, layers)
    x = RATIONALS.of(np.concatenate([low, high, (low + high) / 2]))
    exact = values({"input": "x", "shape": [3], "nodes": nodes}, arrays, Rationals(), x)
    for name, value in exact.items():
        bottom, top = RATIONALS.of(found.low[name]), RATIONALS.of(found.high[name])
        slack = abs(value) / 10**70  # of the oracle
        assert bool(((bottom <= value + slack) & (value - slack <= top)).all())
    assert found.low["t"][0, 0] > 0.9 * float(exact["t"][0, 0])


def test_boxes_beyond_a_domain_are_rejected() -> None:
    for name, given, low, high, good in (
        ("log", [], 0.0, 1.0, False), ("log", [], -1.0, -0.5, False), ("log", [], 5e-324, 1.0, True),
        ("power", ["1/2"], 0.0, 1.0, True), ("power", ["1/2"], -5e-324, 1.0, False),
        ("power", ["-1/2"], 0.0, 1.0, False), ("power", ["-1"], -1.0, 1.0, False), ("power", ["-1"], -2.0, -1.0, True),
        ("power", ["-1"], 0.0, 1.0, False), ("power", ["-2"], -1.0, 0.0, False), ("power", ["3"], -1.0, 1.0, True),
    ):
        for arithmetic in (FLOATS, RATIONALS):
            start, end = (arithmetic.of(np.array([[1.0, end]])) for end in (low, high))
            if good:
                within_domain(made(name, given), start, end, "v")
            else:
                with pytest.raises(Rejected, match=r"entry 1 of the argument of node 'v' .* leaves the domain"):
                    within_domain(made(name, given), start, end, "v")


@pytest.mark.parametrize(("name", "given"), [
    ("sinh", []), ("exp", ["1"]), ("power", []), ("power", ["0"]), ("power", ["1"]), ("power", ["65"]),
    ("power", ["1/65"]), ("elu", ["0", "1", "1"]), ("elu", ["1"]), ("swish", ["-1"]), ("erf_gate", ["1000"]),
])
def test_other_functions_are_rejected(name: str, given: list[str]) -> None:
    with pytest.raises(Rejected):
        made(name, given)
