"""The violating points with the fewest changes by gradients of a smooth count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.lower.engine.nearest import Hunt, MinimumNorm, annealed
from verify.lower.engine.settings import check_settings
from verify.registry import Entry

SETTLED = 0.1  # the last step length, as a share of the first
MEAN, SQUARE, SMALL = 0.9, 0.999, 1e-8  # Adam's, of the gradient, of its square, and below its root


@Entry(
    name="sigmazero", family="lower", place=25, batched=True,
    help="the violating point with the fewest changes, in L0 (Cina et al.)",
)
@dataclass(frozen=True)
class SigmaZero(MinimumNorm):
    """sigma-zero (Cina et al. 2025, algorithm 1): Adam on max(-violation, 0) + the mean of d_i^2 / (d_i^2 + sigma),
    whose gradient is divided by its largest entry; after each step changes below a threshold are undone, which grows
    while points violate, and falls while they do not. Changes are in units of the range of each coordinate.

    At the end changes are taken back one by one, the smallest first, where the point still violates.

    Args:
        steps: gradients, at least 1; the paper takes 1000.
        rate: of the first step, > 0; it falls to a tenth along a half wave of the cosine.
        sigma: how smooth the count is, > 0.
        threshold: the first, > 0; at most 1.
        change: of the threshold in a step, in units of the rate, > 0.

    Raises InputError for settings out of range.
    """

    steps: int = 300
    rate: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    change: float = 0.01

    def __post_init__(self) -> None:
        check_settings(self, ("steps",), ("rate", "sigma", "threshold", "change"))

    @property
    def name(self) -> str:
        return f"SigmaZero-{self.steps}"

    def search(self, hunt: Hunt) -> None:
        tiny = torch.finfo(hunt.center.dtype).tiny
        width = (hunt.high - hunt.low).clamp(min=tiny)
        d, mean, square = (torch.zeros_like(hunt.center) for _ in range(3))
        least = torch.full_like(d[:, :1], self.threshold)
        for k in range(self.steps):
            look = hunt.look(hunt.gauge.clamped(hunt.center + width * d))
            if look is None:
                return
            beyond, _, gradient = look
            beyond = beyond[:, None]
            count = 2 * self.sigma * d / (d.square() + self.sigma).square() / d.shape[1]
            slope = count - torch.where(beyond, 0, width * gradient)
            slope = slope / slope.abs().amax(1, keepdim=True).clamp(min=tiny)
            mean, square = mean.lerp(slope, 1 - MEAN), square.lerp(slope.square(), 1 - SQUARE)
            length = annealed(self.rate, SETTLED * self.rate, k, self.steps)
            root = (square / (1 - SQUARE ** (k + 1))).sqrt() + SMALL
            d = d - length * mean / (1 - MEAN ** (k + 1)) / root
            d = (hunt.gauge.clamped(hunt.center + width * d) - hunt.center) / width
            least = (least + self.change * length * torch.where(beyond, 1.0, -1.0)).clamp(0, 1)
            d = torch.where(d.abs() < least, 0, d)
        hunt.violates(hunt.gauge.clamped(hunt.center + width * d))
        self._undo(hunt, width)

    def _undo(self, hunt: Hunt, width: Tensor) -> None:
        """Takes back single changes of the nearest points, the smallest first, as long as they violate."""
        found = hunt.found.distance.isfinite()
        x = hunt.found.points.flatten(1).clone()
        size = torch.where(found[:, None] & (x != hunt.center), ((x - hunt.center) / width).abs(), torch.inf)
        most = int(size.isfinite().sum(1).max()) if len(x) else 0
        order = size.argsort(dim=1)
        for place in range(min(most, self.steps)):
            at = order[:, place : place + 1]
            without = x.scatter(1, at, hunt.center.gather(1, at))
            kept = hunt.violates(without)[:, None] & found[:, None]
            x = torch.where(kept, without, x)
