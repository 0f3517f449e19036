"""Samples and their perturbations as pictures, in PNG files that are written here and live inside a page."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

LISTED = 8  # coordinates that are listed of what is no picture
BLUE, ORANGE = (0.0, 0.447, 0.698), (0.902, 0.376, 0.0)  # of negative and positive changes of a grey picture


@dataclass(frozen=True)
class Panels:
    """Data URIs of a sample, its perturbed version and the magnified difference; what is absent is None.

    `factor` is how much the difference is magnified, `size` is (height, width), `is_grey` tells one channel from three.
    """

    sample: str | None
    perturbed: str
    change: str | None
    factor: float
    size: tuple[int, int]
    is_grey: bool


@dataclass(frozen=True)
class Change:
    """One coordinate of a sample that is no picture: its place, and its values before and after."""

    place: str
    before: float
    after: float


def pixels(array: np.ndarray) -> np.ndarray | None:
    """The array as (height, width, 1 or 3), or None where it is no picture, as flat vectors are."""
    if array.ndim == 2 and min(array.shape) > 1:
        return array[..., None]
    if array.ndim != 3:
        return None
    for axis in (0, 2):
        if array.shape[axis] in (1, 3):
            shown = np.moveaxis(array, axis, 2)
            return shown if min(shown.shape[:2]) > 1 else None
    return None


def panels(sample: np.ndarray | None, witness: np.ndarray, clip: tuple[float, float] | None) -> Panels | None:
    """The pictures of a witness (*shape) and the sample (*shape) that it comes from, or None where they are none.

    clip: black and white; without one, the smallest and the largest value.
    """
    after = pixels(witness)
    if after is None or not np.isfinite(witness).all():
        return None
    before = None if sample is None or sample.shape != witness.shape else pixels(sample)
    both = after if before is None else np.stack([before, after])
    low, high = clip or (float(both.min()), float(both.max()))
    scale = (high - low) or 1.0
    change, factor = (None, 1.0) if before is None else _magnified((after - before) / scale)
    return Panels(
        sample=None if before is None else data_uri((before - low) / scale),
        perturbed=data_uri((after - low) / scale),
        change=None if change is None else data_uri(change),
        factor=factor,
        size=(after.shape[0], after.shape[1]),
        is_grey=after.shape[2] == 1,
    )


def changes(sample: np.ndarray | None, witness: np.ndarray) -> list[Change]:
    """The coordinates that change most, largest change first."""
    if sample is None or sample.shape != witness.shape:
        return []
    moved = np.abs(witness.astype(float) - sample).reshape(-1)
    order = [int(i) for i in np.argsort(-moved, kind="stable")[:LISTED] if moved[i] > 0]
    flat = sample.reshape(-1), witness.reshape(-1)
    places = [", ".join(str(int(k)) for k in np.unravel_index(i, sample.shape)) for i in order]
    return [Change(place, float(flat[0][i]), float(flat[1][i])) for place, i in zip(places, order, strict=True)]


def data_uri(picture: np.ndarray) -> str:
    """A picture (height, width, 1 or 3) with values from 0 to 1 as a data URI."""
    levels = np.rint(np.clip(np.nan_to_num(picture), 0, 1) * 255).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(png(levels)).decode("ascii")


def png(levels: np.ndarray) -> bytes:
    """A PNG file of a picture (height, width, 1 or 3) of bytes: PNG specification, sections 5 and 11."""
    height, width, channels = levels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter, none
    lines[:, 1:] = levels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def _magnified(change: np.ndarray) -> tuple[np.ndarray, float]:
    """A difference (height, width, channels), in units of the range, as a picture, and its factor.

    Colours are added to a medium grey; a grey picture's change is blue where it is negative, orange where positive,
    white where there is none.
    """
    largest, room = float(np.abs(change).max()), 0.5 if change.shape[2] == 3 else 1.0
    factor = 1.0 if largest == 0 else _round_down(room / largest)
    strength = np.clip(change * factor, -room, room)
    if change.shape[2] == 3:
        return 0.5 + strength, factor
    tint = np.where(strength < 0, np.array(BLUE), np.array(ORANGE))
    return 1 - np.abs(strength) * (1 - tint), factor


def _round_down(factor: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... that is not larger."""
    unit = 10.0 ** math.floor(math.log10(factor) + 1e-9)
    return unit * max(step for step in (1, 2, 5) if step * unit <= factor * (1 + 1e-9))
