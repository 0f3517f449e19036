"""Tensors during translation: constants with their values, varying ones with shape and batch axis.

Where the batch axis is symbolic every shape is known twice, for a batch of 1 and for a batch of SEVERAL. A constant
that came of a shape may differ between the two; a reshape is known to keep the samples apart when both of its targets
agree but for one axis, 1 in the first and SEVERAL in the second, with as many entries of a sample before it as in its
input.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

SEVERAL = 7

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Const:
    """A tensor known when the file is read. `several` is its value for a batch of SEVERAL, mostly the same array."""

    name: str
    array: np.ndarray
    several: np.ndarray

    @property
    def shape(self) -> Shape:
        return self.array.shape

    @property
    def depends_on_batch(self) -> bool:
        """Whether a larger batch has other values; copies of the same entries for each sample are no others."""
        if self.several is self.array:
            return False
        same_rank = self.several.ndim == self.array.ndim
        return not (same_rank and all(n in (1, m) for n, m in zip(self.array.shape, self.several.shape, strict=True))
                    and bool(np.all(self.several == self.array)))


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input: its IR name, its ONNX shape for one sample, and its batch axis if any."""

    name: str
    shape: Shape
    batch: int | None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def several(self) -> Shape:
        """The shape for a batch of SEVERAL."""
        return tuple(SEVERAL if i == self.batch else n for i, n in enumerate(self.shape))

    def ir_axis(self, axis: int) -> int:
        """The IR axis of an ONNX axis other than the batch axis."""
        return axis - (self.batch is not None and axis > self.batch)

    def positions(self) -> np.ndarray:
        """The place of each entry in the flattened tensor, in the ONNX shape."""
        return np.arange(self.size).reshape(self.shape)


def ir_shape(shape: Shape, batch: int | None) -> Shape:
    """The shape in the IR: without the batch axis; one entry rather than none where nothing else is left."""
    return tuple(n for i, n in enumerate(shape) if i != batch) or (1,)


def batch_after_reshape(value: Value, shape: Shape) -> int | None:
    """The axis of length 1 of `shape` that still separates the samples, at the old place if possible; None without."""
    if value.batch is None:
        return None
    before = prod(value.shape[: value.batch])
    fits = [i for i, n in enumerate(shape) if n == 1 and prod(shape[:i]) == before]
    return value.batch if value.batch in fits else next(iter(fits), None)


def batch_of_pair(value: Value, shape: Shape, several: Shape) -> int | None:
    """The batch axis of a reshape known for batches of 1 and of SEVERAL; None where the samples would be mixed."""
    if len(shape) != len(several):
        return None
    differ = [i for i, (n, m) in enumerate(zip(shape, several, strict=True)) if n != m]
    if len(differ) != 1 or (shape[differ[0]], several[differ[0]]) != (1, SEVERAL):
        return None
    before = prod(value.shape[: value.batch])
    return differ[0] if prod(shape[: differ[0]]) == before else None


def places(n: int, start: int, end: int, step: int) -> np.ndarray:
    """Positions of a slice along an axis of length n, its ends clamped as ONNX clamps them."""
    first, last = (0, n) if step > 0 else (-1, n - 1)
    start, end = (min(max(p + n if p < 0 else p, first), last) for p in (start, end))
    return np.arange(max(start, 0), end, step)
