"""What a rule of steps is: where a batch of points goes next, by any set's steepest step, maximiser and projection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from verify.sets.base import InputSet

State = tuple[Tensor, ...]  # what a rule remembers, each (n, ...), so that points can be dropped


class Stand(NamedTuple):
    """Where a batch of points stands in its climb.

    Args:
        inputs: the sets of the points.
        x: (n, *shape) members.
        value: (n,) of what is climbed; NaN where it is none.
        gradient: (n, *shape), finite.
        step, steps: the number of this step, from 0, and of all.
    """

    inputs: InputSet
    x: Tensor
    value: Tensor
    gradient: Tensor
    step: int
    steps: int

    @property
    def rest(self) -> float:
        """The share of the climb that is left, from 1 to 1 / steps."""
        return 1 - self.step / self.steps

    def moved(self, length: Tensor) -> Tensor:
        """The points after a steepest step of these lengths (n,) in half-widths of the set, projected."""
        step = self.inputs.steepest(self.x, self.gradient)
        return self.inputs.project(torch.addcmul(self.x, spread(length, self.x), step))


class StepRule(ABC):
    """How a point moves: a value without state; what it remembers of a climb goes from step to step."""

    def begin(self, x: Tensor, length: Tensor) -> State:
        """What is remembered at the starts x (n, *shape) with first step lengths (n,); by default the lengths."""
        return (length,)

    @abstractmethod
    def next(self, stand: Stand, state: State) -> tuple[Tensor, State]:
        """The next points, members of their sets, and what is remembered of this one."""


def spread(values: Tensor, like: Tensor) -> Tensor:
    """(n,) values with trailing axes of length 1, to broadcast over an (n, *shape) tensor."""
    return values.reshape(-1, *[1] * (like.dim() - 1))
