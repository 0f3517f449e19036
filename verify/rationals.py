"""Numbers as the user wrote them (8/255 is a rational), and their outward rounding to floats."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import torch

from verify.errors import InputError

Number = int | float | str | Fraction

_KINDS = {torch.float32: np.float32, torch.float64: np.float64}


def rational(value: Number, what: str = "number") -> Fraction:
    """The exact rational of an int, a float or a string such as "8/255", "0.3" or "1e-3".

    A float is taken as the decimal that Python prints for it, so 0.1 is 1/10 and 8/255 (a float) is the
    shortest decimal that reads back as that float; pass "8/255" to mean the fraction itself.
    Raises InputError for anything that is not a finite number, True and False included.
    """
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        if isinstance(value, float | np.floating):
            return Fraction(str(value))
        if isinstance(value, np.integer):
            return Fraction(int(value))
        if isinstance(value, str) and value.count("/") == 1:
            top, bottom = value.split("/")
            return Fraction(top.strip()) / Fraction(bottom.strip())
        return Fraction(value)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        remedy = "write for example 0.03 or 8/255" + ", with a decimal point" * ("," in str(value))
        raise InputError(f"{what} {value!r:.60} is not a finite number; {remedy}") from None


def shown(value: Fraction) -> str:
    """The number for people: as a decimal where it has a short one, else as a fraction."""
    for digits in range(10):
        if 10**digits % value.denominator == 0:
            return f"{Decimal(int(value * 10**digits)).scaleb(-digits):f}"
    return str(value)


def round_down(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Largest float of `dtype` (float32 or float64) at or below each rational of an object array; same shape.

    Raises InputError for another dtype, and where a value is beyond its largest float.
    """
    return _rounded(values, dtype, -math.inf)


def round_up(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Smallest float of `dtype` (float32 or float64) at or above each rational of an object array; same shape.

    Raises InputError for another dtype, and where a value is beyond its largest float.
    """
    return _rounded(values, dtype, math.inf)


def _rounded(values: np.ndarray, dtype: torch.dtype, toward: float) -> torch.Tensor:
    if dtype not in _KINDS:
        raise InputError(f"numbers are rounded outward to float32 or float64, not to {dtype}; convert the model")
    kind = _KINDS[dtype]
    exact = values.reshape(-1)
    wide = _nearest(exact, kind)
    flat = wide.astype(kind)
    # rounding to float64 is monotone, so a float beyond `wide` is beyond the rational; only equal ones need a look
    short = flat < wide if toward > 0 else flat > wide
    for i in np.flatnonzero(flat == wide).tolist():
        top, bottom = float(wide[i]).as_integer_ratio()
        p, q = exact[i].as_integer_ratio()
        short[i] = top * q < p * bottom if toward > 0 else top * q > p * bottom
    flat[short] = np.nextafter(flat[short], kind(toward))
    return torch.from_numpy(flat.reshape(values.shape))


def _nearest(exact: np.ndarray, kind: type[np.floating]) -> np.ndarray:
    """The nearest float64 of each rational. Raises InputError where one is beyond the largest float of `kind`."""
    largest = float(np.finfo(kind).max)
    try:
        wide = exact.astype(np.float64)
        beyond = (abs(exact[i]) > largest for i in np.flatnonzero(np.abs(wide) >= largest).tolist())
        if not any(beyond):
            return wide
    except OverflowError:  # beyond float64
        pass
    entry = next(i for i, value in enumerate(exact) if abs(value) > largest)
    raise InputError(f"entry {entry} of the numbers is beyond the largest {kind.__name__}; scale the input")


def exact_array(tensor: torch.Tensor) -> np.ndarray:
    """The same values as exact rationals, as a NumPy object array of the same shape.

    Raises InputError where a value is not finite.
    """
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"a tensor of shape {tuple(tensor.shape)} has a value that is not finite; mend or omit it")
    flat = [Fraction(v) for v in tensor.detach().cpu().double().reshape(-1).tolist()]
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(tuple(tensor.shape))


def unit_fraction(value: float) -> Fraction:
    """The 1/n, n at most 2^26, whose float64 rounding is `value`: other fractions of that size are further away."""
    return Fraction(value).limit_denominator(1 << 26)
