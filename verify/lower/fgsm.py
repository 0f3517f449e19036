"""Lower bounds by a single step."""

from __future__ import annotations

from dataclasses import dataclass

from verify.lower.pgd import PGD
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry


@Entry(
    name="fgsm", family="lower", place=10, batched=True,
    help="one gradient step to the edge of the set (Goodfellow et al.)",
)
@dataclass(frozen=True)
class FGSM:
    """One step from the nominal point to the point of the set where the linearised violation is largest.

    Goodfellow et al. 2015, eq. 3, for any set; on an affine network and one linear row that point is the maximum.
    """

    @property
    def name(self) -> str:
        return "FGSM"

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the better of the nominal point and the end of the step."""
        return PGD(steps=1, stop_when_falsified=False).answer(problem)
