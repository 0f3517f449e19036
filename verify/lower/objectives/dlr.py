"""Differences of logits relative to the spread of the largest: objectives without a scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from verify.lower.objectives.base import OfDisjuncts, RowWeights, largest
from verify.registry import ObjectiveEntry


@ObjectiveEntry(name="dlr", place=40, help="difference of logits ratio (Croce and Hein)")
@dataclass(frozen=True)
class DLR(OfDisjuncts):
    """(max over j != y of h_j - h_y) / (z_1 - z_3), z_k the k-th largest logit (Croce and Hein 2020, eq. 6).

    With disjuncts of any kind in place of h_j - h_y, and 0 in place of the label's own. Where there are only two
    classes, or ties, it is the difference itself.
    """

    def graded(self, least: Tensor, climbed: Tensor) -> RowWeights:
        return ratio(least, climbed, (3,))


@ObjectiveEntry(name="dlr-targeted", place=50, help="difference of logits ratio, for one target (Croce and Hein)")
@dataclass(frozen=True)
class TargetedDLR(OfDisjuncts):
    """(h_t - h_y) / (z_1 - (z_3 + z_4) / 2) (Croce and Hein 2020, eq. 7); else as `DLR`."""

    def graded(self, least: Tensor, climbed: Tensor) -> RowWeights:
        return ratio(least, climbed, (3, 4))


def ratio(least: Tensor, climbed: Tensor, ranks: tuple[int, ...]) -> RowWeights:
    """The largest climbed value over that by which the largest of all, and 0, exceed the mean of those of these ranks
    (as far as there are so many), with its slopes."""
    top, slopes = largest(climbed)
    count = least.shape[1] + 1
    logits, order = F.pad(least, (1, 0)).topk(min(max(ranks), count), dim=1)
    places = [min(rank, count) - 1 for rank in ranks]
    chosen, finite = logits[:, places], logits[:, places].isfinite()
    share = finite / finite.sum(1, keepdim=True)
    spread = logits[:, 0] - (chosen.where(finite, 0) * share).sum(1)
    usable = (spread > 0) & finite.any(1) & (count > 2)
    spread, value = torch.where(usable, spread, 1), top / torch.where(usable, spread, 1)
    rise = torch.zeros_like(logits)  # of the spread, in the largest values
    rise[:, 0] = 1
    for k, place in enumerate(places):
        rise[:, place] -= share[:, k].nan_to_num()
    by_value = F.pad(torch.zeros_like(least), (1, 0)).scatter(1, order, rise)[:, 1:]
    return RowWeights(value, (slopes - by_value * (value * usable)[:, None]) / spread[:, None])
