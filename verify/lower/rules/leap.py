"""Steps to the end of the set."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from verify.lower.rules.base import Stand, State, StepRule
from verify.lower.rules.falling import Falling
from verify.registry import RuleEntry


@RuleEntry(name="leap", place=30, help="first to the maximiser of the gradient (Goodfellow et al.), then falling")
@dataclass(frozen=True)
class Leap(StepRule):
    """The first step goes to the maximiser of the linearised objective (FGSM, Goodfellow et al. 2015, eq. 3, for any
    set); another rule goes on from there.

    Args:
        then: the rule of all later steps.
    """

    then: StepRule = field(default_factory=Falling)

    def begin(self, x: Tensor, length: Tensor) -> State:
        return self.then.begin(x, length)

    def next(self, stand: Stand, state: State) -> tuple[Tensor, State]:
        if stand.step == 0:
            return stand.inputs.maximiser(stand.gradient), state
        return self.then.next(stand, state)
