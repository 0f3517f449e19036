"""Elementary functions of rationals, enclosed: integers in units of 2^-BITS, with every rounding counted.

Quotients are rounded down to a unit (Python's //), so each step of a series loses at most one; what is counted is far
more than what is lost. Each function takes a rational and returns rationals low <= f(x) <= high.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import isqrt

BITS = 224
ONE = 1 << BITS
SPARE = 1 << 14  # units that every function may lose, so results are within 2^-209 or so
FAR = 1 << 20  # beyond which sine and cosine are not reduced, and nothing is known of them but their range
Ends = tuple[Fraction, Fraction]


def _units(x: Fraction) -> int:
    """x in units, rounded down."""
    return (x.numerator << BITS) // x.denominator


def _ends(value: int, lost: int = SPARE) -> Ends:
    return Fraction(value - lost, ONE), Fraction(value + lost, ONE)


def _atanh_series(s: int, sign: int = 1) -> int:
    """s + sign s^3 / 3 + s^5 / 5 + ... of |s| <= 1/2 in units, to the first term of no unit.

    At most BITS terms of two roundings each, and a rest below one unit: within 3 BITS < 2^10 units.
    """
    square, power, total, k = (s * s) >> BITS, s, 0, 0
    while power not in (0, -1):
        total += power // (2 * k + 1) * sign**k
        power, k = (power * square) >> BITS, k + 1
    return total


@cache
def _log2() -> int:
    """log 2 = 2 atanh(1/3) in units, within 2^12."""
    return 2 * _atanh_series(ONE // 3)


@cache
def pi() -> Ends:
    """Machin: pi = 16 atan(1/5) - 4 atan(1/239)."""
    return _ends(16 * _atanh_series(ONE // 5, -1) - 4 * _atanh_series(ONE // 239, -1), 1 << 15)


def sqrt(x: Fraction) -> Ends:
    """The root of x >= 0, by the largest integer whose square is no larger."""
    bits = BITS + max(0, x.denominator.bit_length() - x.numerator.bit_length()) // 2
    root = isqrt((x.numerator << 2 * bits) // x.denominator)
    return Fraction(root, 1 << bits), Fraction(root + 1, 1 << bits)


def exp(x: Fraction) -> Ends:
    """2^k exp(r) with x = k log 2 + r, |r| <= 0.36.

    log 2 is known to within 2^-212, so k of at most 2^11 moves r by 2^-201. The terms r^i / i! fall by 0.36 / i, each
    with two roundings, so that 60 of them and the rest lose fewer than 2^8 units. Together, and relative to
    exp(r) > 0.69, less than 2^-199. Beyond 2^10 the result is not computed.
    """
    if x < -(1 << 10):
        return Fraction(0), Fraction(1, 1 << 1400)  # exp(-1024) < 2^-1477
    if x > 1 << 10:
        return Fraction(1 << 1400), Fraction(1 << (2 * int(x) + 2))
    k = round(x / Fraction(_log2(), ONE))
    r = _units(x) - k * _log2()
    total, term = 0, ONE
    for i in range(1, 61):
        total += term
        term = ((term * r) >> BITS) // i
    low, high = _ends(total, 1 << 24)
    scale = Fraction(1 << k) if k >= 0 else Fraction(1, 1 << -k)
    return low * scale, high * scale


def log(x: Fraction) -> Ends:
    """e log 2 + 2 atanh((m - 1) / (m + 1)) of x = 2^e m > 0, with m between 1/2 and 4/3.

    |m - 1| / (m + 1) is at most 1/3, so the series loses less than SPARE units, and e log 2 less than e SPARE.
    """
    e = x.numerator.bit_length() - x.denominator.bit_length()
    m = x / (1 << e) if e >= 0 else x * (1 << -e)  # between 1/2 and 2
    if m > Fraction(4, 3):
        m, e = m / 2, e + 1
    s = _units((m - 1) / (m + 1))
    return _ends(2 * _atanh_series(s) + e * _log2(), SPARE * (abs(e) + 1))


def atan(x: Fraction) -> Ends:
    """By atan x = pi/2 - atan(1/x) beyond 1, and = pi/4 + atan((x - 1) / (x + 1)) beyond 2/5: a series at most at 3/7.

    The derivative is at most 1, so rounding the argument loses a unit.
    """
    if x < 0:
        low, high = atan(-x)
        return -high, -low
    if x > 1:
        low, high = atan(1 / x)
        return pi()[0] / 2 - high, pi()[1] / 2 - low
    if x > Fraction(2, 5):
        low, high = _ends(_atanh_series(_units((x - 1) / (x + 1)), -1))
        return pi()[0] / 4 + low, pi()[1] / 4 + high
    return _ends(_atanh_series(_units(x), -1))


def erf(x: Fraction) -> Ends:
    """2 / sqrt(pi) exp(-x^2) (x + 2 x^3 / 3 + 4 x^5 / 15 + ...), a sum of positive terms.

    Moving x to a unit changes erf by less than 2 units. Each term has one rounding. Where x < 1 the terms fall and
    errors do not grow; else the first terms are at least 1, so that a rounding is at most 2^-BITS of its term and stays
    so while the terms grow, and afterwards errors do not grow. Of N terms, so, at most N (2^-BITS sum + N) units are
    lost, and exp(-x^2) sum < 1: N < 2^11 makes 2^22 units. Beyond 12, 1 - erf is below exp(-144) / 12 < 2^-200.
    """
    if x < 0:
        low, high = erf(-x)
        return -high, -low
    if x >= 12:
        return 1 - Fraction(1, 1 << 200), Fraction(1)
    at = _units(x)
    term, total, k = at, 0, 0
    while term:
        total += term
        k += 1
        term = (term * 2 * at * at) // ((2 * k + 1) << 2 * BITS)
    point = Fraction(at, ONE)
    damp = exp(-point * point)
    sides = [2 * end * damp[n] / root for n, (end, root) in enumerate(
        zip((Fraction(total, ONE), Fraction(total, ONE)), (sqrt(pi()[1])[1], sqrt(pi()[0])[0]), strict=True))]
    lost = Fraction(1 << 23, ONE)
    return max(sides[0] - lost, Fraction(0)), min(sides[1] + lost, Fraction(1))


def _turned(x: Fraction) -> tuple[int, int]:
    """(k, r in units) with x = k pi/2 + r, |r| <= 0.8: pi is known to within 2^-209, so k of 2^20 moves r by 2^-189."""
    quarter = sum(pi(), Fraction(0)) / 4
    k = round(x / quarter)
    return k, _units(x - k * quarter)


def _wave(x: Fraction, shift: int) -> Ends:
    """sin(x + shift pi/2): the series of sine or cosine of r, 60 terms of two roundings each, less than 2^8 units."""
    if abs(x) > FAR:
        return Fraction(-1), Fraction(1)
    k, r = _turned(x)
    k = (k + shift) % 4
    square, odd, total = (r * r) >> BITS, k % 2 == 0, 0
    term, i = (r, 1) if odd else (ONE, 0)
    for _ in range(60):
        total += term
        term = -((term * square) >> BITS) // ((i + 1) * (i + 2))
        i += 2
    low, high = _ends(total if k < 2 else -total, 1 << 37)
    return max(low, Fraction(-1)), min(high, Fraction(1))


def sin(x: Fraction) -> Ends:
    """See `_wave`."""
    return _wave(x, 0)


def cos(x: Fraction) -> Ends:
    """See `_wave`."""
    return _wave(x, 1)


FUNCTIONS: dict[str, Callable[[Fraction], Ends]] = {
    "exp": exp, "log": log, "log1p": lambda u: log(1 + u), "atan": atan, "erf": erf, "sin": sin, "cos": cos,
    "sqrt": sqrt,
}
