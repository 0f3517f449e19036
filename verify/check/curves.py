"""The elementwise functions that a certificate may name, with the pieces on which they are convex or concave.

A function states its value and its slope over `Span`s, where its pieces end, and its domain. An end of a piece that is
no number of both arithmetics is enclosed by two that are, and the pieces on its both sides then reach to the far one:
curvature is known on the *inner* part of a piece, and the piece lies within its *outer* part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from math import inf
from typing import Any, NamedTuple, final

import numpy as np

from verify.check import functions
from verify.check.numbers import Arithmetic
from verify.check.spans import Span

CONVEX, LINEAR, CONCAVE = 1, 0, -1
ZERO, ONE = Fraction(0), Fraction(1)


class Piece(NamedTuple):
    """A piece of a function, for all boxes or for each: `sign` is that of f''; ends are numbers or infinite."""

    sign: Any
    outer_low: Any
    outer_high: Any
    inner_low: Any
    inner_high: Any


Vertex = tuple[Span, Span]  # x and f, or values that hold all that f comes near to there


class Curve(ABC):
    """An elementwise function. By default it is smooth and of all reals, and convex.

    Attributes:
        breaks: the ends between pieces, each enclosed by two dyadic rationals, ascending.
        signs: of f'' on each piece.
        corners: the breaks where f' jumps, or where a piece is linear: they are exact.
        image: (low, high) that hold all values, or None.
        is_monotone: whether f rises, or falls, on all of its domain.
        steep: slopes that lines may have besides those of its pieces.
    """

    held = 0
    breaks: tuple[tuple[Fraction, Fraction], ...] = ()
    signs: tuple[int, ...] = (CONVEX,)
    corners: tuple[Fraction, ...] = ()
    image: tuple[Any, Any] = (None, None)
    is_monotone = True
    steep: tuple[float, ...] = ()

    @abstractmethod
    def value(self, x: Span) -> Span:
        """f at numbers of the domain."""

    @abstractmethod
    def slope(self, piece: int, x: Span) -> Span:
        """f' at numbers of a piece, its ends included; anything elsewhere."""

    def outside(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Which boxes hold points where there is no value; bool."""
        return np.zeros(low.shape, bool)

    def pieces(self, number: Arithmetic, low: np.ndarray, high: np.ndarray) -> list[Piece]:
        """Pieces that cover each box, as far as they can be told."""
        ends = [(-inf, -inf), *((number.factor(float(a)), number.factor(float(b))) for a, b in self.breaks), (inf, inf)]
        return [Piece(sign, left[0], right[1], left[1], right[0])
                for sign, left, right in zip(self.signs, ends, ends[1:], strict=False)]

    def vertices(self, number: Arithmetic, low: np.ndarray, high: np.ndarray) -> Iterator[Vertex]:
        """The ends of each box, and where f(x) - s x may be extreme in it beside the inner parts of pieces."""
        corners = (np.full_like(low, number.factor(float(corner))) for corner in self.corners)
        for x in (low, high, *(np.clip(corner, low, high) for corner in corners)):
            yield Span.at(number, x), self.value(Span.at(number, x))

    def covered(self, low: np.ndarray, pieces: list[Piece]) -> np.ndarray:
        """Which boxes the pieces cover; bool."""
        return np.ones(low.shape, bool)


@final
class Exp(Curve):
    """exp(x), its own slope."""

    image = (0, None)

    def value(self, x: Span) -> Span:
        return functions.exp(x)

    def slope(self, piece: int, x: Span) -> Span:
        return functions.exp(x)


@final
class Log(Curve):
    """log x of x > 0."""

    signs = (CONCAVE,)

    def value(self, x: Span) -> Span:
        return functions.log(x)

    def slope(self, piece: int, x: Span) -> Span:
        return 1 / x

    def outside(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return (low <= 0).astype(bool)


@final
class Power(Curve):
    """x^r: of all reals for whole r > 0, of x other than 0 for whole r < 0, else of x >= 0 or x > 0.

    f'' = r (r - 1) x^(r - 2) has no zero but 0, and one sign on each side of it.
    """

    LEAST = Fraction(1, 2**900)  # where slopes of roots are not yet infinite

    def __init__(self, exponent: Fraction):
        self.exponent, self.is_whole = exponent, exponent.denominator == 1
        odd = self.is_whole and exponent % 2 == 1
        self.image = (None if odd else 0, None)
        self.is_monotone = odd or exponent < 0 or not self.is_whole  # of either side of 0
        sign = CONCAVE if 0 < exponent < 1 else CONVEX
        two = odd or (self.is_whole and exponent < 0)
        self.breaks = ((ZERO, ZERO),) if two else ()
        self.signs = (CONCAVE if odd else CONVEX, CONVEX) if two else (sign,)

    def value(self, x: Span) -> Span:
        return self._power(x, self.exponent)

    def slope(self, piece: int, x: Span) -> Span:
        return self._power(x, self.exponent - 1) * self.exponent

    def outside(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        if not self.is_whole:
            return (low < 0 if self.exponent > 0 else low <= 0).astype(bool)
        crosses = ((low <= 0) & (high >= 0)).astype(bool)
        return crosses if self.exponent < 0 else np.zeros(low.shape, bool)

    def pieces(self, number: Arithmetic, low: np.ndarray, high: np.ndarray) -> list[Piece]:
        if self.is_whole:
            return super().pieces(number, low, high)
        return [Piece(self.signs[0], number.factor(0.0), inf, number.factor(float(self.LEAST)), inf)]

    def _power(self, x: Span, r: Fraction) -> Span:
        if r < 0:
            return 1 / self._power(x, -r)
        if r.denominator == 1:
            return _whole_power(x, int(r))
        if r.denominator == 2:
            return functions.sqrt(x) * _whole_power(x, int(r - Fraction(1, 2)))
        positive = (x.low > 0).astype(bool)
        one, zero = Span.of(x.number, 1), Span.of(x.number, 0)
        found = functions.exp(functions.log(x.where(positive, one)) * r).within(0)
        return found.where(positive, zero)


def _whole_power(x: Span, n: int) -> Span:
    """x^n by squaring, n >= 0."""
    if n == 0:
        return Span.of(x.number, 1)
    half = _whole_power(x, n // 2).square() if n > 1 else Span.of(x.number, 1)
    return half * x if n % 2 else half


class _Rising(Curve):
    """Convex below 0 and concave above: f''(x) has the sign of -x in all of these."""

    breaks = ((ZERO, ZERO),)
    signs = (CONVEX, CONCAVE)
    image = (-1, 1)


@final
class Sigmoid(_Rising):
    """f'' = f' (1 - 2 f)."""

    image = (0, 1)

    def value(self, x: Span) -> Span:
        return sigmoid(x)

    def slope(self, piece: int, x: Span) -> Span:
        return sigmoid(x) * sigmoid(-x)


@final
class Tanh(_Rising):
    """f'' = -2 f f'; f = (1 - e) / (1 + e) with e = exp(-2 x) where x >= 0, and f is odd."""

    def value(self, x: Span) -> Span:
        e = functions.exp(_size(x) * -2)
        found = (1 - e) / (1 + e)
        return found.where((x.low >= 0).astype(bool), -found).within(-1, 1)

    def slope(self, piece: int, x: Span) -> Span:
        return sigmoid(x * 2) * sigmoid(x * -2) * 4


@final
class Erf(_Rising):
    """f'' = -2 x f'."""

    def value(self, x: Span) -> Span:
        return functions.erf(x)

    def slope(self, piece: int, x: Span) -> Span:
        return functions.exp(-x.square()) * 2 / functions.constant(x.number, "sqrtpi")


@final
class Atan(_Rising):
    """f'' = -2 x f'^2."""

    image = (-2, 2)

    def value(self, x: Span) -> Span:
        return functions.atan(x)

    def slope(self, piece: int, x: Span) -> Span:
        return 1 / (1 + x.square())


@final
class Softsign(_Rising):
    """x / (1 + |x|), whose slope is 1 / (1 + |x|)^2."""

    def value(self, x: Span) -> Span:
        return (x / (1 + _size(x))).within(-1, 1)

    def slope(self, piece: int, x: Span) -> Span:
        return 1 / (1 + _size(x)).square()


@final
class Softplus(Curve):
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), whose slope is the sigmoid."""

    image = (0, None)

    def value(self, x: Span) -> Span:
        above = Span.at(x.number, np.maximum(x.low, 0))
        return (above + functions.log1p(functions.exp(-_size(x)).within(0, 1))).within(0)

    def slope(self, piece: int, x: Span) -> Span:
        return sigmoid(x)


@final
class Wave(Curve):
    """sin(x + shift pi/2): with h = x / pi + shift / 2, concave where floor(h) is even, else convex.

    Four pieces in a row, from at least a quarter of one below the box on; boxes beyond these, or beyond 2^20, have no
    pieces, and what is known there is that values lie between -1 and 1.
    """

    image = (-1, 1)
    is_monotone = False
    COUNT = 4

    def __init__(self, shift: int):
        self.shift = shift

    def value(self, x: Span) -> Span:
        return (functions.cos if self.shift else functions.sin)(x.low, x.number)

    def slope(self, piece: int, x: Span) -> Span:
        return -functions.sin(x.low, x.number) if self.shift else functions.cos(x.low, x.number)

    def pieces(self, number: Arithmetic, low: np.ndarray, high: np.ndarray) -> list[Piece]:
        pi, half = functions.constant(number, "pi"), Fraction(self.shift, 2)
        first = np.floor(np.clip(low.astype(np.float64), -(2.0**21), 2.0**21) / np.pi + self.shift / 2 - 0.25)
        ends = [(Span.at(number, number.of(first + j)) - half) * pi for j in range(self.COUNT + 1)]
        far = (np.maximum(np.abs(low), np.abs(high)) > 2**20).astype(bool)
        none = far | ~((ends[0].high <= low) & (high <= ends[-1].low)).astype(bool)
        out = []
        for j in range(self.COUNT):
            sign = np.where(none, 0, np.where((first + j) % 2 == 0, CONCAVE, CONVEX))
            out.append(Piece(sign, ends[j].low, ends[j + 1].high, ends[j].high, ends[j + 1].low))
        return out

    def covered(self, low: np.ndarray, pieces: list[Piece]) -> np.ndarray:
        return pieces[0].sign != 0


def sigmoid(x: Span) -> Span:
    """1 / (1 + exp(-x)), which rises: by e = exp(-|x|) at both ends."""
    if not x.is_point:
        ends = (sigmoid(Span.at(x.number, end)) for end in (x.low, x.high))
        low, high = ends
        return Span(x.number, low.low, high.high)
    e = functions.exp(-_size(x))
    below = 1 + e
    return (1 / below).where((x.low >= 0).astype(bool), e / below).within(0, 1)


def _size(x: Span) -> Span:
    """|x| of numbers."""
    return Span.at(x.number, np.abs(x.low))
