"""The nearest violating points in L1 by a penalty and shrinkage."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.lower.engine.nearest import Hunt, MinimumNorm, PenaltySearch
from verify.lower.engine.settings import check_settings
from verify.registry import Entry


@Entry(
    name="ead", family="lower", place=24, batched=True,
    help="the nearest violating point in L1, elastic net (Chen et al.)",
    verdict={"steps": 50, "searches": 3},
)
@dataclass(frozen=True)
class EAD(MinimumNorm):
    """Elastic-net attack (Chen et al. 2018, algorithm 1): fast iterative shrinkage of c max(-violation, 0) +
    ||d||_2^2 + shrink ||d||_1, whose weight c is searched for as in Carlini and Wagner's attack.

    Args:
        steps: gradients for each c, at least 1.
        searches: values of c, at least 1.
        rate: of the first step, > 0; it falls with the root of what is left.
        shrink: the weight of the L1 norm, > 0.
        penalty: the first c, > 0.

    Raises InputError for settings out of range.
    """

    steps: int = 100
    searches: int = 6
    rate: float = 0.01
    shrink: float = 0.01
    penalty: float = 0.1

    def __post_init__(self) -> None:
        check_settings(self, ("steps", "searches"), ("rate", "shrink", "penalty"))

    @property
    def name(self) -> str:
        return f"EAD-{self.searches}x{self.steps}"

    def search(self, hunt: Hunt) -> None:
        weights = PenaltySearch.start(hunt.center[:, :1], self.penalty)
        for _ in range(self.searches):
            c = weights.now
            x = y = hunt.center
            met = torch.zeros_like(c, dtype=torch.bool)
            for k in range(self.steps):
                look = hunt.look(y)
                if look is None:
                    return
                beyond, _, gradient = look
                slope = 2 * (y - hunt.center) - torch.where(beyond[:, None], 0, c) * gradient
                d = y - self.rate * (1 - k / self.steps) ** 0.5 * slope - hunt.center
                small = d.sign() * (d.abs() - self.shrink).clamp(min=0)
                before, x = x, hunt.gauge.clamped(hunt.center + small)
                met |= hunt.violates(x)[:, None]
                y = hunt.gauge.clamped(x + k / (k + 3) * (x - before))
            weights = weights.after(met)
