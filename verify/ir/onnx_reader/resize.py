"""Resize and Upsample: places to copy, or to interpolate between, axis by axis."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from verify.ir.onnx_reader.linear import times
from verify.ir.onnx_reader.reader import NUMPY, Call, Reader, handles
from verify.ir.onnx_reader.values import Shape, Value

_F = np.float32  # the type of the reference runtime's coordinates; where they are rounded to places, their ties decide

# the place in the input of output places x, from a half, the scale and the lengths n before and m after
_COORDINATES: dict[str, Callable[[Any, Any, Any, int, int], Any]] = {
    "asymmetric": lambda x, half, scale, n, m: x / scale,
    "half_pixel": lambda x, half, scale, n, m: (x + half) / scale - half,
    "pytorch_half_pixel": lambda x, half, scale, n, m: (x + half) / scale - half if m > 1 else x * 0,
    "align_corners": lambda x, half, scale, n, m: x * (n - 1) / (m - 1) if m > 1 else x * 0,
    "tf_half_pixel_for_nn": lambda x, half, scale, n, m: (x + half) / scale,
}
_ROUNDING: dict[str, Callable[[np.ndarray, np.float32], np.ndarray]] = {
    "": lambda x, scale: np.ceil(x) if scale < 1 else np.floor(x),  # before opset 11, without a name
    "floor": lambda x, scale: np.floor(x),
    "ceil": lambda x, scale: np.ceil(x),
    "round_prefer_floor": lambda x, scale: np.ceil(x.astype(np.float64) - 0.5),
    "round_prefer_ceil": lambda x, scale: np.floor(x.astype(np.float64) + 0.5),
}


@handles("Resize", "Upsample")
def resize(r: Reader, c: Call) -> Value:
    """A result of the input's shape is a copy of it, whatever the scales are: so does the reference runtime."""
    x, old = c.value(), c.op == "Upsample" or c.opset < 11
    mode = c.attribute("mode", "nearest")
    coordinates = c.attribute("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounding = c.attribute("nearest_mode", "" if old else "round_prefer_floor")
    for name in ("cubic_coeff_a", "exclude_outside", "extrapolation_value"):
        c.attribute(name)
    if mode not in ("nearest", "linear") or coordinates not in _COORDINATES or c.attribute("antialias", 0):
        c.refuse(f"resizes in mode {mode} by {coordinates} coordinates, or smooths",
                 "use nearest, or linear and half_pixel")
    if rounding not in _ROUNDING or (mode == "linear" and coordinates == "tf_half_pixel_for_nn"):
        c.refuse(f"resizes in mode {mode} by {coordinates} coordinates and {rounding}", "use half_pixel and floor")
    lengths = _lengths(c, x.shape, old)
    shape = tuple(m for _, m in lengths)
    if shape == x.shape:
        return x
    if x.batch is not None and lengths[x.batch] != (1, 1):
        c.refuse_batch()
    r.spend(c, prod(shape))
    if mode == "linear":
        for axis, (scale, m) in enumerate(lengths):
            x = _interpolated(r, c, x, axis, *_weights(c, coordinates, scale, x.shape[axis], m))
        return x
    index = x.positions()
    for axis, (scale, m) in enumerate(lengths):
        n = x.shape[axis]
        if (n, scale) != (m, 1):
            near = _COORDINATES[coordinates](np.arange(m, dtype=_F), _F(0.5), _F(scale), n, m)
            if rounding.startswith("round") and _is_doubtful(near, n):
                c.refuse(f"resizes an axis of length {n} to {m} by places so close to the middle of two entries that "
                         "rounding decides which is copied", "use nearest_mode floor")
            index = np.take(index, np.clip(_ROUNDING[rounding](near, _F(scale)), 0, n - 1).astype(np.int64), axis)
    return r.move(c, x, index, x.batch)


def _is_doubtful(near: np.ndarray, n: int) -> bool:
    """Whether a place in an axis of length n is almost, but not quite, in the middle of two entries: some versions of
    the reference runtime take it for the middle, up to 1e-6, and others do not."""
    off = np.abs(near.astype(np.float64) % 1 - 0.5)
    return bool(((near > 0) & (near < n - 1) & (off > 0) & (off < 1e-5)).any())


def _lengths(c: Call, shape: Shape, old: bool) -> list[tuple[Fraction, int]]:
    """Scale and output length of each axis."""
    given = [c.axis(a, len(shape)) for a in c.attribute("axes") or range(len(shape))]
    place = 1 if old else 2
    scales = c.const(place).array.ravel() if c.has(place) else np.array(c.attribute("scales") or [], _F)
    sizes = c.integers(3) or []
    if c.attribute("keep_aspect_ratio_policy", "stretch") != "stretch" and sizes:
        c.refuse("keeps an aspect ratio", "give the sizes themselves")
    if scales.size + len(sizes) != len(given) or (scales <= 0).any() or min(sizes, default=1) < 1:
        c.refuse(f"has scales {scales.tolist()} and sizes {sizes} for {len(given)} axes")
    out = [(Fraction(1), n) for n in shape]
    for i, axis in enumerate(given):
        n = shape[axis]
        m = sizes[i] if sizes else int(_F(n) * scales[i])
        if m < 1:
            c.refuse(f"shrinks an axis of length {n} to nothing")
        out[axis] = (Fraction(m, n) if sizes else Fraction(float(scales[i])), m)
    return out


def _weights(c: Call, coordinates: str, scale: Fraction, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers (n, m) and divisors (m,): output place j is the sum of entries i times weights (i, j), over divisor
    j. They are exact for the scale that the file states, or for the quotient of the lengths."""
    weights, divisors = np.zeros((n, m), object), np.ones(m, object)
    for j in range(m):
        near = _COORDINATES[coordinates](Fraction(j), Fraction(1, 2), scale, n, m)
        near = min(max(near, Fraction(0)), Fraction(n - 1))
        part = near - int(near)
        weights[int(near), j] = part.denominator - part.numerator
        if part:
            weights[int(near) + 1, j] = part.numerator
        divisors[j] = part.denominator
    return weights, divisors


def _interpolated(r: Reader, c: Call, x: Value, axis: int, weights: np.ndarray, divisors: np.ndarray) -> Value:
    """Weighted sums along an axis; the quotients are weights themselves where the network's type holds them."""
    if len(weights) == len(divisors) and (weights == np.eye(len(weights), dtype=int)).all():
        return x
    kind = NUMPY[r.builder.dtype]
    exact = all(d & (d - 1) == 0 for d in divisors.tolist())  # both types hold what is over a power of two
    limit = 2 << np.finfo(kind).nmant  # up to which it holds all whole numbers
    if max(divisors) > limit:
        c.refuse("interpolates with weights that are no quotients of small numbers", "use a scale of few binary digits")
    order = [i for i in range(x.rank) if i != axis] + [axis]
    moved = r.transpose(c, x, order)
    quotients = (weights / divisors if exact else weights).astype(kind)
    out = times(r, c, moved, quotients, f"{c.name}.weights")
    if not exact:
        out = r.divide(c, out, divisors.astype(kind), f"{c.name}.divisors")
    return r.transpose(c, out, np.argsort(order).tolist())
