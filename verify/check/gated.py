"""Functions that let x through a gate: GELU, SiLU, Mish, ELU and their kin.

Where a piece ends at no rational, the end is enclosed by k / 2^40 and (k + 1) / 2^40, at which f'' has opposite signs;
why there is no other such end is said at each function.
"""

from __future__ import annotations

from abc import abstractmethod
from fractions import Fraction
from math import ceil, floor
from typing import final

import numpy as np

from verify.check import functions
from verify.check.curves import CONCAVE, CONVEX, LINEAR, ZERO, Curve, sigmoid
from verify.check.spans import Span

GRID = 1 << 40


def _on_grid(*places: Fraction) -> tuple[Fraction, Fraction]:
    """Multiples of 2^-40 at or around these places."""
    return Fraction(floor(min(places) * GRID), GRID), Fraction(ceil(max(places) * GRID), GRID)


def _enclosed(k: int) -> tuple[Fraction, Fraction]:
    return Fraction(k, GRID), Fraction(k + 1, GRID)


class _Bump(Curve):
    """Convex in the middle and concave on both sides."""

    signs = (CONCAVE, CONVEX, CONCAVE)
    is_monotone = False


@final
class Gelu(_Bump):
    """x P(x), P(x) = (1 + erf(r x)) / 2 with r > 0, where none is given sqrt(1/2): f'' = 2 (1 - r^2 x^2) P'(x), so
    pieces end at +-1 / r."""

    def __init__(self, rate: Fraction | None = None):
        self.rate = rate
        self.breaks = (_enclosed(-1554944255988), _enclosed(1554944255987)) if rate is None else (
            _on_grid(-1 / rate), _on_grid(1 / rate))

    def value(self, x: Span) -> Span:
        return x * self._gate(x)

    def slope(self, piece: int, x: Span) -> Span:
        inner, root = self._inner(x), functions.constant(x.number, "sqrtpi")
        return self._gate(x) + inner * functions.exp(-inner.square()) / root

    def _gate(self, x: Span) -> Span:
        return (1 + functions.erf(self._inner(x))) / 2

    def _inner(self, x: Span) -> Span:
        return x / functions.constant(x.number, "sqrt2") if self.rate is None else x * self.rate


class _Logistic(_Bump):
    """x s(g) with s the sigmoid and g = b (x + a x^3), b > 0, a >= 0.

    f' = s(g) + x g' s(g) s(-g), and f'' = s(g) s(-g) B with B = 2 g' + x g'' - x g'^2 tanh(g / 2), an even function.
    For x > 0, B / (x g'^2) = (2 + 12 y) / (b x (1 + 3 y)^2) - tanh(g / 2) with y = a x^2. The first term falls, as the
    derivative of (2 + 12 y) / (1 + 3 y)^2 by y is -36 y / (1 + 3 y)^3, and the second rises: one zero on each side.
    """

    cubic: Fraction

    def value(self, x: Span) -> Span:
        return x * sigmoid(self._inner(x))

    def slope(self, piece: int, x: Span) -> Span:
        inner = self._inner(x)
        up = sigmoid(inner)
        return up + x * self._factor(x) * (1 + x.square() * (3 * self.cubic)) * up * sigmoid(-inner)

    def _inner(self, x: Span) -> Span:
        return self._factor(x) * (x * (1 + x.square() * self.cubic)) if self.cubic else self._factor(x) * x

    @abstractmethod
    def _factor(self, x: Span) -> Span:
        """b."""


@final
class Swish(_Logistic):
    """a = 0, b > 0: x s(b x), for b = 1 SiLU. Its pieces end where those of SiLU do, over b."""

    cubic = ZERO
    HOME = _enclosed(2638121229115)

    def __init__(self, factor: Fraction = Fraction(1)):
        self.factor = factor
        place = [end / factor for end in self.HOME]
        self.breaks = _on_grid(*(-end for end in place)), _on_grid(*place)

    def _factor(self, x: Span) -> Span:
        return Span.of(x.number, self.factor)


@final
class GeluTanh(_Logistic):
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2: a = 0.044715, b = 2 sqrt(2 / pi)."""

    cubic = Fraction(44715, 1000000)
    breaks = (_enclosed(-1559661651713), _enclosed(1559661651712))

    def _factor(self, x: Span) -> Span:
        return functions.constant(x.number, "sqrt2") * 2 / functions.constant(x.number, "sqrtpi")


@final
class Mish(_Bump):
    """x tanh(log(1 + E)) with E = exp(x); the gate is w = n / (n + 2), n = E^2 + 2 E, and f' = w + x w'.

    f'' has the sign of A + x D, where A = 2 (E + 1) (E^2 + 2 E + 2) > 0 and D = -2 E^3 - 3 E^2 + 2 E + 2, which falls
    for E >= 1/2, is positive below it and has one zero, near 0.89. Where D > 0 and x < 0, f'' < 0 if and only if
    -x > A / D; where D < 0 and x > 0, if and only if x > A / -D; elsewhere f'' > 0. With A' and D' the derivatives by
    E, A' D - A D' = 6 E^4 + 40 E^3 + 72 E^2 + 48 E + 8 > 0, so A / D rises with x where D > 0, and A / -D falls where
    D < 0: one zero on each side.
    """

    breaks = (_enclosed(-2480912084439), _enclosed(1638900343872))

    def value(self, x: Span) -> Span:
        return x * self._gate(x)[0]

    def slope(self, piece: int, x: Span) -> Span:
        gate, rise = self._gate(x)
        return gate + x * rise

    @staticmethod
    def _gate(x: Span) -> tuple[Span, Span]:
        """w and w' = 4 E (E + 1) / (E^2 + 2 E + 2)^2; where x > 0 by e = 1 / E."""
        e = functions.exp(-Span.at(x.number, np.abs(x.low)))
        square, low = e.square(), (x.low <= 0).astype(bool)
        below, above = square + e * 2 + 2, 1 + e * 2 + square * 2
        gate = ((square + e * 2) / below).where(low, (1 + e * 2) / above)
        rise = (e * (e + 1) * 4 / below.square()).where(low, square * (1 + e) * 4 / above.square())
        return gate.within(0, 1), rise


@final
class Elu(Curve):
    """scale x for x > 0, and scale alpha (exp(rate x) - 1) below, rate > 0. ELU has scale = rate = 1, CELU has scale 1
    and rate = 1 / alpha, SELU rate 1. It rises or falls throughout where alpha > 0, else it turns at 0."""

    breaks, corners = ((ZERO, ZERO),), (ZERO,)

    def __init__(self, alpha: Fraction, scale: Fraction, rate: Fraction):
        self.alpha, self.scale, self.rate = alpha, scale, rate
        self.signs = (CONVEX if alpha * scale > 0 else CONCAVE, LINEAR)
        self.is_monotone = alpha > 0

    def value(self, x: Span) -> Span:
        below = (self._exp(x) - 1).within(-1, 0) * (self.alpha * self.scale)
        return (x * self.scale).where((x.low > 0).astype(bool), below)

    def slope(self, piece: int, x: Span) -> Span:
        whole = Span.of(x.number, self.scale)
        return whole if piece else self._exp(x) * (self.alpha * self.scale * self.rate)

    def _exp(self, x: Span) -> Span:
        return functions.exp(Span.at(x.number, np.minimum(x.low, 0)) * self.rate)


@final
class HardSwish(Curve):
    """x min(max(x + 3, 0), 6) / 6."""

    breaks = ((Fraction(-3), Fraction(-3)), (Fraction(3), Fraction(3)))
    corners = (Fraction(-3), Fraction(3))
    signs = (LINEAR, CONVEX, LINEAR)
    is_monotone = False

    def value(self, x: Span) -> Span:
        return x * (Span.at(x.number, np.clip(x.low, -3, 3)) + 3) / 6

    def slope(self, piece: int, x: Span) -> Span:
        return x / 3 + Fraction(1, 2) if piece == 1 else Span.of(x.number, piece // 2)
