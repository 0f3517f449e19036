"""Bad points for training: the climb of `verify.lower`, of any loss of the batch over the sets.

The methods of `verify.lower` climb the rows of a specification, which a verdict is about. Training climbs the loss that
it descends in the weights, cross-entropy or another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from verify.errors import InputError
from verify.lower.engine.climb import Look, Surface, climb
from verify.lower.rules.base import StepRule
from verify.registry import STEP_RULES
from verify.sets import Ball
from verify.sets.base import InputSet
from verify.sets.norms import penalty_norm_of

PointLoss = Callable[[Tensor], Tensor]  # points (batch, *shape) -> values (batch,)


@dataclass(frozen=True)
class Attack:
    """Projected gradient ascent with signed (Linf) or normalised steps (Madry et al. 2018, section 2.1).

    Args:
        steps: gradients of each try, at least 1; one of length 2 from the clean point is FGSM.
        step: length of a step in half-widths of the set, > 0; by default 2.5 / steps, so that any point can be reached.
        restarts: tries, at least 1. Tries start at random points; the first one too, unless `from_center`.
        from_center: start the first try at the clean point.
        penalty: eps2 >= 0 of the penalty on the perturbation: the loss minus eps2 ||delta|| is maximised. The notes
            that this follows print a plus, which would reward large perturbations.
        penalty_norm: the name of a norm.
        rule: the name of a rule of steps: "constant", "falling", "leap" and others of `verify.lower.rules`.
    """

    steps: int = 7
    step: float | None = None
    restarts: int = 1
    from_center: bool = False
    penalty: float = 0.0
    penalty_norm: str = "l2"
    rule: str = "constant"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise InputError(f"the attack has steps={self.steps}, restarts={self.restarts}; both must be at least 1")
        if self.step is not None and not self.step > 0:
            raise InputError(f"the attack has step={self.step}; it must be positive")
        if not self.penalty >= 0:
            raise InputError(f"the attack has penalty={self.penalty}; it must be at least 0")
        penalty_norm_of(self.penalty_norm)
        if self.rule not in STEP_RULES:
            raise InputError(f"the attack has rule={self.rule!r}; choose one of {', '.join(STEP_RULES)}")

    def points(self, objective: PointLoss, ball: Ball, noise: Generator) -> Tensor:
        """The end of one try, (batch, *shape); random numbers come from `noise`."""
        return self._ascend(objective, ball, 0, noise)

    def worst(self, objective: PointLoss, ball: Ball, noise: Generator) -> Tensor:
        """For each sample the worst of the clean point and the ends of all tries, (batch, *shape).

        A single try that fails would leave a point below the clean one; the gradient at the best of several is what
        Danskin's theorem asks for, and a single one oscillates between maximisers.
        """
        with torch.no_grad():
            best, value = ball.center, self._value(objective, ball, ball.center)
        for k in range(self.restarts):
            x = self._ascend(objective, ball, k, noise)
            with torch.no_grad():
                found = self._value(objective, ball, x)
            better = found > value
            best = torch.where(better.reshape(-1, *[1] * (x.dim() - 1)), x, best)
            value = torch.where(better, found, value)
        return best

    def _ascend(self, objective: PointLoss, ball: Ball, k: int, noise: Generator) -> Tensor:
        rule: StepRule = STEP_RULES[self.rule].load()()
        x = ball.center if k == 0 and self.from_center else _start(ball, noise)
        length = x.new_full((len(x),), 2.5 / self.steps if self.step is None else self.step)
        surface = LossSurface(ball, lambda at: self._value(objective, ball, at))
        return climb(surface, rule, self.steps, x, length)

    def _value(self, objective: PointLoss, ball: Ball, x: Tensor) -> Tensor:
        if self.penalty == 0:
            return objective(x)
        delta = (x - ball.center).flatten(1)
        return objective(x) - self.penalty * penalty_norm_of(self.penalty_norm).measure(delta)


@dataclass(frozen=True)
class LossSurface(Surface):
    """A loss of each point of a batch, all of which climb to the end."""

    inputs: InputSet
    loss: PointLoss

    def look(self, x: Tensor, rest: float) -> Look:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = self.loss(x)
            gradient = torch.autograd.grad(value.sum(), x)[0]
        return Look(value.detach(), gradient)

    def end(self, x: Tensor) -> None:
        """Nobody asks: the ends of climbs are what is wanted."""


def _start(ball: Ball, noise: Generator) -> Tensor:
    share = torch.rand(ball.low.shape, generator=noise, dtype=ball.low.dtype, device=noise.device)
    return ball.place(share.to(ball.low.device))
