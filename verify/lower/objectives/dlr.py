"""Differences of logits relative to the spread of the largest: objectives without a scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from verify.lower.objectives.base import OfDisjuncts
from verify.registry import ObjectiveEntry


@ObjectiveEntry(name="dlr", place=40, help="difference of logits ratio (Croce and Hein)")
@dataclass(frozen=True)
class DLR(OfDisjuncts):
    """(max over j != y of h_j - h_y) / (z_1 - z_3), z_k the k-th largest logit (Croce and Hein 2020, eq. 6).

    With disjuncts of any kind in place of h_j - h_y, and 0 in place of the label's own. Where there are only two
    classes, or ties, it is the difference itself.
    """

    def value(self, least: Tensor, wanted: Tensor) -> Tensor:
        return ratio(least, wanted, (3,))


@ObjectiveEntry(name="dlr-targeted", place=50, help="difference of logits ratio, for one target (Croce and Hein)")
@dataclass(frozen=True)
class TargetedDLR(OfDisjuncts):
    """(h_t - h_y) / (z_1 - (z_3 + z_4) / 2) (Croce and Hein 2020, eq. 7); else as `DLR`."""

    def value(self, least: Tensor, wanted: Tensor) -> Tensor:
        return ratio(least, wanted, (3, 4))


def ratio(least: Tensor, wanted: Tensor, ranks: tuple[int, ...]) -> Tensor:
    """The largest wanted value over that by which the largest of all, and 0, exceed the mean of those of these ranks
    (as far as there are so many)."""
    top = torch.where(wanted, least, -torch.inf).amax(1)
    logits = F.pad(least, (1, 0)).sort(dim=1, descending=True).values
    chosen = logits[:, [min(rank, logits.shape[1]) - 1 for rank in ranks]]
    finite = chosen.isfinite()
    mean = torch.where(finite, chosen, 0).sum(1) / finite.sum(1)
    spread = logits[:, 0] - mean
    usable = (spread > 0) & finite.any(1) & (logits.shape[1] > 2)
    return top / torch.where(usable, spread, 1)
