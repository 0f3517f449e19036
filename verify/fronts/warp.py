"""Moving images: every pixel takes its value from a place between pixels, where the image is bilinear and 0 outside.

Along one axis, linear interpolation of values f_m, f_m+1, .. f_n at a place u in [m, n] is exactly, for all u at once,

    f(u) = f_m + sum over k from m to n - 1 of (f_k+1 - f_k) clip(u - k, 0, 1).

Bilinear interpolation is this along the rows of a column and then along columns, whose values are products of pixels
and ramps clip(v - k, 0, 1). Where pixels are constants these are linear in the ramps, and what is left are products of
ramps and differences of neighbours, so that little is lost where neighbours differ little. Only rows and columns are
written that places can reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verify.fronts.numbers import plane
from verify.ir.symbolic import SymbolicValue

SLACK = 1e-5  # of a pixel, by which what places can reach is widened, so that rounding leaves nothing out

Ends = tuple[np.ndarray, np.ndarray]


def warped(x: SymbolicValue, across: SymbolicValue, down: SymbolicValue, reach: tuple[Ends, Ends]) -> SymbolicValue:
    """x at these places: entry p of the result is x between the columns around across_p and the rows around down_p.

    Args:
        across, down: (pixels,) each, in the order of the image's entries.
        reach: ends (low, high) of each, (pixels,) floats.
    """
    channels, rows, columns = plane(x.shape, "a perturbation")
    first = _Cells.of(*reach[0], columns)  # between columns, of each pixel
    second = _Cells.of(*reach[1], rows)
    flat = x.reshape(channels, rows * columns)

    def pixel(row: np.ndarray, column: np.ndarray) -> SymbolicValue:
        """Entries of all channels at these places, 0 outside."""
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        place = np.where(inside, row * columns + column, 0)
        each = place + rows * columns * np.arange(channels).reshape(-1, *[1] * place.ndim)
        return flat.picked(np.where(inside, each, -1))

    owner, column = first.knots  # the columns of each pixel, whose values stand in one list
    low, steps = second.start[owner], second.count[owner]
    values = pixel(low, column)
    which, k = _ragged(steps)
    if len(which):
        row = low[which] + k
        rise = pixel(row + 1, column[which]) - pixel(row, column[which])
        values = values + _sums(rise * second.ramps(down, owner[which], row, channels), which, len(owner))
    which, k = _ragged(first.count)
    start = np.concatenate([[0], np.cumsum(first.count + 1)])[:-1]
    every = np.arange(channels)[:, None] * len(owner)
    found = values.picked(every + start)
    if len(which):
        left = start[which] + k
        rise = values.picked(every + left + 1) - values.picked(every + left)
        ramps = first.ramps(across, which, first.start[which] + k, channels)
        found = found + _sums(rise * ramps, which, len(start))
    return found.reshape(*x.shape)


@dataclass(frozen=True, eq=False)
class _Cells:
    """The whole numbers around the places of each pixel along an axis: start, start + 1, .. start + count."""

    start: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray, length: int) -> _Cells:
        """Those between the ends; beyond the first pixel outside, on both sides, all is 0."""
        start = np.floor(low - SLACK).clip(-1, length).astype(int)
        return cls(start, np.ceil(high + SLACK).clip(-1, length).astype(int) - start)

    @property
    def knots(self) -> tuple[np.ndarray, np.ndarray]:
        """All of them in one list: whose they are, and the numbers."""
        which, k = _ragged(self.count + 1)
        return which, self.start[which] + k

    def ramps(self, places: SymbolicValue, which: np.ndarray, at: np.ndarray, channels: int) -> SymbolicValue:
        """clip(place - at, 0, 1) of these pixels, in all channels."""
        numbers, once = np.unique(np.stack([which, at]), axis=1, return_inverse=True)
        ramp = (places.picked(numbers[0]) - [*numbers[1].tolist()]).clip(0, 1)
        return ramp.picked(np.broadcast_to(once.reshape(-1), (channels, len(which))))


def _ragged(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(owners, numbers): 0, 1, .. count_i - 1 of each i, one after the other."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)


def _sums(terms: SymbolicValue, owner: np.ndarray, count: int) -> SymbolicValue:
    """Sums (channels, count) of terms (channels, entries) by their owners, which ascend."""
    channels, entries = terms.shape
    numbers = np.bincount(owner, minlength=count)
    places = np.full((count, int(numbers.max())), -1)
    places[_ragged(numbers)] = np.arange(entries)
    each = np.where(places < 0, -1, places + entries * np.arange(channels)[:, None, None])
    return terms.picked(each).sum(2)


def about_center(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray, float, float]:
    """(columns, rows) of all pixels less those of the center of an image, and the center's column and row."""
    _, rows, columns = plane(tuple(shape), "a perturbation")
    i, j = np.indices((rows, columns))
    middle = (columns - 1) / 2, (rows - 1) / 2
    return (j - middle[0]).ravel(), (i - middle[1]).ravel(), *middle
