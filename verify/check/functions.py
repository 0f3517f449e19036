"""Elementary functions with stated errors: enclosures of f over intervals, in float64 or in rationals.

Of float64 nothing is taken but IEEE + - * /, sqrt, rint and exact scaling by powers of two. u is 2^-53. A polynomial of
n + 1 coefficients, each rounded once, evaluated by Horner's rule at a z whose relative error is at most d, is within
gamma_(2n+2) sum |c_i| |z|^i of its value at that z (Higham 2002, section 5.1), and moved by d |z| P'(|z|) more. What is
stated below is at least twice what is proved, which covers the roundings of the ends themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import factorial

import numpy as np

from verify.check import exact_functions
from verify.check.numbers import Arithmetic
from verify.check.spans import Span

ERROR = 2.0**-45  # stated for exp, log, log1p (relative) and for atan, erf, sin, cos (absolute)
STEP, STEPS = Fraction(1, 4), 24  # distance and number of the points around which erf is expanded
TERMS = 16  # of each expansion of erf
_Ends = tuple[np.ndarray, np.ndarray]


def constant(number: Arithmetic, name: str) -> Span:
    """sqrt(2), pi or sqrt(pi), enclosed; without axes."""
    pi = exact_functions.pi()
    ends = {
        "pi": pi, "sqrt2": exact_functions.sqrt(Fraction(2)),
        "sqrtpi": (exact_functions.sqrt(pi[0])[0], exact_functions.sqrt(pi[1])[1]),
    }[name]
    low, high = (np.array(end, object) for end in ends)
    return Span(number, number.down(low), number.up(high))


def exp(x: Span) -> Span:
    """See `_exp`."""
    return _rising("exp", _exp, x)


def log(x: Span) -> Span:
    """Of positive numbers."""
    return _rising("log", _log, x)


def log1p(u: Span) -> Span:
    """log(1 + u) of 0 <= u <= 1."""
    return _rising("log1p", _log1p, u).within(0 * u.low)


def atan(x: Span) -> Span:
    """See `_atan`."""
    return _rising("atan", _atan, x)


def erf(x: Span) -> Span:
    """See `_erf`."""
    return _rising("erf", _erf, x).within(-1, 1)


def sqrt(x: Span) -> Span:
    """Of numbers that are not negative."""
    return _rising("sqrt", lambda v: (np.nextafter(np.sqrt(v), -np.inf), np.nextafter(np.sqrt(v), np.inf)), x).within(0)


def sin(x: np.ndarray, number: Arithmetic) -> Span:
    """At numbers; no more than -1 to 1 beyond 2^20."""
    return Span(number, *(_each("sin", x) if number.exact else _wave(x, 0))).within(-1, 1)


def cos(x: np.ndarray, number: Arithmetic) -> Span:
    """At numbers, like `sin`."""
    return Span(number, *(_each("cos", x) if number.exact else _wave(x, 1))).within(-1, 1)


def _rising(name: str, floats: Callable[[np.ndarray], _Ends], x: Span) -> Span:
    """A function that rises, by the ends of its argument."""
    apply = (lambda v: _each(name, v)) if x.number.exact else floats
    low, high = apply(x.low)
    return Span(x.number, low, high if x.is_point else apply(x.high)[1])


def _each(name: str, x: np.ndarray) -> _Ends:
    """Rational ends, entry by entry."""
    flat = [exact_functions.FUNCTIONS[name](Fraction(value)) for value in np.asarray(x, object).reshape(-1).tolist()]
    ends = np.empty((2, len(flat)), object)
    for k in range(2):
        ends[k, :] = [pair[k] for pair in flat]
    return ends[0].reshape(np.shape(x)), ends[1].reshape(np.shape(x))


def _polynomial(coefficients: list[float] | np.ndarray, z: np.ndarray) -> np.ndarray:
    """c_0 + c_1 z + ... by Horner's rule; coefficients along the first axis."""
    total = coefficients[-1] * np.ones_like(z)
    for c in coefficients[-2::-1]:
        total = total * z + c
    return total


def _around(value: np.ndarray, relative: bool) -> _Ends:
    error = ERROR * (np.abs(value) if relative else 1.0) + 2.0**-1000  # what underflows on the way
    return value - error, value + error


@cache
def _split(name: str, bits: int, parts: int) -> list[float]:
    """log 2 or pi / 2 as a sum of floats, the first ones of `bits` bits so that small multiples of them are exact."""
    ends = {"log2": exact_functions.log(Fraction(2)), "half pi": exact_functions.pi()}[name]
    rest, found = sum(ends) / (2 if name == "log2" else 4), []
    for _ in range(parts - 1):
        unit = Fraction(2) ** (bits - int(np.frexp(float(rest))[1]))
        found.append(float(round(rest * unit) / unit))
        rest -= Fraction(found[-1])
    return [*found, float(rest)]


_EXP = [1 / factorial(i) for i in range(14)]
_ATANH = [1 / (2 * i + 1) for i in range(18)]
_ATAN = [(-1) ** i / (2 * i + 1) for i in range(24)]
_SIN = [(-1) ** i / factorial(2 * i + 1) for i in range(10)]
_COS = [(-1) ** i / factorial(2 * i) for i in range(11)]


def _exp(x: np.ndarray) -> _Ends:
    """exp x = 2^k exp(r), r = x - k log 2, |r| <= 0.36, by 14 terms of Taylor's series.

    |k| <= 1010. log 2 = h + l, h of 33 bits, so k h is exact; k l is below 2^-22 and loses 2^-75; each difference is
    below 1/2 and loses 2^-55; h + l is within 2^-86 of log 2. So r is within 2^-53, which is a relative 2^-53 of the
    result. The rest of the series is below 2 |r|^14 / 14! < 2^-55; Horner loses gamma_28 exp(|r|) < 41 u; relative to
    exp(r) > 0.69 all of it is less than 64 u = 2^-47. Beyond 2^1000 the upper end is infinite, and below 2^-1000 the
    lower end is 0.
    """
    h, low = _split("log2", 33, 2)
    held = np.clip(x, -700.0, 700.0)
    k = np.rint(held / (h + low))
    value = np.ldexp(_polynomial(_EXP, (held - k * h) - k * low), k.astype(np.int64))
    least, most = _around(value, True)
    return np.where(x < -690, 0.0, np.where(x > 690, 2.0**990, least)), np.where(
        x > 690, np.inf, np.where(x < -690, 2.0**-990, most)) + 0 * x


def _series(s: np.ndarray) -> np.ndarray:
    """2 atanh(s) of |s| <= 1/3 known to 3 u: z = s^2 <= 1/9 is within 8 u.

    18 positive terms P, of which Horner loses gamma_36 P; the rest is below (1/9)^18 / 37 * 9/8 < 2^-62; z moves P by
    8 u z P' < 8 u * 0.05 P. With s and the last products, a relative 36 + 1 + 3 + 3 u < 2^-47.
    """
    return 2 * s * _polynomial(_ATANH, s * s)


def _log(x: np.ndarray) -> _Ends:
    """log x = e log 2 + 2 atanh(s), s = (m - 1) / (m + 1), x = 2^e m, sqrt(1/2) <= m < sqrt(2) about.

    m - 1 is exact (Sterbenz), so s is within 3 u, |s| < 0.18, and the series within 2^-47 of |log m| < 0.35. For e = 0
    that is all. Else |log x| > 0.34: e h is exact (h of 33 bits, |e| < 2^11), e l and the sums lose 4 u |log x|, h + l
    loses |e| 2^-86: together a relative 2^-46 at most.
    """
    m, e = np.frexp(np.where(x > 0, x, 1.0))
    small = m < 0.7071
    m, e = np.where(small, 2 * m, m), np.where(small, e - 1, e).astype(np.float64)
    h, low = _split("log2", 33, 2)
    least, most = _around(e * h + (e * low + _series((m - 1) / (m + 1))), True)
    return np.where(x > 0, least, np.nan), np.where(x > 0, most, np.nan)


def _log1p(u: np.ndarray) -> _Ends:
    """log(1 + u) = 2 atanh(u / (2 + u)) of 0 <= u <= 1: s <= 1/3 is within 3 u, see `_series`."""
    return _around(_series(u / (2 + u)), True)


def _atan(x: np.ndarray) -> _Ends:
    """atan of w = min(|x|, 1/|x|), reduced once more by atan w = pi/4 + atan((w - 1) / (w + 1)) where w > 0.414.

    |w| < 0.4143 then, within 4 u absolutely, which moves the result by no more. The series alternates: 24 terms leave
    below 2^-60; Horner loses gamma_48 * 1.07 |w| < 22 u. pi/4 and pi/2 and the sums lose 4 u: less than 2^-48.
    """
    quarter = sum(_split("half pi", 53, 2)) / 2
    size = np.abs(x)
    w = np.where(size > 1, 1 / np.where(size > 1, size, 1.0), size)
    wide = w > 0.4142
    t = np.where(wide, (w - 1) / (w + 1), w)
    found = t * _polynomial(_ATAN, t * t) + np.where(wide, quarter, 0.0)
    found = np.where(size > 1, 2 * quarter - found, found)
    return _around(np.copysign(found, x) + 0 * x, False)


@cache
def _erf_table() -> np.ndarray:
    """(TERMS, STEPS + 1): Taylor's coefficients of erf around 0, STEP, 2 STEP, ...

    erf' = g with g' = -2 x g, so around c the coefficients b of g satisfy (i + 1) b_(i+1) = -2 (c b_i + b_(i-1)).
    """
    columns = []
    for j in range(STEPS + 1):
        c = j * STEP
        root, damp = exact_functions.sqrt(sum(exact_functions.pi(), Fraction(0)) / 2), exact_functions.exp(-c * c)
        b = [2 * sum(damp) / sum(root)]
        for i in range(TERMS):
            b.append(-2 * (c * b[i] + (b[i - 1] if i else 0)) / (i + 1))
        columns.append([sum(exact_functions.erf(c)) / 2, *(b[i] / (i + 1) for i in range(TERMS - 1))])
    return np.array([[float(value) for value in column] for column in columns]).T


def _erf(x: np.ndarray) -> _Ends:
    """By Taylor's series around the nearest multiple c of 1/4 up to 6, |h| <= 1/8, h exact.

    On the circle of radius 2 around c, |erf(z) - erf(c)| <= 2 / sqrt(pi) * 2 exp(4) < 124, so (Cauchy) the i-th
    coefficient is at most 124 / 2^i, and the rest after 16 terms at most 124 * 16^-16 * 16/15 < 2^-56. Horner loses
    gamma_32 (1 + sum 1.13 |h|) < 40 u. Together below 2^-47. Beyond 6, 1 - erf is below 2^-55.
    """
    size = np.minimum(np.abs(x), 6.0)
    place = np.rint(4 * size)
    h = size - place / 4
    found = _polynomial(_erf_table()[:, place.astype(np.int64)], h)
    return _around(np.copysign(found, x) + 0 * x, False)


def _wave(x: np.ndarray, shift: int) -> _Ends:
    """sin(x + shift pi/2) of |x| <= 2^20: r = x - k pi/2, |r| < 0.8, and one of both series.

    pi/2 = a + b + c with a, b of 33 bits, |k| < 2^20, so k a and k b are exact; the differences are below 1 and lose
    2^-54 each (the first may be exact), k c loses 2^-97, and a + b + c is within 2^-118: r is within 2^-52. The series
    leave below 2^-60; Horner loses gamma_22 cosh(0.8) < 30 u. Together below 2^-47.
    """
    a, b, c = _split("half pi", 33, 3)
    near = np.abs(x) <= 2.0**20
    held = np.where(near, x, 0.0)
    k = np.rint(held / (a + b))
    r = ((held - k * a) - k * b) - k * c
    turn = (k.astype(np.int64) + shift) % 4
    found = np.where(turn % 2 == 0, r * _polynomial(_SIN, r * r), _polynomial(_COS, r * r))
    low, high = _around(np.where(turn < 2, found, -found), False)
    return np.where(near, low, -1.0), np.where(near, high, 1.0)
