"""Where tries start."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from verify.problem import Problem

PRIME = 1_000_003  # between the seeds of neighbouring tries


class Start(ABC):
    """Where the try of a number starts in each case."""

    @abstractmethod
    def points(self, problem: Problem, cases: Tensor, numbers: Tensor) -> Tensor:
        """Members (n, *shape) of the sets of these cases (n,), for the tries with these numbers (n,)."""


@dataclass(frozen=True)
class FromNominal(Start):
    """The nominal point: the data point of a ball."""

    def points(self, problem: Problem, cases: Tensor, numbers: Tensor) -> Tensor:
        return problem.inputs.select(cases).nominal()


@dataclass(frozen=True)
class FromRandom(Start):
    """A random point of the hull, projected; at the same place of the hull in all cases, so that what a case gets does
    not depend on the others.

    Args:
        seed: with the number of a try it fixes the place.
    """

    seed: int

    def points(self, problem: Problem, cases: Tensor, numbers: Tensor) -> Tensor:
        distinct, which = numbers.unique(return_inverse=True)
        shares = []
        for number in distinct.tolist():
            noise = torch.Generator().manual_seed(self.seed * PRIME + number)
            shares.append(torch.rand(problem.inputs.shape, generator=noise, dtype=problem.inputs.low.dtype))
        return problem.inputs.select(cases).place(torch.stack(shares).to(which.device)[which])
