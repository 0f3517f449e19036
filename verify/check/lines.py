"""Lines that bound the piecewise linear nodes over boxes, with their rounding errors in the intercepts.

A piecewise linear f is linear between its *vertices* (the ends of the box and the breakpoints inside), so f(x) - s x is
extreme at a vertex: any slope s bounds f on either side once the intercept is that extreme value. A certificate may
therefore choose slopes freely; here they become lines.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from verify.check.numbers import Arithmetic, Scalar
from verify.check.ops import Max, Piecewise

RULES = ("adaptive", "zero", "one", "parallel")


class Lines(NamedTuple):
    """lower_slope z + lower_intercept <= f <= upper_slope z + upper_intercept; arrays (batch, entries). For a maximum z
    is the entry of the argument at lower_index and upper_index."""

    upper_slope: np.ndarray
    upper_intercept: np.ndarray
    lower_slope: np.ndarray
    lower_intercept: np.ndarray
    upper_index: np.ndarray | None = None
    lower_index: np.ndarray | None = None


class _Vertices:
    """The vertices of f over boxes (batch, entries) and what rounding may cost there."""

    def __init__(self, number: Arithmetic, op: Piecewise, low: np.ndarray, high: np.ndarray):
        self.number, self.op, self.low, self.high = number, op, low, high
        self.corners: list[Scalar] = [b if number.exact else float(b) for b in op.breakpoints]
        self.slopes: list[Scalar] = [s if number.exact else float(s) for s in op.slopes]
        self.x = [low, high, *(np.clip(np.full_like(low, corner), low, high) for corner in self.corners)]
        self.f = [self.value(x) for x in self.x]
        largest = max(abs(s) for s in op.slopes)
        ends = max(abs(b) for b in op.breakpoints) * largest + max(abs(c) for c in op.intercepts)
        # of breakpoints and intercepts that are no floats, and of products that underflow
        self.doubt = number.relative(4) * number.factor(float(ends)) + number.absolute(4)

    def value(self, x: np.ndarray) -> np.ndarray:
        """f at x."""
        intercepts: list[Scalar] = [c if self.number.exact else float(c) for c in self.op.intercepts]
        out = self.slopes[0] * x + intercepts[0]
        for corner, slope, intercept in zip(self.corners, self.slopes[1:], intercepts[1:], strict=True):
            out = np.where(x > corner, slope * x + intercept, out)
        return out

    def intercepts(self, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper) intercepts of lines of these slopes, outward.

        Sound because f(x) - slope x is extreme at a vertex and each difference is within relative(4) of its terms.
        """
        lower = upper = None
        for x, f in zip(self.x, self.f, strict=True):
            moved = slope * x
            offset, error = f - moved, self.number.relative(4) * (np.abs(f) + np.abs(moved)) + self.doubt
            lower = offset - error if lower is None else np.minimum(lower, offset - error)
            upper = offset + error if upper is None else np.maximum(upper, offset + error)
        assert lower is not None
        assert upper is not None
        return lower, upper

    def secant(self, left: int, right: int) -> np.ndarray:
        """Slope from one vertex to another, between the least and the largest slope of f; the piece's own where f is
        linear on the box."""
        run = self.x[right] - self.x[left]
        wide = run > 0
        slope = np.where(wide, (self.f[right] - self.f[left]) / np.where(wide, run, 1), min(self.slopes))
        slope = np.clip(self._dyadic(slope), min(self.slopes), max(self.slopes))
        ends = [None, *self.corners, None]
        for start, end, piece in zip(ends, ends[1:], self.slopes, strict=False):
            inside = np.ones(slope.shape, bool)
            inside = inside if start is None else inside & (self.low >= start)
            inside = inside if end is None else inside & (self.high <= end)
            slope = np.where(inside, piece, slope)
        return slope

    def _dyadic(self, slope: np.ndarray) -> np.ndarray:
        """Chords rounded to float64 in exact arithmetic too, where quotients would grow without end."""
        return self.number.of(slope.astype(np.float64)) if self.number.exact else slope


def piecewise_lines(
    number: Arithmetic, op: Piecewise, low: np.ndarray, high: np.ndarray, rule: str, share: np.ndarray | None = None
) -> Lines:
    """Lines of f over boxes; (batch, entries).

    A hinge (one breakpoint) has a fixed line, its chord, and a free one below (convex) or above (concave), whose slope
    is the left one plus `share` (0 to 1) of the way to the right one; without shares a rule chooses: "adaptive" the
    piece that covers more of the box, "zero" the left one, "one" the right one, "parallel" that of the chord. Other
    functions take on each side the candidate slope that is closest to f in the middle of the box.
    """
    at = _Vertices(number, op, low, high)
    chord = at.secant(0, 1)
    if not op.is_hinge:
        return _closest(at, [chord, *at.slopes, *(at.secant(0, k) for k in range(2, len(at.x))),
                             *(at.secant(k, 1) for k in range(2, len(at.x)))])
    left, right, breakpoint = *at.slopes, at.corners[0]
    if share is not None:
        free = left + share * (right - left)
    elif rule == "parallel":
        free = chord
    elif rule == "adaptive":
        free = np.where(low + high > 2 * breakpoint, right, left)
    else:
        free = np.full_like(low, left if rule == "zero" else right)
    linear = (low >= breakpoint) | (high <= breakpoint)
    free = np.where(linear, chord, free)
    lower, upper = at.intercepts(chord), at.intercepts(free)
    if left < right:
        return Lines(chord, lower[1], free, upper[0])
    return Lines(free, upper[1], chord, lower[0])


def _closest(at: _Vertices, slopes: list[np.ndarray]) -> Lines:
    middle = (at.low + at.high) / 2
    best: Lines | None = None
    for candidate in slopes:
        slope = np.broadcast_to(candidate, middle.shape)
        lower, upper = at.intercepts(slope)
        if best is None:
            best = Lines(slope, upper, slope, lower)
            continue
        below = slope * middle + upper < best.upper_slope * middle + best.upper_intercept
        above = slope * middle + lower > best.lower_slope * middle + best.lower_intercept
        best = Lines(
            np.where(below, slope, best.upper_slope), np.where(below, upper, best.upper_intercept),
            np.where(above, slope, best.lower_slope), np.where(above, lower, best.lower_intercept),
        )
    assert best is not None
    return best


def interval(number: Arithmetic, op: Piecewise, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of f over boxes. Sound because the extremes of f lie at vertices."""
    return _Vertices(number, op, low, high).intercepts(np.zeros_like(low))


def unstable(op: Piecewise, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where a breakpoint lies inside the box; bool."""
    inside = np.zeros(low.shape, bool)
    for breakpoint in map(float, op.breakpoints):
        inside |= (low < breakpoint) & (high > breakpoint)
    return inside


def max_lines(number: Arithmetic, op: Max, low: np.ndarray, high: np.ndarray) -> Lines:
    """Lines of the maximum of each group: below, the member with the largest lower bound; above, with i the member of
    the largest upper bound and M the largest upper bound of the others, the chord of max(x_i, M) over the box of x_i.

    Sound because a maximum is at least each member and at most max(x_i, M), which is convex.
    """
    lows, highs = low[:, op.groups], high[:, op.groups]
    groups = np.broadcast_to(op.groups, lows.shape)
    below, top = lows.argmax(2)[:, :, None], highs.argmax(2)[:, :, None]
    index = np.take_along_axis(groups, top, 2)
    start, end = np.take_along_axis(lows, top, 2)[:, :, 0], np.take_along_axis(highs, top, 2)[:, :, 0]
    rivals = np.where(groups == index, start[:, :, None], highs)  # copies of the leader are no rivals
    rival = rivals.max(2)
    run = end - start
    wide = (run > 0) & (rival > start)
    slope = np.where(wide, (end - rival) / np.where(wide, run, 1), number.of(np.ones(())))
    slope = np.clip(number.of(slope.astype(np.float64)), 0, 1)
    ends = [(np.maximum(x, rival), slope * x) for x in (start, end)]
    offsets = [f - moved + number.relative(4) * (np.abs(f) + np.abs(moved)) for f, moved in ends]
    one, zero = number.of(np.ones(slope.shape)), number.zeros(slope.shape)
    lower_index = np.take_along_axis(groups, below, 2)[:, :, 0]
    return Lines(slope, np.maximum(*offsets), one, zero, index[:, :, 0], lower_index)
