"""Running sums along an axis, as sums of chosen entries.

A product with a triangular matrix would multiply what an entry leaves out by 0, which is no number at a pole.
"""

from __future__ import annotations

from math import prod

import numpy as np

from verify.ir.compose import Composer
from verify.ops import Sum


def running_sum(w: Composer, x: str, axis: int, exclusive: bool = False, reverse: bool = False) -> str:
    """The sum of each entry of a value and all before it along an axis; without it if `exclusive`, and from the end on
    if `reverse`. Raises UnsupportedOp for what would be too large."""
    shape = w.shape(x)
    n, places = shape[axis], np.moveaxis(np.arange(prod(shape)).reshape(shape), axis, -1)
    taken = np.tril(np.ones((n, n), bool), -1 if exclusive else 0)
    index = np.where(taken.T if reverse else taken, places[..., None, :], -1)  # (..., n, n)
    return w.node(Sum((len(shape),), False, False), w.pick(x, np.moveaxis(index, -2, axis)))
