"""The rows of a disjunct, combined: some row is at most any combination, so a negative one proves the disjunct."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from verify.check.bounds import Level, Relaxation
from verify.check.claim import Rows
from verify.check.numbers import Rejected
from verify.check.rows import Duals

WEIGHTS = 1 << 15  # units of row weights
Item = TypeVar("Item")


class Weighted:
    """The rows of one disjunct, to be combined."""

    def __init__(self, level: Level, rows: Rows):
        number = level.number
        self.number, self.output, self.offset = number, number.nearest(rows.output), number.nearest(rows.offset)
        self.direct = None if rows.input is None else number.nearest(rows.input)

    def bounds(
        self, relaxation: Relaxation, owner: np.ndarray, weight: np.ndarray, duals: Duals | None = None
    ) -> np.ndarray:
        """Upper bounds of combinations (leaves,) of the rows on the boxes that own them; weight (leaves, width) in
        units.

        Sound because some row is at most any combination whose weights add up to 1, and where they are all 0 a negative
        bound says that the leaf is empty; rounding of the weighting is relative to the magnitudes of the rows. Rejects
        other weights.
        """
        count, network, number = len(self.offset), relaxation.network, self.number
        if not bool(np.isin(weight[:, :count].sum(1), (0, WEIGHTS)).all()) or bool(weight[:, count:].any()):
            raise Rejected("the row weights of a leaf do not add up to 1, or to 0")
        share = number.of(weight[:, :count].astype(np.float64)) / WEIGHTS
        direct = None if self.direct is None else share @ self.direct
        bound = relaxation.row_bounds(network.output, share @ self.output, owner, direct, duals)
        most = relaxation.most[network.output]
        at = owner if len(most) > 1 else np.zeros_like(owner)
        size = (share @ np.abs(self.output) * most[at]).sum(1) + share @ np.abs(self.offset)
        if self.direct is not None:
            size = size + (share @ np.abs(self.direct) * relaxation.most[network.input][at]).sum(1)
        offset = share @ self.offset
        return bound - offset + number.relative(count) * (size + np.abs(bound) + np.abs(offset))


def all_negative(bounds: np.ndarray, name: Callable[[int], str]) -> None:
    """Rejects the first bound that is not negative, NaN included."""
    bad = np.flatnonzero(~(bounds < 0).astype(bool))
    if len(bad):
        raise Rejected(f"{name(bad[0])} is bounded by {float(bounds[bad[0]]):.6g}, which is not negative")


def pick(values: tuple[Item, ...], index: int, what: str) -> Item:
    """The entry that a proof speaks of. Rejects one that there is not."""
    if not 0 <= index < len(values):
        raise Rejected(f"the proof speaks of {what} {index}, which there is not")
    return values[index]
