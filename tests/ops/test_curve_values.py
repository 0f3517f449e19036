"""Smooth curves against 45 digits: their bounds hold for the function itself, wherever numbers are hard.

Boxes lie about breakpoints, turns and poles, one unit in the last place beside them, are huge, subnormal or points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from torch import Tensor

from tests.support.laws import DTYPES, EXAMPLES
from verify.errors import UnsupportedMethod
from verify.ops import Curve, IntervalBounds, Log, Parameters, Power
from verify.ops.steps import Staircase

DIGITS = 45


def number(x: Fraction) -> Any:
    return mpf(x.numerator) / x.denominator


def elu(op: Any, x: Any) -> Any:
    return number(op.scale) * (x if x > 0 else number(op.alpha) * mp.expm1(number(op.rate) * x))


def jumping(op: Any, x: Any) -> Any:
    for place, value in zip(op.places, op.values, strict=True):
        if number(place) == x:
            return number(value)
    slope, intercept = op.lines[sum(number(place) < x for place in op.places)]
    return number(slope) * x + number(intercept)


TRUE: dict[str, Callable[[Any, Any], Any]] = {
    "Ceil": lambda op, x: mp.ceil(x),
    "Floor": lambda op, x: mp.floor(x),
    "RoundToEven": lambda op, x: mp.nint(x),
    "JumpingLines": jumping,
    "ELU": elu,
    "GELU": lambda op, x: x * mp.erfc(-x * (1 if op.rate == 1 else mp.sqrt(0.5))) / 2 if x > -1e6 else mpf(0),
    "HardSwish": lambda op, x: x * min(max(x + 3, 0), 6) / 6,
    "Mish": lambda op, x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "Softsign": lambda op, x: x / (1 + abs(x)),
    "Swish": lambda op, x: x / (1 + mp.exp(-number(op.beta) * x)),
    "TanhGELU": lambda op, x: x / (1 + mp.exp(-mp.sqrt(8 / mp.pi) * (x + mpf("0.044715") * x**3))),
    "Atan": lambda op, x: mp.atan(x),
    "Cos": lambda op, x: mp.cos(x),
    "Erf": lambda op, x: mp.erf(x),
    "Exp": lambda op, x: mp.exp(x),
    "Log": lambda op, x: mp.log(x),
    "Power": lambda op, x: mp.power(x, int(op.exponent) if op.is_whole else mpf(float(op.exponent))),
    "Sigmoid": lambda op, x: 1 / (1 + mp.exp(-x)),
    "Sin": lambda op, x: mp.sin(x),
    "Softplus": lambda op, x: mp.log1p(mp.exp(x)),
    "Tanh": lambda op, x: mp.tanh(x),
}
SMOOTH = {name: e.op for name, e in EXAMPLES.items() if isinstance(e.op, Curve) and e.op.ulps}
every_curve = pytest.mark.parametrize("op", SMOOTH.values(), ids=SMOOTH)


def true(op: Curve, x: float) -> Any:
    """f(x) to 45 digits; None where there is no value."""
    outside = not op.domain.low <= x <= op.domain.high or x in op.domain.poles
    return None if outside else TRUE[type(op).__name__](op, mpf(x))


def hard_numbers(op: Curve, dtype: torch.dtype, rng: np.random.Generator) -> Tensor:
    """Numbers of this type at which bounds may go wrong."""
    kind = torch.finfo(dtype)
    special = torch.tensor([*map(float, op.breakpoints), *op.turns, *op.domain.poles, 0, 1, -1, 0.5, -1.5], dtype=dtype)
    beside = [special]
    for _ in range(3):
        beside += [torch.nextafter(beside[-1], torch.full_like(special, math.inf))]
    beside += [torch.nextafter(special, torch.full_like(special, -math.inf)), special + 1e-3, special - 0.1]
    tiny = torch.tensor([kind.tiny, kind.tiny * kind.eps, 3 * kind.tiny * kind.eps], dtype=dtype)
    drawn = [rng.uniform(-8, 8, 10), rng.uniform(-120, 120, 6), rng.normal(0, 1, 12) * 10.0 ** rng.uniform(-8, 4, 12)]
    huge = torch.tensor([1e9, 1e15, 3e30, kind.max], dtype=dtype)
    numbers = torch.cat([*beside, tiny, -tiny, *(torch.from_numpy(v).to(dtype) for v in drawn), huge, -huge])
    return numbers[torch.from_numpy(rng.permutation(len(numbers)))]


def hard_boxes(op: Curve, dtype: torch.dtype, seed: int) -> IntervalBounds:
    """(boxes, 1): points, floats side by side, hard numbers in pairs."""
    rng = np.random.default_rng(seed)
    numbers = hard_numbers(op, dtype, rng)
    near = torch.cat([numbers, numbers + torch.from_numpy(rng.exponential(1, len(numbers))).to(dtype)])
    other = torch.cat([torch.nextafter(numbers, torch.full_like(numbers, math.inf)), numbers.flip(0)])
    low, high = torch.cat([numbers, near.minimum(other)]), torch.cat([numbers, near.maximum(other)])
    keep = low.isfinite() & high.isfinite()
    return IntervalBounds(low[keep, None], high[keep, None])


def inner(op: Curve, low: float, high: float, rng: np.random.Generator) -> list[float]:
    """Points of the box: its ends, special points, some at random."""
    places = [*map(float, op.breakpoints), *op.turns]
    if isinstance(op, Staircase):
        places += [math.ceil(low), math.ceil(low) + 0.5, math.floor(high), math.floor(high) - 0.5]
    special = [x for b in places for x in (b, math.nextafter(b, math.inf), math.nextafter(b, -math.inf))]
    drawn = [low + float(t) * (high - low) for t in rng.random(2)] if high - low < math.inf else [low / 2 + high / 2]
    return [low, high, *(x for x in (*special, *drawn) if low <= x <= high)]


@pytest.mark.parametrize("dtype", DTYPES, ids=("float32", "float64"))
@every_curve
def test_bounds_hold_for_the_function_itself(op: Curve, dtype: torch.dtype) -> None:
    """The interval, the lines at the midpoint and at other points, and lines of any slope."""
    rng = np.random.default_rng(7)
    box = hard_boxes(op, dtype, 5)
    share, slope = (torch.from_numpy(draw(size=box.low.shape)).to(dtype) for draw in (rng.random, rng.normal))
    at = torch.where(box.high - box.low < torch.inf, box.low + share * (box.high - box.low), box.low)
    (low, high), level, (lower, upper) = op.interval((), box), torch.zeros_like(slope), op.line(box, slope)
    sides = [(level, low, level, high), (slope, lower, slope, upper)]
    sides += [op.relax((), box).parts, op.relax((), box, at).parts]
    assert not any(part.isnan().any() for parts in sides for part in parts)
    count = 0
    with mpmath.workdps(DIGITS):
        for low, high, *lines in zip(*(v[:, 0].tolist() for v in (*box, *sum(sides, ()))), strict=True):
            lines = [mpf(v) for v in lines]
            for x in inner(op, low, high, rng):
                value, place = true(op, x), mpf(x)
                if value is None:
                    continue
                for s, c, upper_s, upper_c in zip(*(lines[k::4] for k in range(4)), strict=True):
                    assert s * place + c <= value <= upper_s * place + upper_c, (low, high, x, value)
                count += 1
    assert count > 300


@pytest.mark.parametrize("dtype", DTYPES, ids=("float32", "float64"))
@every_curve
def test_the_library_is_trusted_to_a_few_units_in_the_last_place(op: Curve, dtype: torch.dtype) -> None:
    """f to half of the units that are trusted; 0 for what is flushed."""
    kind = torch.finfo(dtype)
    x = hard_numbers(op, dtype, np.random.default_rng(3))
    found = op.forward((), x)
    with mpmath.workdps(DIGITS):
        for at, value in zip(x.tolist(), found.tolist(), strict=True):
            exact = true(op, at)
            if exact is not None and abs(exact) <= kind.max:
                trusted = op.ulps * (kind.eps * abs(exact) + kind.tiny) + op.tail * kind.eps
                assert abs(mpf(value) - exact) <= trusted / 2, at


@pytest.mark.parametrize("dtype", DTYPES, ids=("float32", "float64"))
@pytest.mark.parametrize("op", [Log(), Power(Fraction(-1)), Power(Fraction(-2)), Power(Fraction(1, 2))], ids=repr)
def test_boxes_beyond_the_domain_have_no_bounds_and_disturb_no_others(op: Curve, dtype: torch.dtype) -> None:
    least = torch.finfo(dtype).tiny * torch.finfo(dtype).eps
    bad = torch.tensor([[-1.0, 2], [-least, least], [-math.inf, math.inf], [-least, 1]], dtype=dtype)
    good = torch.tensor([[0.5, 2], [2, 30], [3, 3]], dtype=dtype)
    whole, alone = (IntervalBounds(*pairs.T[:, :, None].unbind(0)) for pairs in (torch.cat([bad, good]), good))
    slope = torch.full_like(whole.low, 0.25)
    for box in (whole, alone):
        assert box.low.shape[1:] == (1,)
    found = [*op.interval((), whole), *op.relax((), whole).parts, *op.line(whole, slope), op.steepness(whole)]
    same = [*op.interval((), alone), *op.relax((), alone).parts, *op.line(alone, slope[-3:]), op.steepness(alone)]
    expected = [-math.inf, math.inf, 0, -math.inf, 0, math.inf, -math.inf, math.inf, math.inf]
    for value, other, none in zip(found, same, expected, strict=True):
        assert torch.equal(value[:4], torch.full_like(value[:4], none))
        assert torch.equal(value[4:], other)


@every_curve
def test_a_value_beyond_all_floats_is_no_bound(op: Curve) -> None:
    """Neither is the largest float an upper bound of it, nor infinity a lower one."""
    kind = torch.finfo(torch.float32)
    x = torch.logspace(-40, 30, 141, dtype=torch.float64).float()
    x = torch.cat([x, -x])[:, None]
    wide, (low, high) = op.forward((), x.double()), op.interval((), IntervalBounds(x, x))
    above, below = wide > kind.max, wide < -kind.max
    assert (high[above] == math.inf).all()
    assert (low[above] < math.inf).all()
    assert (low[below] == -math.inf).all()
    assert (high[below] > -math.inf).all()


def test_an_exponent_of_float64_is_kept_in_float32() -> None:
    op, x = Power(Fraction(0.1)), torch.tensor([1e30, 1e-30, 3.0])
    torch.testing.assert_close(op.forward((), x), x.double().pow(0.1).float(), rtol=1e-7, atol=0)


@pytest.mark.parametrize(("op", "x"), [(Log(), 0), (Power(Fraction(-1)), 0), (Power(Fraction(1, 2)), -1)])
def test_points_without_a_value_are_refused_by_name(op: Curve, x: int) -> None:
    p: Parameters = ()
    with pytest.raises(UnsupportedMethod, match=f"{type(op).__name__} has no value"):
        op.enclose(p, np.array([Fraction(x)], dtype=object))
