"""The violation itself, smooth at first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.lower.objectives.base import AttackObjective, RowWeights
from verify.registry import ObjectiveEntry
from verify.spec import Specification

HEAT = 1 / 6  # first temperature of the smooth maximum, a share of the spread of a case's rows
COLDEST = 1e-9  # last temperature, at which only ties share the weight


@ObjectiveEntry(name="smooth", place=10, help="the violation, a smooth maximum that cools during the climb")
@dataclass(frozen=True)
class SmoothMaximum(AttackObjective):
    """A smooth maximum over disjuncts of a smooth minimum over rows, whose temperature falls to 0 with the square of
    what is left of the climb.

    The temperature is a share of the spread of the rows, so that the units of the output do not matter. For a
    classifier a temperature of 1 is the direction of the cross-entropy; cooling to the plain maximum over the run
    found larger margins than either of the two. The value is the plain maximum.
    """

    def slopes(self, spec: Specification, rows: Tensor, wanted: Tensor | None, rest: float) -> RowWeights:
        heat, tiny = max(HEAT * rest**2, COLDEST), torch.finfo(rows.dtype).tiny
        if spec.are_alternatives and wanted is None:
            top = rows.amax(1, keepdim=True)
            return RowWeights(top[:, 0], ((rows - top) / ((top - rows.amin(1, keepdim=True)) * heat + tiny)).softmax(1))
        mask = spec.mask if wanted is None else wanted
        high, low = torch.where(mask, rows, -torch.inf), torch.where(mask, rows, torch.inf)
        spread = (high.amax(1, keepdim=True) - low.amin(1, keepdim=True)).clamp(min=0)
        temperature = heat * spread + tiny
        least = spec.by_disjunct(rows)
        within = torch.where(mask, torch.exp((least.gather(1, spec.disjunct) - rows) / temperature), 0)
        total = torch.zeros_like(least).scatter_add(1, spec.disjunct, within)
        least = torch.where(total > 0, least, -torch.inf)
        top = least.amax(1, keepdim=True)
        between = torch.softmax((least - top) / temperature, 1)
        weights = torch.where(mask, within * (between / total.clamp(min=1)).gather(1, spec.disjunct), 0)
        return RowWeights(top[:, 0], weights)
