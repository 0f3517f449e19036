"""The nearest violating points by decisions alone: the direction of the boundary from random points about it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.lower.bisection import Bisection
from verify.lower.engine.nearest import Hunt, MinimumNorm, unit
from verify.lower.engine.settings import check_settings
from verify.lower.engine.violation import batch_size
from verify.registry import Entry
from verify.sets.norms.base import BoxNorm

SHARES = 12  # halvings of a step until it stays beyond the boundary


@Entry(
    name="hopskipjump", family="lower", place=27, batched=True, black_box=True,
    help="the nearest violating point by decisions alone (Chen et al.)",
)
@dataclass(frozen=True)
class HopSkipJump(MinimumNorm):
    """HopSkipJump (Chen, Jordan and Wainwright 2020, algorithm 2): at a point of the boundary the normal is estimated
    from the decisions at random points about it; a step along it, and the way back to the sample is halved.

    The first points are those of `Bisection`. Only whether a point violates is asked, never by how much.

    Args:
        steps: at least 1.
        evaluations: random points in the first step; their number grows with the root of the step's, at least 2.
        starts: of `Bisection`, at least 1.
        halvings: of each way, at least 1.
        seed: of the random numbers.

    Raises InputError for settings out of range.
    """

    steps: int = 20
    evaluations: int = 50
    starts: int = 20
    halvings: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self, ("steps", "evaluations", "starts", "halvings", "seed"))

    @property
    def name(self) -> str:
        return f"HopSkipJump-{self.steps}"

    def search(self, hunt: Hunt) -> None:
        Bisection(self.starts, self.halvings, self.seed).search(hunt)
        noise, size = torch.Generator().manual_seed(self.seed), hunt.center.shape[1]
        is_box = isinstance(hunt.gauge.norm, BoxNorm)
        for k in range(1, self.steps + 1):
            if not bool(hunt.found.distance.isfinite().any()):
                return
            x = hunt.found.points.flatten(1).clone()
            far = (x - hunt.center).norm(dim=1, keepdim=True)
            way = _normal(hunt, x, far / size**0.5, int(self.evaluations * k**0.5), noise)
            way = way.sign() if is_box else way
            length = hunt.gauge.size(x - hunt.center)[:, None] / k**0.5
            jumped, stays = x, torch.zeros_like(far, dtype=torch.bool)
            for share in range(SHARES):
                there = hunt.gauge.clamped(x + length * way / 2**share)
                beyond = hunt.violates(there)[:, None] & ~stays
                jumped, stays = torch.where(beyond, there, jumped), stays | beyond
                if bool(stays.all()):
                    break
            hunt.narrowed(jumped, self.halvings)


def _normal(hunt: Hunt, x: Tensor, reach: Tensor, count: int, noise: torch.Generator) -> Tensor:
    """The normal of the boundary at x (n, size) into the side that violates, estimated from so many points at these
    distances (n, 1): the mean of (sign - mean sign) times the way there (eq. 16), of length 1."""
    size, done = x.shape[1], 0
    signs, ways, both = torch.zeros_like(x[:, :1]), torch.zeros_like(x), torch.zeros_like(x)
    while done < count:
        some = min(count - done, max(1, batch_size(hunt.problem) // len(x)))
        u = unit(torch.randn((some, size), generator=noise).to(x))[:, None]
        tried = hunt.gauge.clamped(x + u * reach)
        sign = hunt.violates(tried.reshape(-1, size), some).reshape(some, -1, 1).to(x) * 2 - 1
        signs, ways, both = signs + sign.sum(0), ways + (tried - x).sum(0), both + (sign * (tried - x)).sum(0)
        done += some
    same = (signs.abs() == count).to(x)  # all on one side: their mean is the way there or back
    return unit(both - (1 - same) * signs / count * ways)
