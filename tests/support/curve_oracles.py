"""The functions of "curve" nodes by mpmath and by NumPy: what the checker's own are held against."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from typing import Any

import mpmath
import numpy as np
from scipy import special

DIGITS = 80  # of values that stand for the exact ones

PARAMETERS: dict[str, list[list[str]]] = {
    "power": [[r] for r in ("2", "3", "4", "-1", "-2", "1/2", "3/2", "-1/2", "5/4", "3/4", "-4/3")],
    "elu": [["1", "1", "1"], ["2", "1", "1/2"], ["1/2", "1", "2"], ["5/3", "21/20", "1"], ["-1/2", "1", "1"],
            ["1", "-2", "1"]],
    "swish": [["1"], ["851/500"]], "erf_gate": [["7/10"]],
}
CUBIC = Fraction(44715, 1000000)


def number(value: Any) -> Any:
    """A rational as an mpmath number."""
    value = Fraction(value)
    return mpmath.mpf(value.numerator) / value.denominator


def rational(value: Any) -> Fraction:
    """An mpmath number as the rational that it is."""
    sign, mantissa, exponent, _ = mpmath.mpf(value)._mpf_
    return Fraction((-1) ** sign * int(mantissa)) * Fraction(2) ** int(exponent)


def function(name: str, parameters: list[str]) -> Callable[[Any], Any]:
    """f over mpmath numbers, of the precision at hand."""
    given = [number(Fraction(p)) for p in parameters]
    if name == "power":
        r = Fraction(parameters[0])
        return lambda x: x ** int(r) if r.denominator == 1 else mpmath.power(x, given[0])
    if name == "elu":
        alpha, scale, rate = given
        return lambda x: scale * x if x > 0 else scale * alpha * mpmath.expm1(rate * x)
    if name == "swish":
        return lambda x: x * _sigmoid(given[0] * x)
    if name == "erf_gate":
        return lambda x: x * (1 + mpmath.erf(given[0] * x)) / 2
    return _MPMATH[name]


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def _softplus(x: Any) -> Any:
    return mpmath.log1p(mpmath.exp(x))


_MPMATH: dict[str, Callable[[Any], Any]] = {
    "exp": mpmath.exp, "log": mpmath.log, "sigmoid": _sigmoid, "tanh": mpmath.tanh, "softplus": _softplus,
    "softsign": lambda x: x / (1 + abs(x)), "erf": mpmath.erf, "atan": mpmath.atan, "sin": mpmath.sin,
    "cos": mpmath.cos, "gelu": lambda x: x * (1 + mpmath.erf(x / mpmath.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + number(CUBIC) * x**3))) / 2,
    "mish": lambda x: x * mpmath.tanh(_softplus(x)),
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
}


def jumping(name: str, parameters: list[str]) -> Callable[[Fraction], Fraction] | None:
    """A function that jumps, over rationals; None of one that does not."""
    if name in ("floor", "ceil", "round"):
        whole: Callable[[Fraction], int] = {"floor": floor, "ceil": ceil, "round": round}[name]
        return lambda x: Fraction(whole(x))
    if name != "lines":
        return None
    given = [Fraction(p) for p in parameters]
    n = (len(given) - 2) // 4

    def value(x: Fraction) -> Fraction:
        k = sum(place < x for place in given[:n])
        if k < n and given[k] == x:
            return given[-n:][k]
        return given[n + 2 * k] * x + given[n + 2 * k + 1]

    return value


def exactly(name: str, parameters: list[str], x: np.ndarray) -> np.ndarray:
    """f at rationals, to DIGITS digits."""
    out, steps = np.empty(x.size, object), jumping(name, parameters)
    if steps is not None:
        out[:] = [steps(value) for value in x.reshape(-1).tolist()]
        return out.reshape(x.shape)
    with mpmath.workdps(DIGITS):
        f = function(name, parameters)
        out[:] = [rational(f(number(value))) for value in x.reshape(-1).tolist()]
    return out.reshape(x.shape)


def nearly(name: str, parameters: list[str], x: np.ndarray) -> np.ndarray:
    """f in float64, by NumPy and SciPy."""
    steps = jumping(name, parameters)
    if steps is not None:
        return np.vectorize(lambda v: float(steps(Fraction(v))), otypes=[float])(x)
    given = [float(Fraction(p)) for p in parameters]
    if name == "power":
        return np.power(x, given[0])
    if name == "elu":
        return given[1] * np.where(x > 0, x, given[0] * np.expm1(given[2] * np.minimum(x, 0)))
    if name == "swish":
        return x * special.expit(given[0] * x)
    if name == "erf_gate":
        return x * (1 + special.erf(given[0] * x)) / 2
    return _NUMPY[name](x)


_NUMPY: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp, "log": np.log, "sigmoid": special.expit, "tanh": np.tanh, "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)), "erf": special.erf, "atan": np.arctan, "sin": np.sin, "cos": np.cos,
    "gelu": lambda x: x * special.ndtr(x),
    "gelu_tanh": lambda x: x * special.expit(2 * np.sqrt(2 / np.pi) * (x + float(CUBIC) * x**3)),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
