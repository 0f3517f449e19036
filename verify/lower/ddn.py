"""The nearest violating points in L2 by steps of which direction and length are decided apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.lower.engine.nearest import Hunt, MinimumNorm, annealed, unit
from verify.lower.engine.settings import check_settings
from verify.lower.objectives.cross_entropy import CrossEntropy
from verify.registry import Entry

SETTLED = 0.01  # the last step length, as a share of the first


@Entry(
    name="ddn", family="lower", place=21, batched=True,
    help="the nearest violating point in L2, direction and length apart (Rony et al.)",
)
@dataclass(frozen=True)
class DDN(MinimumNorm):
    """Decoupled direction and norm (Rony et al. 2019, algorithm 1): steps along the normalised gradient of the
    cross-entropy, on a sphere whose radius shrinks while points violate, and grows while they do not.

    Args:
        steps: gradients, at least 1.
        radius: of the first sphere, in Euclidean units, > 0.
        change: of the radius from step to step, a share of it, in (0, 1).

    Raises InputError for settings out of range.
    """

    steps: int = 100
    radius: float = 1.0
    change: float = 0.05

    def __post_init__(self) -> None:
        check_settings(self, ("steps",), ("radius", "change"))

    @property
    def name(self) -> str:
        return f"DDN-{self.steps}"

    def search(self, hunt: Hunt) -> None:
        d, objective = torch.zeros_like(hunt.center), CrossEntropy()
        radius = torch.full_like(d[:, :1], self.radius)
        for k in range(self.steps):
            look = hunt.look(hunt.gauge.clamped(hunt.center + d), objective=objective)
            if look is None:
                return
            beyond, _, gradient = look
            d = d + annealed(1.0, SETTLED, k, self.steps) * unit(gradient)
            radius = torch.where(beyond[:, None], radius / (1 + self.change), radius * (1 + self.change))
            d = hunt.gauge.clamped(hunt.center + radius * unit(d)) - hunt.center
        hunt.violates(hunt.gauge.clamped(hunt.center + d))
