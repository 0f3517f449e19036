"""Numbers as the user wrote them (8/255 is a rational), and their outward rounding to floats."""

from __future__ import annotations

import math
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
        raise InputError(f"{what} {value!r} is not a finite number; write for example 0.03 or 8/255") from None


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
    kind, largest = _KINDS[dtype], Fraction(torch.finfo(dtype).max)
    exact = values.reshape(-1)
    for i, value in enumerate(exact):
        if abs(value) > largest:
            raise InputError(f"entry {i} of the numbers is beyond the largest {kind.__name__}; scale the input")
    nearest = values.astype(np.float64).astype(kind)
    flat = nearest.reshape(-1)
    for i in range(flat.size):  # a rational comparison settles each entry; a float one could not
        if (Fraction(float(flat[i])) - exact[i]) * (1 if toward > 0 else -1) < 0:
            flat[i] = np.nextafter(flat[i], kind(toward))
    return torch.from_numpy(nearest)


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
