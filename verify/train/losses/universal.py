"""The loss at one perturbation of all samples of a batch: universal adversarial training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from verify.errors import InputError
from verify.ir.graph import BoundGraph
from verify.registry import LossEntry
from verify.sets import Ball
from verify.sets.norms import penalty_norm_of
from verify.train.live import detached
from verify.train.losses.base import Loss, cross_entropy


@LossEntry(name="universal", place=55, help="at one perturbation of the whole batch (Shafahi et al. 2020)")
@dataclass(frozen=True)
class UniversalAdversarial(Loss):
    """max over one delta of the ball of the mean over the batch of L(x_i + delta, y_i) - penalty ||delta||: training
    minimises it over the weights (Shafahi et al. 2020, eq. 3; Mummadi et al. 2019).

    The maximum is sought anew for each batch, by steepest steps from zero whose length falls to 0, and then the weights
    take their step at the perturbation found. With the threat's clip x_i + delta is moved into it.

    Args:
        steps: gradients, at least 1; 0 for the clean loss is `plain`.
        step: length of the first step in half-widths of the ball, > 0; by default 2.5 / steps.
        penalty: eps2 >= 0 of the penalty on delta, in the norm of the name `penalty_norm`.

    Raises InputError for settings out of range.
    """

    steps: int = 5
    step: float | None = None
    penalty: float = 0.0
    penalty_norm: str = "l2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not self.penalty >= 0 or (self.step is not None and not self.step > 0):
            raise InputError(f"the universal loss has steps={self.steps}, step={self.step}, penalty={self.penalty}; "
                             "give at least 1 step, of positive length, and a penalty of at least 0")
        penalty_norm_of(self.penalty_norm)

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        delta = self.perturbation(detached(network), x, y, eps)
        return cross_entropy(network(self._moved(x, delta)), y).mean()

    def perturbation(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float) -> Tensor:
        """The perturbation of the batch (1, *shape), a member of the ball around zero."""
        ball = Ball(torch.zeros_like(x[:1]), eps, self.threat.norm, None)
        best, most, delta = ball.center, -torch.inf, ball.center
        length = 2.5 / self.steps if self.step is None else self.step
        for k in range(self.steps + 1):
            with torch.enable_grad():
                at = delta.detach().requires_grad_()
                value = cross_entropy(network(self._moved(x, at)), y).mean()
                if self.penalty and bool(at.any()):  # at zero the norm has no gradient
                    value = value - self.penalty * penalty_norm_of(self.penalty_norm).measure(at.flatten())
                slope = torch.autograd.grad(value, at)[0]
            reached = float(value.detach())
            if reached > most:
                best, most = delta, reached
            if k < self.steps:
                shorter = length * (1 - k / self.steps)
                delta = ball.project(delta + shorter * ball.steepest(delta, slope.nan_to_num(0.0, 0.0, 0.0)))
        return best

    def _moved(self, x: Tensor, delta: Tensor) -> Tensor:
        return x + delta if self.threat.clip is None else (x + delta).clamp(*self.threat.clip)
