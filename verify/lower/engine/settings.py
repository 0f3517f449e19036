"""The settings that attacks share, and what they may be."""

from __future__ import annotations

from numbers import Integral, Real

from verify.errors import InputError


def check_settings(method: object, whole: tuple[str, ...], real: tuple[str, ...] = ()) -> None:
    """Raises InputError unless these settings of a method are integers of at least 1 (a seed may be any), or positive
    and finite numbers."""
    kind = type(method).__name__
    for name in (*whole, *real):
        value, noun = getattr(method, name), "a number" if name in real else "an integer"
        if isinstance(value, bool) or not isinstance(value, Real if name in real else Integral):
            raise InputError(f"{kind} has {name}={value!r}; it must be {noun}")
        if name in whole and name != "seed" and value < 1:
            raise InputError(f"{kind} has {name}={value}; it must be at least 1")
        if name in real and not 0 < float(value) < float("inf"):
            raise InputError(f"{kind} has {name}={value}; it must be positive and finite")
