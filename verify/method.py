"""What a method is: a frozen value with settings that answers the cases of a problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from verify.bracket import Rigour
from verify.problem import Problem


@dataclass(frozen=True)
class Answer:
    """What a method returns for the cases of a problem, before `solve` has looked at it.

    Args:
        upper: (cases,) upper bounds on each case's maximum, or None.
        points: (cases, *shape) or (cases, tries, *shape) candidate inputs, or None.
        rigour: how the upper bounds were established, and `trusts` on whose word.
        notes: counts and reasons for tables.
    """

    upper: Tensor | None = None
    points: Tensor | None = None
    rigour: Rigour = Rigour.FLOAT
    trusts: str = "float rounding"
    notes: dict[str, object] = field(default_factory=dict)


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass of settings that answers problems; `name` heads its column in tables."""

    @property
    def name(self) -> str: ...

    def answer(self, problem: Problem) -> Answer:
        """Bounds and candidate points for every case of the problem."""
        ...
