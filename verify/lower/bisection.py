"""The nearest violating points on ways from random points to the sample: decisions alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.lower.engine.nearest import Hunt, MinimumNorm
from verify.lower.engine.settings import check_settings
from verify.lower.engine.starts import FromRandom
from verify.registry import Entry


@Entry(
    name="bisection", family="lower", place=26, batched=True, black_box=True,
    help="bisection of ways from random points to the boundary, by decisions alone",
)
@dataclass(frozen=True)
class Bisection(MinimumNorm):
    """Random points of the hull, of which those that violate are drawn toward the sample by halving the way: the start
    of the boundary attack (Brendel et al. 2018).

    Args:
        starts: random points, at least 1.
        halvings: of each way, at least 1.
        seed: of the random points.

    Raises InputError for settings out of range.
    """

    starts: int = 20
    halvings: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self, ("starts", "halvings", "seed"))

    @property
    def name(self) -> str:
        return f"Bisection-{self.starts}"

    def search(self, hunt: Hunt) -> None:
        for number in range(self.starts):
            x = FromRandom(self.seed).points(hunt.problem, hunt.cases, torch.full_like(hunt.cases, number)).flatten(1)
            if bool(hunt.violates(x).any()):
                hunt.narrowed(x, self.halvings)
