"""JSON values that are what the format says, or Rejected."""

from __future__ import annotations

import re
from fractions import Fraction
from math import prod
from typing import Any

from verify.check.numbers import MOST_TERMS, Rejected

Shape = tuple[int, ...]
RATIONAL = re.compile("-?[0-9]+(/[0-9]+)?")  # a claim may have millions


def keys(value: Any, what: str, names: set[str]) -> dict[str, Any]:
    """A JSON object with exactly these keys."""
    if not isinstance(value, dict) or set(value) != names:
        given = sorted(set(value) ^ names) if isinstance(value, dict) else [type(value).__name__]
        raise Rejected(f"{what} lacks or should not have: {', '.join(map(ascii, given))}")
    return value


def items(value: Any, what: str) -> list[Any]:
    """A JSON array."""
    if not isinstance(value, list):
        raise Rejected(f"{what} is no list")
    return value


def text(value: Any, what: str) -> str:
    """A JSON string."""
    if not isinstance(value, str) or len(value) > 1000 or any("\ud800" <= c <= "\udfff" for c in value):
        raise Rejected(f"{what} is no text of at most 1,000 characters")
    return value


def integer(value: Any, what: str, least: int = 0) -> int:
    """A JSON integer of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST_TERMS:
        raise Rejected(f"{what} is no integer from {least} to {MOST_TERMS}")
    return value


def rational(value: Any, what: str) -> Fraction:
    """A text such as "-3/8" or "7"; rejects anything else, more than 1,000 characters included."""
    if not isinstance(value, str) or len(value) > 1000:
        raise Rejected(f"{what} is no text of at most 1,000 characters")
    top, _, bottom = value.partition("/")
    if RATIONAL.fullmatch(value) is None or (bottom and int(bottom) == 0):
        raise Rejected(f"{what} is {value!r:.40}, which is no fraction of integers")
    return Fraction(int(top), int(bottom)) if bottom else Fraction(int(top))


def shape_of(value: Any, what: str) -> Shape:
    """Lengths of axes, with 1 to 2^26 entries together."""
    shape = tuple(integer(n, f"shape of {what}", 1) for n in items(value, f"shape of {what}"))
    if len(shape) > 8 or prod(shape) > MOST_TERMS:
        raise Rejected(f"{what} has shape {shape}, which is too large")
    return shape


def lengths(value: Any, what: str, count: int, least: int) -> Shape:
    """One integer of at least `least` for each axis."""
    found = tuple(integer(n, what, least) for n in items(value, what))
    if len(found) != count:
        raise Rejected(f"{what} has {len(found)} entries for {count} axes")
    return found
