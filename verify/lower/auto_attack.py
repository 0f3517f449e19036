"""Lower bounds by one attack after another."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from verify.errors import OutOfTime
from verify.lower.apgd import APGD
from verify.lower.engine.best import BestPoints, met
from verify.lower.engine.settings import check_settings
from verify.lower.fab import FAB
from verify.lower.square import Square
from verify.lower.targeted_apgd import TargetedAPGD
from verify.method import Answer, Method
from verify.problem import Problem
from verify.registry import Entry


@Entry(
    name="autoattack", family="lower", place=15, batched=True,
    help="APGD, APGD-T, FAB-T and Square, one after another (Croce and Hein)",
    value={"stop_when_falsified": False},
)
@dataclass(frozen=True)
class AutoAttack:
    """AutoAttack (Croce and Hein 2020): APGD on the cross-entropy, APGD-T, FAB-T and Square, each on the cases that
    those before it left open.

    Args:
        steps: of the attacks with gradients, at least 1; the standard is 100.
        evaluations: of Square, at least 1; the standard is 5,000.
        seed: of the random numbers.
        stop_when_falsified: leave a case at its first point with a violation >= 0.

    Raises InputError for settings out of range.
    """

    steps: int = 100
    evaluations: int = 5000
    seed: int = 0
    stop_when_falsified: bool = True

    def __post_init__(self) -> None:
        check_settings(self, ("steps", "evaluations", "seed"))

    @property
    def name(self) -> str:
        return f"AutoAttack-{self.steps}"

    @property
    def attacks(self) -> tuple[Method, ...]:
        """The attacks in their order."""
        seed, stop = self.seed, self.stop_when_falsified
        return (
            APGD("cross-entropy", self.steps, seed=seed, stop_when_falsified=stop),
            TargetedAPGD(steps=self.steps, seed=seed, stop_when_falsified=stop),
            FAB(steps=self.steps, seed=seed, stop_when_falsified=stop),
            Square(self.evaluations, seed=seed, stop_when_falsified=stop),
        )

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the best that was met, the nominal point included."""
        best = BestPoints(problem.inputs.nominal())
        return met(best.points, lambda: self._search(problem, best))

    def _search(self, problem: Problem, best: BestPoints) -> None:
        """One attack after another; the time that runs out in one is over for all."""
        cases = torch.arange(problem.cases, device=best.points.device)
        for attack in self.attacks:
            if not len(cases):
                return
            part = problem.select(cases)
            found = attack.answer(part)
            assert found.points is not None
            best.offer(cases, part.violation(found.points), found.points)
            if "stopped" in found.notes:
                raise OutOfTime
            if self.stop_when_falsified:
                cases = cases[best.values[cases] < 0]
