"""Mixed-integer rows for the graph of a piecewise linear function over an interval.

f is written as its first piece plus one hinge max(x - b, 0) for each breakpoint b inside (low, high). A hinge h with
binary z has the asymmetric big-M rows (Tjeng, Xiao and Tedrake 2019, section 3.1)

    h >= 0,   h >= x - b,   h <= (high - b) z,   h <= (x - b) - (low - b)(1 - z),

whose projection with 0 <= z <= 1 is exactly the triangle, so the LP relaxation and the MILP share one encoding. With
several hinges the sum of triangles is weaker than the convex hull of the graph, so the hull's rows are added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from verify.ops.base import Encoder, IntervalBounds

if TYPE_CHECKING:
    from verify.ops.piecewise import Piecewise


def encode_piecewise(op: Piecewise, model: Encoder, x: np.ndarray, box: IntervalBounds) -> np.ndarray:
    """Columns of y = f(x) for the columns x, whose bounds are `box` (batch of 1)."""
    low, high = (v[0].detach().double().cpu().numpy().ravel() for v in box)
    out = op.interval((), IntervalBounds(box.low[:1].double(), box.high[:1].double()))
    y = model.add_columns(out.low[0].cpu().numpy().ravel(), out.high[0].cpu().numpy().ravel())
    x = x.ravel()
    breaks = np.array([float(b) for b in op.breakpoints])
    slopes, intercepts = (np.array([float(v) for v in facts]) for facts in (op.slopes, op.intercepts))
    first = np.searchsorted(breaks, low, side="right")  # piece that starts at low
    inside = (breaks[None] > low[:, None]) & (breaks[None] < high[:, None])
    stable = ~inside.any(1)
    _equal(model, y[stable], x[stable], slopes[first[stable]], intercepts[first[stable]])
    if stable.all():
        return y.reshape(box.low.shape[1:])
    single = inside.sum(1) == 1
    _encode_single(model, x, y, low, high, single, inside, breaks, slopes, intercepts)
    for pattern in np.unique(inside[~stable & ~single], axis=0):
        where = (inside == pattern).all(1)
        _encode_many(
            model, x[where], y[where], low[where], high[where], np.flatnonzero(pattern), breaks, slopes, intercepts
        )
    return y.reshape(box.low.shape[1:])


def _equal(model: Encoder, y: np.ndarray, x: np.ndarray, slope: np.ndarray, intercept: np.ndarray) -> None:
    """y = slope x + intercept."""
    if y.size:
        model.add_rows([(np.ones(y.size), y), (-slope, x)], intercept, intercept)


def _encode_single(
    model: Encoder, x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray,
    where: np.ndarray, inside: np.ndarray, breaks: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray,
) -> None:
    """One breakpoint: with D the jump of the slope, y = left(x) + D h and the hinge h is eliminated."""
    if not where.any():
        return
    k = inside[where].argmax(1)
    x, y, low, high, b = x[where], y[where], low[where], high[where], breaks[k]
    z = model.add_columns(np.zeros(y.size), np.ones(y.size), integer=True)
    jump, one, free = slopes[k + 1] - slopes[k], np.ones(y.size), np.full(y.size, np.inf)
    sign = np.where(jump < 0, -1.0, 1.0)  # concave breakpoints are the mirror image
    for piece in (k, k + 1):  # y beyond both lines
        model.add_rows([(sign, y), (-sign * slopes[piece], x)], sign * intercepts[piece], free)
    rise, drop = np.abs(jump) * (high - b), np.abs(jump) * (b - low)
    model.add_rows([(sign, y), (-sign * slopes[k], x), (-rise, z)], -free, sign * intercepts[k])
    model.add_rows([(sign, y), (-sign * slopes[k + 1], x), (drop * one, z)], -free, sign * intercepts[k + 1] + drop)


def _encode_many(
    model: Encoder, x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray,
    crossed: np.ndarray, breaks: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray,
) -> None:
    """The same several breakpoints of n neurons: a hinge each, ordered binaries, and the hull of the graph."""
    n, start = y.size, crossed[0]
    one, free = np.ones(n), np.full(n, np.inf)
    terms: list[tuple[object, np.ndarray]] = [(one, y), (-slopes[start] * one, x)]
    before = None
    for k in crossed:
        b = breaks[k]
        h = model.add_columns(0 * one, high - b)
        z = model.add_columns(0 * one, one, integer=True)
        model.add_rows([(one, h), (-one, x)], -b * one, free)
        model.add_rows([(one, h), (-(high - b), z)], -free, 0 * one)
        model.add_rows([(one, h), (-one, x), (b - low, z)], -free, -low)
        if before is not None:
            model.add_rows([(one, z), (-one, before)], -free, 0 * one)
        terms.append((-(slopes[k + 1] - slopes[k]) * one, h))
        before = z
    model.add_rows(terms, intercepts[start] * one, intercepts[start] * one)
    points = np.stack([low, *(breaks[k] * one for k in crossed), high], 1)
    pieces = np.searchsorted(breaks, points, side="left")
    values = slopes[pieces] * points + intercepts[pieces]
    for sign in (1.0, -1.0):
        _add_hull(model, x, sign, y, points, sign * values)


def _add_hull(
    model: Encoder, x: np.ndarray, sign: float, y: np.ndarray, points: np.ndarray, values: np.ndarray
) -> None:
    """Rows sign y >= line(x) for the edges of the lower hull of (points, values), (n, count) with ascending points.

    The hull is walked from the left: its next vertex is the one of least slope, the farthest on ties. An intercept
    is lowered until the line lies below every vertex in floats, so that a rounded slope stays sound.
    """
    every, last = np.arange(y.size), points.shape[1] - 1
    at = np.zeros(y.size, int)
    while every.size:
        rise = values[every] - values[every, at][:, None]
        run = points[every] - points[every, at][:, None]
        ahead = np.arange(last + 1) > at[:, None]
        steep = np.where(ahead, rise / np.where(ahead, run, 1), np.inf)
        slope = steep.min(1)
        intercept = (values[every] - slope[:, None] * points[every]).min(1)
        model.add_rows(
            [(np.full(every.size, sign), y[every]), (-slope, x[every])], intercept, np.full(every.size, np.inf)
        )
        at = last - (steep == slope[:, None])[:, ::-1].argmax(1)
        every, at = every[at < last], at[at < last]
