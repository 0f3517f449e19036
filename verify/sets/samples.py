"""What sets are made around on the command line: samples, a factor and the range of valid inputs, all in rationals."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from verify.errors import InputError
from verify.rationals import exact_array
from verify.sets.levels import levels_at
from verify.sets.norms.base import Norm


@dataclass(frozen=True)
class Samples:
    """Samples and what is asked around them.

    Args:
        x: (batch, *shape) float, inside the clip.
        eps: >= 0, by which changes are multiplied.
        norm: of balls.
        clip: (low, high) of valid inputs, or None.
        grid: levels of the grid whose points are meant, or None for all.
    """

    x: Tensor
    eps: Fraction
    norm: Norm
    clip: tuple[Fraction, Fraction] | None
    grid: int | None = None

    @cached_property
    def exact(self) -> np.ndarray:
        """x as rationals, (batch, *shape): over a grid the levels that it stands for."""
        return exact_array(self.x) if self.grid is None else exact_array(levels_at(self.x, self.grid)) / self.grid

    def moved(self, change: np.ndarray, what: str) -> np.ndarray:
        """x + eps change inside the clip, change rationals of the shape of one sample, or of all, or a single one."""
        try:
            change = np.broadcast_to(change, self.exact.shape)
        except ValueError:
            raise InputError(f"{what} has shape {change.shape}; give that of a sample, {tuple(self.x.shape[1:])}, or "
                             f"of all {len(self.x)}") from None
        moved = self.exact + self.eps * change
        if self.clip is None:
            return moved
        low, high = np.array(self.clip, dtype=object)
        return np.minimum(np.maximum(moved, low), high)


def arrays_of(file: str, *names: str) -> list[np.ndarray]:
    """Arrays of an .npz file as exact rationals. Raises InputError for what is missing, is no number or not finite."""
    if not Path(file).is_file():
        raise InputError(f"there is no file {file!r}, which --set names; give an .npz with {', '.join(names)}")
    try:
        with np.load(file, allow_pickle=False) as opened:
            missing = [name for name in names if name not in opened.files]
            found = [] if missing else [np.asarray(opened[name], dtype=np.float64) for name in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
        raise InputError(f"{file} is no .npz of numbers ({problem}); write it by numpy.savez") from None
    if missing:
        raise InputError(f"{file} has no array {missing[0]}; it needs {', '.join(names)}")
    for name, values in zip(names, found, strict=True):
        if not np.isfinite(values).all():
            raise InputError(f"{name} of {file} has a value that is not finite; bound every coordinate")
    return [np.vectorize(Fraction, otypes=[object])(values) if values.size else values.astype(object)
            for values in found]
