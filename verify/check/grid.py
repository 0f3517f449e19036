"""The grid of a claim: inputs whose entries are whole multiples of 1 / levels, so that boxes may be cut to them."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.check.numbers import Rejected
from verify.check.strict import integer

if TYPE_CHECKING:
    from verify.check.bounds import Level

MOST = 1 << 16  # levels
FARTHEST = 1 << 40  # steps from 0, so that float64 holds each of them


def read_levels(value: Any) -> int:
    """The number of steps from 0 to 1. Rejects more than MOST."""
    levels = integer(value, "grid", 1)
    if levels > MOST:
        raise Rejected(f"grid is {levels}, more than {MOST}")
    return levels


def on_grid(ends: np.ndarray, levels: int, what: str) -> None:
    """Rejects ends of a box, rationals, that are no whole multiples of 1 / levels, or too far from 0."""
    steps = [end * levels for end in ends.tolist()]
    if any(step.denominator != 1 or abs(step) > FARTHEST for step in steps):
        raise Rejected(f"{what} has an end that is no whole multiple of 1/{levels}, as the claim's grid wants")


def inward(level: Level, levels: int, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes that hold the points of the grid that lie in these boxes of real numbers, low > high where there are none;
    at level F what these points are as float32.

    Sound because low <= k / levels gives low * levels <= k, which rounding to float64 keeps, as k is a float64 itself:
    so ceil(low * levels) <= k, and likewise at the other end. k / levels lies within one unit in the last place of
    whole / levels in float64, and its rounding to float32 within one of that number's.
    """
    exact = level.number.exact
    up, down = (np.frompyfunc(f, 1, 1) for f in (ceil, floor)) if exact else (np.ceil, np.floor)
    least, most = up(low * levels), down(high * levels)
    if exact and not level.single:
        return least * Fraction(1, levels), most * Fraction(1, levels)
    kind = np.float32 if level.single else np.float64
    ends = _beside(least, levels, kind, -np.inf), _beside(most, levels, kind, np.inf)
    return level.number.of(ends[0]), level.number.of(ends[1])


def _beside(whole: np.ndarray, levels: int, kind: type[np.floating], way: float) -> np.ndarray:
    """Floats, as float64, at or beyond whole / levels in a direction; those that are whole / levels stay."""
    whole = whole.astype(np.float64)
    near = (whole / levels).astype(kind)
    odd = levels // (levels & -levels)
    exact = (near.astype(np.float64) * levels == whole) & (whole % odd == 0)
    return np.where(exact, near, np.nextafter(near, kind(way))).astype(np.float64)
