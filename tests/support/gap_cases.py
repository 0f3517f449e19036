"""A network whose values are computed by hand, and methods that say what they are told to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

import verify
from tests.support.cli_cases import WEIGHTS, X, Y
from verify.method import Answer
from verify.problem import Problem, robustness

ATTACK = verify.PGD(restarts=5, stop_when_falsified=False)


@dataclass(frozen=True)
class Told:
    """A method that gives one upper bound for all cases, and one point or none."""

    upper: float | None = None
    point: tuple[float, ...] | None = None
    name: str = "Told"
    sizes: list[int] = field(default_factory=list, compare=False, repr=False)

    def answer(self, problem: Problem) -> Answer:
        self.sizes.append(problem.batch)
        upper = None if self.upper is None else torch.full((problem.cases,), self.upper)
        points = None if self.point is None else torch.tensor([self.point] * problem.cases)
        return Answer(upper, points)


@dataclass(frozen=True)
class Refuses:
    """A method that raises."""

    error: Exception
    name: str = "Refuses"

    def answer(self, problem: Problem) -> Answer:
        raise self.error


def network() -> verify.Network:
    """x in [0, 1]^2 -> (relu(x0 + x1), relu(x0 - x1) + 0.75), the network of the command line's tests."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    names = zip(("0.weight", "0.bias", "2.weight", "2.bias"), "AaBb", strict=True)
    module.load_state_dict({name: torch.from_numpy(WEIGHTS[key]) for name, key in names})
    return verify.trace(module.eval(), torch.zeros(1, 2))


def of_samples(index: Sequence[int], eps: str = "1/10") -> Problem:
    return robustness(network(), torch.from_numpy(X[list(index)]), torch.from_numpy(Y[list(index)]), eps)
