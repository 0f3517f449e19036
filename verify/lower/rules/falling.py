"""Steps that become shorter."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verify.lower.rules.base import Stand, State, StepRule
from verify.registry import RuleEntry


@RuleEntry(name="falling", place=20, help="steps whose length falls linearly to 0")
@dataclass(frozen=True)
class Falling(StepRule):
    """Steepest steps, projected; their length falls linearly to 0, so that the last ones settle."""

    def next(self, stand: Stand, state: State) -> tuple[Tensor, State]:
        return stand.moved(stand.rest * state[0]), state
