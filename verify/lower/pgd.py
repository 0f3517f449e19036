"""Lower bounds by projected gradient ascent."""

from __future__ import annotations

from dataclasses import dataclass

from verify.lower.engine.plan import Approach, AttackPlan
from verify.lower.engine.settings import check_settings
from verify.lower.engine.starts import FromNominal, FromRandom
from verify.lower.engine.targets import EachAndEverything, Everything
from verify.lower.objectives.smooth_maximum import SmoothMaximum
from verify.lower.rules.falling import Falling
from verify.lower.rules.leap import Leap
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry


@Entry(
    name="pgd", family="lower", place=11, batched=True,
    help="projected gradient ascent (Madry et al.)",
    value={"stop_when_falsified": False},
    patient={"restarts": 1_000_000},
    defaults={"opaque": 1, "pytest": 1, "radius": 1, "gaps": 1, "certify": 2, "train": 2},
)
@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent (Madry et al. 2018) of a smooth maximum of the violation's rows.

    The first try starts at the nominal point (the data point of a ball) and ascends all disjuncts; its first step is
    FGSM's. Each further one starts at a random point and aims at one disjunct (a wrong class), in the order of their
    values at the nominal point; after the last disjunct comes a try at all of them again, and so on. Tries take turns
    at `step`, a half and a quarter of it: long steps find more in some networks, short ones in others. What a case
    gets does not depend on the other cases of the batch, up to rounding.

    Args:
        steps: gradients in each try, at least 1.
        restarts: number of tries, at least 1.
        step: first step length in half-widths of the set, > 0; it falls linearly to 0 over the steps.
        seed: of the random starts.
        stop_when_falsified: leave a case at its first point with violation >= 0. Its `lower` stays valid, but is not
            as large as it could be; False where the value matters and not only the verdict.

    Raises InputError for settings out of range.
    """

    steps: int = 40
    restarts: int = 1
    step: float = 2.0
    seed: int = 0
    stop_when_falsified: bool = True

    def __post_init__(self) -> None:
        check_settings(self, ("steps", "restarts", "seed"), ("step",))

    @property
    def name(self) -> str:
        return f"PGD-{self.steps}" if self.restarts == 1 else f"PGD-{self.steps}x{self.restarts}"

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the best that was met, the nominal point included."""
        climbed, lengths = SmoothMaximum(), (self.step, self.step / 2, self.step / 4)
        first = Approach(FromNominal(), Everything(), climbed, Leap(Falling()), self.steps, lengths)
        later = Approach(FromRandom(self.seed), EachAndEverything(), climbed, Falling(), self.steps, lengths)
        return AttackPlan(first, later, self.restarts, self.stop_when_falsified).answer(problem)
