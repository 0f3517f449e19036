"""Lines and intervals of curves over boxes, with all errors in the intercepts.

For any slope s, f(x) - s x over a box is extreme at an end of the box, at a corner, or inside a piece. On a concave
piece f lies below each of its tangents, f(x) <= f(t) + f'(t) (x - t), and
f(x) - s x <= f(t) - s t + (f'(t) - s) (x - t) is largest at an end of the part of the box that the piece may have; on a
convex piece it is the other way round. This holds for every t where the curvature is known, so slopes and touching
points are chosen in float64 without proof, and only f(t) and f'(t) are enclosed. An end of a piece that is no corner
belongs to a concave and to a convex piece, whose outer parts hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verify.check.curves import CONCAVE, CONVEX, LINEAR, Curve, Piece
from verify.check.lines import Lines
from verify.check.numbers import Arithmetic, Rejected
from verify.check.spans import Span

BISECTIONS, FINE = 16, 40  # the second where a leaf says where its lines touch, so that its bounds are met
ROUGH = 2.0**-40  # relative to values, what is taken for rounding
FLOATS = Arithmetic()


def curve_lines(number: Arithmetic, op: Curve, low: np.ndarray, high: np.ndarray) -> Lines:
    """Lines of f over boxes, (batch, entries): on each side, of a few candidate slopes the line that is closest to f in
    the middle of the box. Sound because `_Bounds.intercepts` is."""
    guess = _Guess(op, low.astype(np.float64), high.astype(np.float64))
    touching = list(guess.touching())
    at, middle = _Bounds(number, op, low, high, touching), (low + high) / 2
    best: list[tuple[Any, ...]] = []
    for candidate in guess.slopes(touching):
        slope = number.of(np.broadcast_to(np.where(np.isfinite(candidate), candidate, 0.0), low.shape))
        found = [(slope, intercept, sign * (slope * middle + intercept)) for sign, intercept in
                 zip((-1, 1), at.intercepts(slope), strict=True)]
        best = [_better(*pair) for pair in zip(best, found, strict=True)] if best else found
    (lower_slope, lower, _), (upper_slope, upper, _) = best
    return Lines(upper_slope, upper, lower_slope, lower)


def touching_lines(
    number: Arithmetic, op: Curve, low: np.ndarray, high: np.ndarray, share: np.ndarray
) -> Lines:
    """Lines that touch f where a leaf says: on a side to which one piece of f bends, the tangent at low + share (high -
    low), moved to where it clears f at both ends of the box; where there is none, and on other sides, the line of
    `curve_lines`. Sound because `_Bounds.intercepts` is, whatever the slopes."""
    guess = _Guess(op, *(end.astype(np.float64) for end in (low, high)), bisections=FINE)
    lines, touching, at = curve_lines(number, op, low, high), list(guess.touching()), share.astype(np.float64)
    sides = [[lines.lower_slope, lines.lower_intercept], [lines.upper_slope, lines.upper_intercept]]
    for side, sign in enumerate((CONVEX, CONCAVE)):
        bent = [k for k, piece in enumerate(guess.pieces) if np.ndim(piece.sign) == 0 and piece.sign == sign]
        if len(bent) != 1:
            continue
        t, clears = guess.touched(bent[0], at)
        slope = np.where(clears, number.of(guess.slope(bent[0], t)), sides[side][0])
        moved = [np.where(clears, t, old) if k == bent[0] else old for k, old in enumerate(touching)]
        intercept = _Bounds(number, op, low, high, moved).intercepts(slope)[side]
        sides[side] = [slope, np.where(clears, intercept, sides[side][1])]
    return Lines(*sides[1], *sides[0])


def curve_interval(number: Arithmetic, op: Curve, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of f over boxes: those of lines of slope 0, met with the image of f."""
    guess = _Guess(op, low.astype(np.float64), high.astype(np.float64))
    flat = [None if op.is_monotone else guess.parallel(k, np.zeros(low.shape)) for k in range(len(guess.pieces))]
    lower, upper = _Bounds(number, op, low, high, flat).intercepts(number.zeros(low.shape))
    least, most = op.image
    return lower if least is None else np.maximum(lower, least), upper if most is None else np.minimum(upper, most)


def within_domain(op: Curve, low: np.ndarray, high: np.ndarray, name: str) -> None:
    """Rejects boxes with points where f has no value."""
    bad = np.argwhere(op.outside(low, high))
    if len(bad):
        ends = (float(end[tuple(bad[0])]) for end in (low, high))
        raise Rejected(f"entry {bad[0][-1]} of the argument of node {name!r} is bounded by {next(ends):.6g} and "
                       f"{next(ends):.6g}, which leaves the domain of its function ({type(op).__name__.lower()})")


def _better(best: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of two (slope, intercept, cost) the one of less cost, entry by entry."""
    less = (other[2] < best[2]).astype(bool)
    return tuple(np.where(less, new, old) for new, old in zip(other, best, strict=True))


class _Bounds:
    """Bounds of f(x) - s x over boxes, by vertices and by tangents at these points of the pieces (None for no tangent:
    f is monotone, and s is 0)."""

    def __init__(self, number: Arithmetic, op: Curve, low: np.ndarray, high: np.ndarray, touching: list[Any]):
        self.number, self.image = number, op.image
        self.low, self.high = Span.at(number, low), Span.at(number, high)
        self.vertices = list(op.vertices(number, low, high))
        self.tangents = [self._tangent(op, k, piece, t) for k, (piece, t) in
                         enumerate(zip(op.pieces(number, low, high), touching, strict=True)) if t is not None]
        self.covered = op.covered(low, op.pieces(number, low, high))

    def _tangent(self, op: Curve, k: int, piece: Piece, t: np.ndarray) -> tuple[Any, ...]:
        """(sign, t, f(t), f'(t), the part of the box that may be the piece's, whether there is one)."""
        low, high = self.low.low, self.high.low
        point = np.clip(np.clip(self.number.of(t), low, high), piece.inner_low, piece.inner_high)
        start, end = np.maximum(low, piece.outer_low), np.minimum(high, piece.outer_high)
        held = ((piece.sign != 0) & (start <= end)).astype(bool)
        at, start, end = (Span.at(self.number, np.where(held, x, low)) for x in (point, start, end))
        return piece.sign, at, op.value(at), op.slope(k, at), (start, end), held

    def intercepts(self, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper) intercepts of lines of these slopes. Sound by the remark above; trusts `functions`."""
        s = Span.at(self.number, slope)
        offsets = [f - s * x for x, f in self.vertices]
        lower, upper = offsets[0].low, offsets[0].high
        for offset in offsets[1:]:
            lower, upper = np.minimum(lower, offset.low), np.maximum(upper, offset.high)
        for sign, t, f, rise, part, held in self.tangents:
            rest, base = rise - s, f - s * t
            ends = [base + rest * (x - t) for x in part]
            below, above = np.minimum(ends[0].low, ends[1].low), np.maximum(ends[0].high, ends[1].high)
            lower = np.where(held & (sign > 0), np.minimum(lower, below), lower)
            upper = np.where(held & (sign < 0), np.maximum(upper, above), upper)
        return self._capped(s, lower, upper)

    def _capped(self, s: Span, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Met with what the image of f alone says; only that where pieces do not cover the box."""
        least, most = self.image
        moved = [s * x for x in (self.low, self.high)]
        if least is not None:
            cap = np.minimum(*((least - value).low for value in moved))
            lower = np.where(self.covered, np.maximum(lower, cap), cap)
        if most is not None:
            cap = np.maximum(*((most - value).high for value in moved))
            upper = np.where(self.covered, np.minimum(upper, cap), cap)
        return lower, upper


class _Guess:
    """Slopes and touching points in float64, of which nothing has to be right."""

    def __init__(self, op: Curve, low: np.ndarray, high: np.ndarray, bisections: int = BISECTIONS):
        self.op, self.low, self.high, self.middle = op, low, high, (low + high) / 2
        self.bisections = bisections
        self.cleared: dict[int, np.ndarray] = {}
        self.pieces = op.pieces(FLOATS, low, high)
        self.vertices = [(x.middle, f.middle) for x, f in op.vertices(FLOATS, low, high)]
        self.ends = [f for _, f in self.vertices[:2]]
        self.chord = _secant(low, high, *self.ends)

    def touching(self) -> Iterator[np.ndarray]:
        """For each piece the point nearest to the middle whose tangent clears f at both ends of the box; where there is
        none, the one where f' is that of the chord."""
        for k, piece in enumerate(self.pieces):
            start, end = self._part(piece)
            if len(self.pieces) == 1 or (np.ndim(piece.sign) == 0 and piece.sign == LINEAR):
                yield np.clip(self.middle, start, end)
                continue
            first, last = self._clearing(k)
            t = np.minimum(np.maximum(self.middle, first), last)
            yield np.where(first > last, self.parallel(k, self.chord), t) if len(self.pieces) > 2 else t

    def touched(self, k: int, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The point of a piece nearest to this share of the box whose tangent clears f at both ends, and where there is
        one; bool."""
        start, end = self._part(self.pieces[k])
        first, last = self._clearing(k)
        t = np.minimum(np.maximum(self.low + share * (self.high - self.low), first), last)
        f, rise, clears = self._value(t), self.slope(k, t), (start < end) & (first <= last)
        for x, y in zip((self.low, self.high), self.ends, strict=True):
            rough = ROUGH * (np.abs(y) + np.abs(rise * (x - t)))
            clears &= self.pieces[k].sign * (f + rise * (x - t) - y) <= rough
        return t, clears & np.isfinite(rise)

    def slopes(self, touching: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Candidates: those of the chord, of the tangents and the linear pieces, of lines from the ends to the other
        vertices, and 0; but for 0 and the linear ones, no steeper than f."""
        tangents = [self.slope(k, t) for k, t in enumerate(touching)]
        stated = [np.full_like(self.low, slope) for slope in self.op.steep]
        steep = [*stated, *(self.slope(k, x) for k, piece in enumerate(self.pieces) for x in self._part(piece))]
        least, most = (pick.reduce([np.broadcast_to(x, self.low.shape) for x in (*steep, *tangents)])
                       for pick in (np.fmin, np.fmax))
        yield np.clip(self.chord, least, most)
        yield from (*tangents, *stated)
        for x, y in self.vertices[2:]:
            for end, value in zip((self.low, self.high), self.ends, strict=True):
                yield np.clip(_secant(end, x, value, y), least, most)
        if not self.op.is_monotone:
            yield np.zeros_like(self.low)

    def parallel(self, k: int, slope: np.ndarray) -> np.ndarray:
        """The point of a piece where f' is this slope, or an end of it."""
        sign = self.pieces[k].sign
        return self._bisected(*self._part(self.pieces[k]), lambda t: sign * (self.slope(k, t) - slope) >= 0)

    def _clearing(self, k: int) -> np.ndarray:
        """From both ends of what the box has of a piece, the nearest point whose tangent clears f at that end of the
        box; the other end if there is none. All (2, batch, entries)."""
        if k not in self.cleared:
            part, x, y = np.stack(self._part(self.pieces[k])), np.stack([self.low, self.high]), np.stack(self.ends)
            sign = self.pieces[k].sign
            self.cleared[k] = self._bisected(
                part, part[::-1], lambda t: sign * (self._value(t) + self.slope(k, t) * (x - t) - y) <= 0)
        return self.cleared[k]

    def _part(self, piece: Piece) -> tuple[np.ndarray, np.ndarray]:
        """What the box has of a piece, and a point that is near it where it has nothing."""
        ends = (np.clip(np.clip(x, piece.inner_low, piece.inner_high), self.low, self.high) for x in
                (self.low, self.high))
        return next(ends), next(ends)

    def _value(self, x: np.ndarray) -> np.ndarray:
        return self.op.value(Span.at(FLOATS, x)).middle

    def slope(self, k: int, x: np.ndarray) -> np.ndarray:
        return self.op.slope(k, Span.at(FLOATS, x)).middle

    def _bisected(
        self, start: np.ndarray, end: np.ndarray, holds: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """About the point nearest to `start` from which on to `end` a condition holds; `end` where it does nowhere."""
        for _ in range(self.bisections):
            middle = (start + end) / 2
            there = holds(middle)
            start, end = np.where(there, start, middle), np.where(there, middle, end)
        return end


def _secant(x: np.ndarray, other: np.ndarray, f: np.ndarray, g: np.ndarray) -> np.ndarray:
    run = other - x
    return np.where(run != 0, (g - f) / np.where(run != 0, run, 1.0), 0.0)
