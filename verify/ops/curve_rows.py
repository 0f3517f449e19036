"""Curves as rows of a linear model: the lines of the relaxation at several points of the box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from verify.ops.base import Encoder, IntervalBounds

if TYPE_CHECKING:
    from verify.ops.curve import Curve

STEEP = 1e12
PLACES = (0.5, 0.0, 0.25, 0.75, 1.0)  # of the box, at which lines are closest to f; all lines hold


def encode_curve(op: Curve, model: Encoder, x: np.ndarray, box: IntervalBounds) -> np.ndarray:
    """Columns for f of the columns x, of one sample with these bounds, between the lines that are closest to f at each
    of the places. Sound because `Curve.relax` is for any point."""
    box = IntervalBounds(*(v.detach().double() for v in box))
    out = op.interval((), box)
    y = model.add_columns(out.low[0].cpu().numpy(), out.high[0].cpu().numpy())
    x, flat, one, free = x.ravel(), y.ravel(), np.ones(y.size), np.full(y.size, np.inf)
    for place in PLACES:
        lines = op.relax((), box, box.low.lerp(box.high, place))
        low_slope, low, high_slope, high = (v[0].cpu().numpy().ravel() for v in lines.parts)
        (lower_slope, lower), (upper_slope, upper) = _stated(low_slope, low, -np.inf), _stated(high_slope, high, np.inf)
        model.add_rows([(one, flat), (-lower_slope, x)], lower, free)
        model.add_rows([(one, flat), (-upper_slope, x)], -free, upper)
    return y


def _stated(slope: np.ndarray, intercept: np.ndarray, nothing: float) -> tuple[np.ndarray, np.ndarray]:
    """Lines as solvers take them: those too steep for one, which say hardly more than the bounds, say nothing."""
    steep = ~((np.abs(slope) < STEEP) & (np.abs(intercept) < STEEP))
    return np.where(steep, 0.0, slope), np.where(steep, nothing, intercept)
