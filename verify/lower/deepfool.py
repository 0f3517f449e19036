"""The nearest violating points by one linearisation after another."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.lower.engine.nearest import Hunt, MinimumNorm
from verify.lower.engine.plan import ranked
from verify.lower.engine.settings import check_settings
from verify.lower.engine.violation import batch_size
from verify.registry import Entry


@Entry(
    name="deepfool", family="lower", place=22, batched=True,
    help="the nearest linearised boundary, again and again (Moosavi-Dezfooli et al.)",
)
@dataclass(frozen=True)
class DeepFool(MinimumNorm):
    """DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 2), in the norm of the ball: each step goes to the nearest of
    the linearised boundaries of single disjuncts (wrong classes), until a point violates.

    Args:
        steps: at most, at least 1, each a gradient of every disjunct that is looked at.
        targets: disjuncts that are looked at, the highest at the nominal point, at least 1.
        overshoot: by which the way is lengthened, > 0.

    Raises InputError for settings out of range.
    """

    steps: int = 50
    targets: int = 9
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        check_settings(self, ("steps", "targets"), ("overshoot",))

    @property
    def name(self) -> str:
        return f"DeepFool-{self.steps}"

    def search(self, hunt: Hunt) -> None:
        gauge, x = hunt.gauge, hunt.center
        order = ranked(hunt.problem, hunt.problem.inputs.nominal(), batch_size(hunt.problem))[:, : self.targets]
        for _ in range(self.steps):
            looks = [hunt.look(x, aims) for aims in order.unbind(1)]
            steps, ways = [], []
            for look in looks:
                if look is None:
                    return
                beyond, value, gradient = look
                step = gauge.step(x, value, gradient)
                usable = (gradient != 0).any(1) & ~beyond
                steps.append(step)
                ways.append(torch.where(usable, gauge.size(step), torch.inf))
            shortest, which = torch.stack(ways).min(0)
            if not bool(shortest.isfinite().any()):
                return
            step = torch.stack(steps)[which, hunt.cases]
            moved = gauge.clamped(hunt.center + (1 + self.overshoot) * (x + step - hunt.center))
            x = torch.where(shortest.isfinite()[:, None], moved, x)
        hunt.violates(x)
