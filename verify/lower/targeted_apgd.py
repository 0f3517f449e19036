"""Lower bounds by Auto-PGD at one wrong class after another."""

from __future__ import annotations

from dataclasses import dataclass

from verify.lower.engine.plan import Approach, AttackPlan
from verify.lower.engine.settings import check_settings
from verify.lower.engine.starts import FromNominal, FromRandom
from verify.lower.engine.targets import EachInTurn
from verify.lower.objectives.dlr import TargetedDLR
from verify.lower.rules.halving import Halving
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry


@Entry(
    name="apgd-t", family="lower", place=13, batched=True,
    help="APGD at one wrong class after another, on the targeted DLR",
    value={"stop_when_falsified": False},
    patient={"restarts": 1_000_000},
)
@dataclass(frozen=True)
class TargetedAPGD:
    """APGD-T (Croce and Hein 2020): Auto-PGD on the targeted difference of logits ratio, at each of the disjuncts
    (wrong classes) with the largest values at the nominal point.

    The first try starts at the nominal point, others at random ones.

    Args:
        targets: disjuncts that are aimed at, at most, at least 1.
        steps: gradients in each try, at least 1.
        restarts: tries at each disjunct, at least 1.
        seed: of the random starts.
        stop_when_falsified: leave a case at its first point with a violation >= 0.

    Raises InputError for settings out of range.
    """

    targets: int = 9
    steps: int = 100
    restarts: int = 1
    seed: int = 0
    stop_when_falsified: bool = True

    def __post_init__(self) -> None:
        check_settings(self, ("targets", "steps", "restarts", "seed"))

    @property
    def name(self) -> str:
        return f"APGD-T-{self.steps}" if self.restarts == 1 else f"APGD-T-{self.steps}x{self.restarts}"

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the best that was met, the nominal point included."""
        count = min(self.targets, max(problem.spec.disjuncts, 1))
        first, later = (
            Approach(start, EachInTurn(count), TargetedDLR(), Halving(), self.steps, (2.0,))
            for start in (FromNominal(), FromRandom(self.seed))
        )
        return AttackPlan(first, later, count * self.restarts, self.stop_when_falsified).answer(problem)
