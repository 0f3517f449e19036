"""The nearest violating points by fast minimum-norm attacks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.lower.engine.nearest import Hunt, MinimumNorm, annealed, unit
from verify.lower.engine.plan import ranked
from verify.lower.engine.settings import check_settings
from verify.registry import Entry
from verify.sets.norms.base import BoxNorm

SHORTER, SHORTEST = 0.05, 0.001  # by how much of itself a radius changes, at first and at last
SETTLED = 0.01  # the last step length, as a share of the first


@Entry(
    name="fmn", family="lower", place=20, batched=True,
    help="the nearest violating point, in any norm (Pintor et al.)",
    defaults={"radius": 0},
)
@dataclass(frozen=True)
class FMN(MinimumNorm):
    """Fast minimum-norm attack (Pintor et al. 2021, algorithm 1), in the norm of the ball.

    A gradient step in the difference of logits, then projection on a ball whose radius is estimated from the linearised
    boundary until a point violates; from then on it shrinks by a few percent while points violate, and grows while they
    do not. Step lengths and percentages fall along a cosine. Where balls are boxes, steps are along the sign of the
    gradient, which finds nearer points than the paper's along the gradient. Where the norm counts, radii are whole.

    Args:
        steps: gradients in each try, at least 1.
        restarts: tries, at least 1: the first at all disjuncts (wrong classes), each further one at one of the highest.
        length: of the first step, > 0, in Euclidean units; of boxes in radii, each of 1 at most.

    Raises InputError for settings out of range.
    """

    steps: int = 100
    restarts: int = 1
    length: float = 1.0

    def __post_init__(self) -> None:
        check_settings(self, ("steps", "restarts"), ("length",))

    @property
    def name(self) -> str:
        return f"FMN-{self.steps}" if self.restarts == 1 else f"FMN-{self.steps}x{self.restarts}"

    def search(self, hunt: Hunt) -> None:
        self._try(hunt, None)
        if self.restarts > 1:
            order = ranked(hunt.problem, hunt.problem.inputs.nominal(), len(hunt.cases))
            for number in range(self.restarts - 1):
                self._try(hunt, order[:, number % order.shape[1]])

    def _try(self, hunt: Hunt, aims: Tensor | None) -> None:
        """One try, at these disjuncts (n,) or at all."""
        is_box = isinstance(hunt.gauge.norm, BoxNorm)
        d = torch.zeros_like(hunt.center)
        radius, met = torch.full_like(d[:, :1], torch.inf), torch.zeros_like(d[:, :1], dtype=torch.bool)
        tiny = torch.finfo(d.dtype).tiny
        for k in range(self.steps):
            look = hunt.look(hunt.gauge.clamped(hunt.center + d), aims)
            if look is None:
                return
            beyond, value, gradient = look
            beyond, change = beyond[:, None], annealed(SHORTER, SHORTEST, k, self.steps)
            near = -value / hunt.gauge.norm.dual(gradient * hunt.gauge.scale).clamp(min=tiny)
            estimate = (hunt.gauge.size(d) + near)[:, None]
            met |= beyond
            inner, outer = radius.minimum(hunt.found.distance[:, None]) * (1 - change), radius * (1 + change)
            if hunt.gauge.norm.counts:
                inner, outer, estimate = inner.floor(), outer.ceil(), estimate.ceil()
            radius = torch.where(beyond, inner, torch.where(met, outer, estimate))
            way = radius.clamp(max=1.0) * gradient.sign() if is_box else unit(gradient)
            d = d + annealed(self.length, SETTLED * self.length, k, self.steps) * way
            d = hunt.gauge.closest(d, radius.clamp(max=torch.finfo(d.dtype).max ** 0.25))
        hunt.violates(hunt.gauge.clamped(hunt.center + d))
