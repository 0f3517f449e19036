"""Steps along a running mean of gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.lower.rules.base import Stand, State, StepRule, spread
from verify.registry import RuleEntry


@RuleEntry(name="momentum", place=40, help="falling steps along the sum of fading gradients (Dong et al.)")
@dataclass(frozen=True)
class Momentum(StepRule):
    """Steepest steps along g = decay g + gradient / ||gradient||_1 (MI-FGSM, Dong et al. 2018, algorithm 1), whose
    length falls linearly to 0.

    Args:
        decay: what is left of a gradient one step later.
    """

    decay: float = 1.0

    def begin(self, x: Tensor, length: Tensor) -> State:
        return length, torch.zeros_like(x)

    def next(self, stand: Stand, state: State) -> tuple[Tensor, State]:
        length, sum_ = state
        size = stand.gradient.abs().flatten(1).sum(1).clamp(min=torch.finfo(sum_.dtype).tiny)
        sum_ = self.decay * sum_ + stand.gradient / spread(size, sum_)
        return stand._replace(gradient=sum_).moved(stand.rest * length), (length, sum_)
