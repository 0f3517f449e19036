"""Lower bounds by projected gradient ascent that finds its own step lengths."""

from __future__ import annotations

from dataclasses import dataclass

from verify.errors import InputError
from verify.lower.engine.plan import Approach, AttackPlan
from verify.lower.engine.settings import check_settings
from verify.lower.engine.starts import FromNominal, FromRandom
from verify.lower.engine.targets import Everything
from verify.lower.rules.halving import Halving
from verify.method import Answer
from verify.problem import Problem
from verify.registry import OBJECTIVES, Entry


@Entry(
    name="apgd", family="lower", place=12, batched=True,
    help="gradient ascent with momentum and steps halved at need (Croce and Hein)",
    value={"stop_when_falsified": False},
    patient={"restarts": 1_000_000},
)
@dataclass(frozen=True)
class APGD:
    """Auto-PGD (Croce and Hein 2020): momentum, and steps that begin with the width of the set and are halved where
    they no longer help.

    The first try starts at the nominal point, others at random ones.

    Args:
        objective: the name of what is climbed: "smooth" as PGD, which found the most; "cross-entropy" or "dlr" as in
            the paper, or "margin".
        steps: gradients in each try, at least 1.
        restarts: number of tries, at least 1.
        seed: of the random starts.
        stop_when_falsified: leave a case at its first point with a violation >= 0.

    Raises InputError for settings out of range.
    """

    objective: str = "smooth"
    steps: int = 100
    restarts: int = 1
    seed: int = 0
    stop_when_falsified: bool = True

    def __post_init__(self) -> None:
        check_settings(self, ("steps", "restarts", "seed"))
        if self.objective not in OBJECTIVES:
            raise InputError(f"APGD has objective={self.objective!r}; choose one of {', '.join(OBJECTIVES)}")

    @property
    def name(self) -> str:
        tries = "" if self.restarts == 1 else f"x{self.restarts}"
        return f"APGD-{self.objective}-{self.steps}{tries}"

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the best that was met, the nominal point included."""
        climbed = OBJECTIVES[self.objective].load()()
        first, later = (
            Approach(start, Everything(), climbed, Halving(), self.steps, (2.0,))
            for start in (FromNominal(), FromRandom(self.seed))
        )
        return AttackPlan(first, later, self.restarts, self.stop_when_falsified).answer(problem)
