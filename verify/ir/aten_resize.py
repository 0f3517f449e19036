"""ATen operators that resize maps linearly along each axis, or show them at constant places, in terms of the IR.

Each result entry is a mean of two neighbours with weights that are rational numbers: a product with the matrix of their
numerators, whole numbers that floats hold, and one division by the common denominator. No weight is rounded.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor, lcm, prod
from typing import Any

import torch

from verify.ir.aten import Constant, Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_linear import along
from verify.ops import Linear, Reshape

LARGEST = 1 << 24  # whole numbers up to it are float32


@aten("upsample_linear1d.vec", "upsample_bilinear2d.vec", "upsample_trilinear3d.vec")
def resize_linear(
    c: Context, x: TracedValue, size: list[int] | None, align_corners: bool, scales: list[float] | None
) -> TracedValue:
    x = c.leading(x)
    if size is None:
        size = [floor(n * factor) for n, factor in zip(x.ir[1:], scales or (), strict=True)]
    return _resized(c, x, size, align_corners, list(scales or [None] * len(size)))


@aten("upsample_linear1d.default", "upsample_bilinear2d.default", "upsample_trilinear3d.default")
def resize_linear_to(
    c: Context, x: TracedValue, size: list[int], align_corners: bool, *scales: float | None,
) -> TracedValue:
    return _resized(c, c.leading(x), size, align_corners, list(scales))


@aten("grid_sampler_2d.default", "grid_sampler_3d.default")
def sampled(c: Context, x: TracedValue, grid: Any, mode: int, padding: int, align_corners: bool) -> TracedValue:
    """Values of maps at places that are constant: a product with the matrix of what each entry adds, which torch gives
    for maps of a single 1."""
    x, places = c.leading(x), c.per_sample(x, c.constant(grid)).tensor
    size, kind = prod(x.ir[1:]), c.kind
    places = places.reshape(1, *places.shape[-len(x.ir):]).to(kind)
    found = prod(places.shape[1:-1])
    if size * found > LARGEST:
        raise c.refuse(f"samples {found} places of maps of {size} entries, which makes a matrix of {size * found}; "
                       "sample fewer")
    ones = torch.eye(size, dtype=kind).reshape(1, size, *x.ir[1:])
    matrix = torch.ops.aten.grid_sampler(ones, places, mode, padding, align_corners).reshape(size, found)
    rows = c.emit(Reshape((x.ir[0], size)), x)
    made = c.emit(Linear(), rows, parameters=(c.parameter(Constant(matrix.T.contiguous()), "weight"),))
    return c.emit(Reshape((x.ir[0], *places.shape[1:-1])), made)


def _resized(
    c: Context, x: TracedValue, size: list[int], align_corners: bool, scales: list[float | None],
) -> TracedValue:
    below = []
    for axis, (m, factor) in enumerate(zip(size, scales, strict=True), start=1):
        n = x.ir[axis]
        if m != n:
            weights = [_weights(_source(i, n, m, align_corners, factor), n) for i in range(m)]
            below.append(lcm(*(w.denominator for row in weights for w in row.values())))
            if below[-1] > LARGEST:
                raise c.refuse(f"resizes by {factor}, whose weights floats do not hold; give the size of the result in "
                               "place of the factor")
            matrix = torch.zeros(m, n, dtype=torch.float64)
            for i, row in enumerate(weights):
                for j, w in row.items():
                    matrix[i, j] = float(w * below[-1])
            x = along(c, x, axis, matrix)
    for divisor in ([prod(below)] if prod(below) <= LARGEST else below):
        x = x if divisor == 1 else c.divide(x, float(divisor))
    return x


def _source(i: int, n: int, m: int, align_corners: bool, factor: float | None) -> Fraction:
    """The place among n entries that entry i of m shows, as torch's kernels define it."""
    if align_corners:
        return Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0)
    step = Fraction(n, m) if factor is None or factor <= 0 else 1 / Fraction(factor)
    return max(step * (2 * i + 1) / 2 - Fraction(1, 2), Fraction(0))


def _weights(place: Fraction, n: int) -> dict[int, Fraction]:
    """The weights of the entries next to a place."""
    first = min(floor(place), n - 1)
    part = min(place - first, Fraction(1))
    after = min(first + 1, n - 1)
    return {first: 1 - part, after: part} if after != first and part else {first: Fraction(1)}
