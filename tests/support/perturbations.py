"""What perturbations mean, told another way: pixel by pixel in rationals, or by torch's own sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from verify.fronts import Ranges

Image = np.ndarray  # (channels, rows, columns) of rationals
Oracle = Callable[[Any, Image, Sequence[Fraction]], Image]  # of a perturbation, an image and parameters


def drawn(ranges: Ranges, share: Sequence[Fraction]) -> list[Fraction]:
    """Parameters at these shares of their ranges, which are used over again where parameters are more."""
    ends = zip(ranges.low, ranges.high, strict=True)
    return [low + (high - low) * share[k % len(share)] for k, (low, high) in enumerate(ends)]


def bilinear(x: Image, row: Fraction, column: Fraction) -> np.ndarray:
    """The values of all channels between pixels, 0 outside."""
    total = np.array([Fraction(0)] * len(x), object)
    for i in (floor(row), floor(row) + 1):
        for j in (floor(column), floor(column) + 1):
            if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
                total = total + x[:, i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def translated(_: Any, x: Image, theta: Sequence[Fraction]) -> Image:
    out = np.empty(x.shape, object)
    for _, i, j in np.ndindex(1, *x.shape[1:]):
        out[:, i, j] = bilinear(x, i - theta[1], j - theta[0])
    return out


def warped(x: Image, place: Callable[[Fraction, Fraction], tuple[Fraction, Fraction]]) -> Image:
    """Every pixel from a place (row, column), of its own less those of the center, on the same terms."""
    middle, out = [Fraction(n - 1, 2) for n in x.shape[1:]], np.empty(x.shape, object)
    for i, j in np.ndindex(*x.shape[1:]):
        row, column = place(i - middle[0], j - middle[1])
        out[:, i, j] = bilinear(x, row + middle[0], column + middle[1])
    return out


def rotated(_: Any, x: Image, theta: Sequence[Fraction]) -> Image:
    """By torch's affine grid, in float64."""
    angle = float(theta[0])
    rows, columns = x.shape[1:]
    assert rows == columns  # its grid is in units of the sides
    turn = torch.tensor([[[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]]], dtype=torch.float64)
    image = torch.from_numpy(x.astype(np.float64))[None]
    grid = functional.affine_grid(turn, [*image.shape], align_corners=False)
    return functional.grid_sample(image, grid, padding_mode="zeros", align_corners=False)[0].numpy()


def blurred(found: Any, x: Image, theta: Sequence[Fraction]) -> Image:
    """One axis after the other, with the edges repeated."""
    reach, q = 3 * float(found.by) if found.reach is None else found.reach, theta[0]
    reach = int(np.ceil(reach))
    kernel = np.array([q ** (k * k) if k else Fraction(1) for k in range(-reach, reach + 1)], object)
    for axis in (1, 2):
        wide = np.pad(x, [(reach * (axis == k),) * 2 for k in range(3)], "edge")
        x = np.apply_along_axis(lambda line: np.convolve(line, kernel / kernel.sum(), "valid"), axis, wide)
    return x


def mixed(found: Any, x: Image, theta: Sequence[Fraction]) -> Image:
    """Every pixel with the mean of its window, the edges repeated."""
    out, window = x.copy(), found.window
    for i, j in np.ndindex(*x.shape[1:]):
        near = [x[:, min(max(i + a, 0), x.shape[1] - 1), min(max(j + b, 0), x.shape[2] - 1)] for a, b in window]
        out[:, i, j] = x[:, i, j] * (1 - theta[0] * len(window)) + theta[0] * sum(near)
    return out


def in_rectangle(found: Any, x: Image, change: Callable[[Image], Image]) -> Image:
    """The pixels of the rectangle changed."""
    out, at = x.copy(), found.where
    part = (slice(None), slice(at.row, at.row + at.height), slice(at.column, at.column + at.width))
    out[part] = change(x[part])
    return out


ORACLES: dict[str, Oracle] = {
    "brightness": lambda _, x, theta: x + theta[0],
    "contrast": lambda _, x, theta: x * (1 + theta[0]),
    "linf": lambda _, x, theta: x + np.array(theta, object).reshape(x.shape),
    "translation": translated,
    "rotation": rotated,
    "blur": blurred,
    "boxblur": mixed,
    "motion": mixed,
    "occlusion": lambda found, x, theta: in_rectangle(found, x, lambda part: part * (1 - theta[0])),
    "patch": lambda found, x, theta: in_rectangle(
        found, x, lambda part: part + np.array(theta, object).reshape(part.shape)),
    "directions": lambda found, x, theta: x + sum(t * d for t, d in zip(theta, found.images, strict=True)),
    "gain": lambda _, x, theta: x * (1 + np.array(theta, object)[:, None, None]),
    "scaling": lambda _, x, theta: warped(x, lambda i, j: (i * (1 + theta[0]), j * (1 + theta[0]))),
    "shear": lambda _, x, theta: warped(x, lambda i, j: (i, j + theta[0] * i)),
}
