"""The nearest violating points in L2 by a penalty whose weight is searched for."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.lower.engine.nearest import Hunt, MinimumNorm, PenaltySearch
from verify.lower.engine.settings import check_settings
from verify.registry import Entry

INSIDE = 0.999  # of the range, that a start may use: tanh reaches the ends at infinity, and is flat near them
BETAS, SMALL = (0.9, 0.999), 1e-8  # of Adam


@Entry(
    name="cw", family="lower", place=23, batched=True,
    help="the nearest violating point in L2 by a searched penalty (Carlini and Wagner)",
    verdict={"steps": 50, "searches": 3},
)
@dataclass(frozen=True)
class CarliniWagner(MinimumNorm):
    """The L2 attack of Carlini and Wagner (2017, section VI.A): Adam on ||d||_2^2 + c max(-violation, 0) over points
    that tanh keeps in the range; c is ten times as large after a failure without success before, else halved between
    the two.

    Args:
        steps: gradients for each c, at least 1.
        searches: values of c, at least 1.
        rate: of Adam, > 0.
        penalty: the first c, > 0.

    Raises InputError for settings out of range.
    """

    steps: int = 100
    searches: int = 6
    rate: float = 0.05
    penalty: float = 0.1

    def __post_init__(self) -> None:
        check_settings(self, ("steps", "searches"), ("rate", "penalty"))

    @property
    def name(self) -> str:
        return f"CW-{self.searches}x{self.steps}"

    def search(self, hunt: Hunt) -> None:
        half, middle = (hunt.high - hunt.low) / 2, (hunt.high + hunt.low) / 2
        place = (hunt.center - middle) / half.clamp(min=torch.finfo(half.dtype).tiny)
        start = torch.atanh(INSIDE * place.clamp(-1, 1))
        weights = PenaltySearch.start(half[:, :1], self.penalty)
        for _ in range(self.searches):
            c = weights.now
            w, mean, square, met = start, torch.zeros_like(start), torch.zeros_like(start), torch.zeros_like(c) > 0
            for k in range(1, self.steps + 1):
                bent = torch.tanh(w)
                x = hunt.gauge.clamped(middle + half * bent)
                look = hunt.look(x)
                if look is None:
                    return
                beyond, _, gradient = look
                met |= beyond[:, None]
                slope = (2 * (x - hunt.center) - torch.where(beyond[:, None], 0, c) * gradient) * half * (1 - bent**2)
                mean = BETAS[0] * mean + (1 - BETAS[0]) * slope
                square = BETAS[1] * square + (1 - BETAS[1]) * slope**2
                w = w - self.rate * (mean / (1 - BETAS[0] ** k)) / ((square / (1 - BETAS[1] ** k)).sqrt() + SMALL)
            weights = weights.after(met)
