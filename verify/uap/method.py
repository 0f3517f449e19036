"""What a method for one shared perturbation is, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.uap.problem import SharedProblem


@dataclass(frozen=True)
class SharedAnswer:
    """What a method says of a shared problem, before `verify.universal` has looked at it.

    Args:
        deltas: candidate perturbations, (*shape) each.
        upper: a bound on how many samples any perturbation of the ball fools, or None.
        rigour: how the bound was established, and `trusts` on whose word.
        single: (at least, at most) how many samples are fooled where each has a perturbation of its own, or None.
        notes: counts and reasons for tables.
    """

    deltas: tuple[Tensor, ...] = ()
    upper: int | None = None
    rigour: Rigour = Rigour.FLOAT
    trusts: str = "float rounding"
    single: tuple[int, int] | None = None
    notes: dict[str, object] = field(default_factory=dict)


@dataclass
class BestDelta:
    """The perturbation that fools the most samples so far, by `SharedProblem.fooled`."""

    problem: SharedProblem
    delta: Tensor
    fooled: Tensor

    @classmethod
    def start(cls, problem: SharedProblem) -> BestDelta:
        """That of zero."""
        zero = torch.zeros_like(problem.ball.center[0])
        return cls(problem, zero, problem.fooled(zero))

    @property
    def count(self) -> int:
        """How many samples it fools."""
        return int(self.fooled.sum())

    def offer(self, delta: Tensor) -> None:
        """Looks at a perturbation (*shape), and keeps it where it fools more samples."""
        member = self.problem.member(delta)
        if member is None or int((self.problem.violations(member) >= 0).sum()) <= self.count:
            return
        found = self.problem.fooled(member)
        if int(found.sum()) > self.count:
            self.delta, self.fooled = member, found


class SharedMethod(ABC):
    """A frozen dataclass of settings that answers shared problems; `name` stands in tables."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def answer(self, problem: SharedProblem, best: BestDelta) -> SharedAnswer:
        """Perturbations, a bound, or both; `best` is what the methods before it have found."""
