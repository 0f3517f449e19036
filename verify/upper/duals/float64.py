"""A descent in float32 finds duals; one pull in float64 turns them into a bound."""

from __future__ import annotations

import torch
from torch import Tensor

from verify.ops.base import IntervalBounds
from verify.upper.duals.domains import Domains, Objective
from verify.upper.duals.dual import Dual, RelaxedDomains


def outward(box: IntervalBounds, dtype: torch.dtype) -> IntervalBounds:
    """The smallest intervals of this type that contain the given ones."""
    low, high = box.low.to(dtype), box.high.to(dtype)
    infinity = torch.full_like(low, torch.inf)
    return IntervalBounds(
        torch.where(low.to(box.low) > box.low, torch.nextafter(low, -infinity), low),
        torch.where(high.to(box.high) < box.high, torch.nextafter(high, infinity), high),
    )


def replayed(wide: Dual, objective: Objective, ranges: IntervalBounds, duals: Domains) -> Tensor:
    """Upper bounds of rows in float64 with the duals of a search in its own precision; (rows,).

    Args:
        wide: the dual of the network in float64 with its rounding, with the tracked entries of the one that was
            searched.
        objective: the rows, in any precision.
        ranges: (rows, U) of the tracked entries, float64.
        duals: owners, slopes and multipliers; its ranges are not used.

    Slopes that the ranges do not allow are clamped.
    Sound because `RelaxedDomains.pull` is for any duals; trusts what `Rounding` does.
    """
    domains = Domains(duals.owner, *ranges, duals.slope.double(), duals.multiplier.double())
    return replayed_on(RelaxedDomains(wide, domains), objective, duals)


def replayed_on(relaxed: RelaxedDomains, objective: Objective, duals: Domains) -> Tensor:
    """`replayed` on domains that are relaxed already."""
    name, a, direct = objective
    rows = Objective(name, a.double(), None if direct is None else direct.double())
    slope = duals.slope.double().clamp(relaxed.least, relaxed.most)
    multiplier = duals.multiplier.double() if bool(duals.multiplier.any()) else None
    return relaxed.pull(rows, slope, multiplier).bound
