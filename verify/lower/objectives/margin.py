"""The violation as it is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verify.lower.objectives.base import OfDisjuncts, RowWeights, largest
from verify.registry import ObjectiveEntry


@ObjectiveEntry(name="margin", place=30, help="the violation itself (Carlini and Wagner's loss)")
@dataclass(frozen=True)
class Margin(OfDisjuncts):
    """The largest value of a disjunct: of a classifier max over j != y of h_j - h_y (Carlini and Wagner 2017, f_6)."""

    def graded(self, least: Tensor, climbed: Tensor) -> RowWeights:
        return largest(climbed)
