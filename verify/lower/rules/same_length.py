"""Steps of one length."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verify.lower.rules.base import Stand, State, StepRule
from verify.registry import RuleEntry


@RuleEntry(name="constant", place=10, help="steps of one length (Madry et al.)")
@dataclass(frozen=True)
class SameLength(StepRule):
    """Steepest steps of the first length, projected (Madry et al. 2018, section 2.1)."""

    def next(self, stand: Stand, state: State) -> tuple[Tensor, State]:
        return stand.moved(state[0]), state
