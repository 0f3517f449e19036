"""Mixed-integer rows for the graph of a piecewise linear function over an interval.

f is written as its first piece plus one hinge max(x - b, 0) for each breakpoint b inside (low, high). A hinge h with
binary z has the asymmetric big-M rows (Tjeng, Xiao and Tedrake 2019, section 3.1)

    h >= 0,   h >= x - b,   h <= (high - b) z,   h <= (x - b) - (low - b)(1 - z),

whose projection with 0 <= z <= 1 is exactly the triangle, so the LP relaxation and the MILP share one encoding. With
several hinges the sum of triangles is weaker than the convex hull of the graph, so the hull's rows are added.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from verify.ops.base import Encoder, Interval

if TYPE_CHECKING:
    from verify.ops.piecewise import Piecewise


def encode_piecewise(op: Piecewise, model: Encoder, x: np.ndarray, box: Interval) -> np.ndarray:
    """Columns of y = f(x) for the columns x, whose bounds are `box` (batch of 1)."""
    low, high = (v[0].detach().double().cpu().numpy().ravel() for v in box)
    out = op.interval((), Interval(box.low[:1].double(), box.high[:1].double()))
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
    for i in np.flatnonzero(~stable & ~single):
        _encode_many(model, x[i], y[i], low[i], high[i], np.flatnonzero(inside[i]), breaks, slopes, intercepts)
    return y.reshape(box.low.shape[1:])


def _equal(model: Encoder, y: np.ndarray, x: np.ndarray, slope: np.ndarray, intercept: np.ndarray) -> None:
    """y = slope x + intercept."""
    if y.size:
        model.add_rows([(np.ones(y.size), y), (-slope, x)], intercept, intercept)


def _encode_single(
    model: Encoder, x: np.ndarray, y: np.ndarray, low: np.ndarray, high: np.ndarray,
    where: np.ndarray, inside: np.ndarray, breaks: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray,
) -> None:
    """One kink: with D the jump of the slope, y = left(x) + D h and the hinge h is eliminated."""
    if not where.any():
        return
    k = inside[where].argmax(1)
    x, y, low, high, b = x[where], y[where], low[where], high[where], breaks[k]
    z = model.add_columns(np.zeros(y.size), np.ones(y.size), integer=True)
    jump, one, free = slopes[k + 1] - slopes[k], np.ones(y.size), np.full(y.size, np.inf)
    sign = np.sign(jump)  # concave kinks are the mirror image
    for piece in (k, k + 1):  # y beyond both lines
        model.add_rows([(sign, y), (-sign * slopes[piece], x)], sign * intercepts[piece], free)
    rise, drop = np.abs(jump) * (high - b), np.abs(jump) * (b - low)
    model.add_rows([(sign, y), (-sign * slopes[k], x), (-rise, z)], -free, sign * intercepts[k])
    model.add_rows([(sign, y), (-sign * slopes[k + 1], x), (drop * one, z)], -free, sign * intercepts[k + 1] + drop)


def _encode_many(
    model: Encoder, x: int, y: int, low: float, high: float,
    kinks: np.ndarray, breaks: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray,
) -> None:
    """Several kinks of one neuron: a hinge each, ordered binaries, and the hull of the graph."""
    start = kinks[0]
    n = kinks.size
    b, jump = breaks[kinks], slopes[kinks + 1] - slopes[kinks]
    h = model.add_columns(np.zeros(n), high - b)
    z = model.add_columns(np.zeros(n), np.ones(n), integer=True)
    xs, one, free = np.full(n, x), np.ones(n), np.full(n, np.inf)
    model.add_rows([(one, h), (-one, xs)], -b, free)
    model.add_rows([(one, h), (-(high - b), z)], -free, np.zeros(n))
    model.add_rows([(one, h), (-one, xs), (-(low - b), z)], -free, -b - (low - b))
    model.add_rows([(one[1:], z[1:]), (-one[1:], z[:-1])], -free[1:], np.zeros(n - 1))
    terms = [(np.ones(1), np.array([y])), (-slopes[[start]], np.array([x]))]
    terms += [(-jump[[i]], h[[i]]) for i in range(n)]
    model.add_rows(terms, intercepts[[start]], intercepts[[start]])
    points = np.concatenate([[low], b, [high]])
    pieces = np.searchsorted(breaks, points, side="left").clip(max=slopes.size - 1)
    values = slopes[pieces] * points + intercepts[pieces]
    for sign in (1.0, -1.0):
        for slope, offset in _hull(points, sign * values):
            ends = (offset, np.inf) if sign > 0 else (-np.inf, -offset)
            row = [(np.ones(1), np.array([y])), (np.array([-sign * slope]), np.array([x]))]
            model.add_rows(row, np.array(ends[:1]), np.array(ends[1:]))


def _hull(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """(slope, intercept) of the lower convex hull of points with ascending x. The intercept is lowered until the line
    lies below every point in floats, so that a rounded slope stays sound."""
    chain: list[int] = []
    for i in range(x.size):
        while len(chain) > 1:
            a, c = chain[-2:]
            if (y[c] - y[a]) * (x[i] - x[a]) < (y[i] - y[a]) * (x[c] - x[a]):
                break
            chain.pop()
        chain.append(i)
    lines = []
    for a, c in pairwise(chain):
        slope = (y[c] - y[a]) / (x[c] - x[a])
        lines.append((slope, float((y - slope * x).min())))
    return lines
