"""Numbers as the user wrote them (8/255 is a rational), and their outward rounding to floats."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch

from verify.errors import InputError

Number = int | float | str | Fraction


def rational(value: Number, what: str = "number") -> Fraction:
    """The exact rational of an int, a float or a string such as "8/255", "0.3" or "1e-3".

    A float is taken as the decimal that Python prints for it, so 0.1 is 1/10 and 8/255 (a float) is the
    shortest decimal that reads back as that float; pass "8/255" to mean the fraction itself.
    Raises InputError for anything that is not a finite number.
    """
    try:
        if isinstance(value, float):
            value = repr(value)
        if isinstance(value, str) and value.count("/") == 1:
            top, bottom = value.split("/")
            return Fraction(top.strip()) / Fraction(bottom.strip())
        return Fraction(value)
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        raise InputError(f"{what} {value!r} is not a finite number; write for example 0.03 or 8/255") from None


def round_down(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Largest float of `dtype` at or below each rational of an object array; same shape."""
    return _rounded(values, dtype, -math.inf)


def round_up(values: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Smallest float of `dtype` at or above each rational of an object array; same shape."""
    return _rounded(values, dtype, math.inf)


def _rounded(values: np.ndarray, dtype: torch.dtype, toward: float) -> torch.Tensor:
    kind = np.float64 if dtype == torch.float64 else np.float32
    with np.errstate(over="ignore"):
        nearest = values.astype(np.float64).astype(kind)
    flat, exact = nearest.reshape(-1), values.reshape(-1)
    for i in range(flat.size):  # a rational comparison settles each entry; a float one could not
        if not math.isfinite(flat[i]):
            raise InputError(f"the number {float(exact[i]):g} does not fit into {np.dtype(kind).name}; scale the input")
        if (Fraction(float(flat[i])) - exact[i]) * (1 if toward > 0 else -1) < 0:
            flat[i] = np.nextafter(flat[i], kind(toward))
    return torch.from_numpy(nearest)


def exact_array(tensor: torch.Tensor) -> np.ndarray:
    """The same values as exact rationals, as a NumPy object array of the same shape."""
    flat = [Fraction(v) for v in tensor.detach().cpu().double().reshape(-1).tolist()]
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(tuple(tensor.shape))
