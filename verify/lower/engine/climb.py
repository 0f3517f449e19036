"""The climb that all attacks with gradients share: look, keep what is still of interest, step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

from torch import Tensor

from verify.lower.rules.base import Stand, StepRule
from verify.sets.base import InputSet


class Look(NamedTuple):
    """What is seen at points: the value (n,) of what is climbed, and its gradient (n, *shape), finite."""

    value: Tensor
    gradient: Tensor


class Surface(ABC):
    """What is climbed: a function of points of a batch of sets, which is told of every point that a climb visits.

    Args:
        inputs: the sets, one for each point.
    """

    inputs: InputSet

    @abstractmethod
    def look(self, x: Tensor, rest: float) -> Look | None:
        """At points x (n, *shape), with this share of the climb left; None where there is no gradient."""

    @abstractmethod
    def end(self, x: Tensor) -> None:
        """Is told of the last points."""

    def narrowed(self) -> tuple[Self, Tensor] | None:
        """The surface of the points that go on after the last look, and their positions (m,); None, as by default,
        where all do."""
        return None


def climb(surface: Surface, rule: StepRule, steps: int, x: Tensor, length: Tensor) -> Tensor:
    """Takes so many steps from the starts x (n, *shape), of first lengths (n,) in half-widths of the sets.

    Returns where the points that were not dropped have come to, (m, *shape).
    """
    state = rule.begin(x, length)
    for k in range(steps):
        look = surface.look(x, 1 - k / steps)
        if look is None:
            return x
        narrowed = surface.narrowed()
        if narrowed is not None:
            surface, going = narrowed
            x, look, state = x[going], Look(*(part[going] for part in look)), tuple(part[going] for part in state)
            if not len(x):
                return x
        x, state = rule.next(Stand(surface.inputs.continuous, x, look.value, look.gradient, k, steps), state)
    surface.end(x)
    return x
