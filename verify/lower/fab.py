"""Lower bounds by looking for the nearest points on the far side of a decision boundary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.deadline import check_time
from verify.lower.engine.best import BestPoints, Nowhere, met
from verify.lower.engine.climb import Look
from verify.lower.engine.gauge import Gauge, gauge_of
from verify.lower.engine.plan import ranked
from verify.lower.engine.settings import check_settings
from verify.lower.engine.starts import FromNominal, FromRandom
from verify.lower.engine.targets import EachInTurn
from verify.lower.engine.violation import ViolationSurface, batch_size
from verify.lower.objectives.margin import Margin
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry

OVERSHOOT = 1.05  # beyond the linearised boundary
BIAS = 0.1  # the largest share of the step from the nominal point
BACK = 0.9  # of a point beyond the boundary, that is kept on the way back to the nominal one


@Entry(
    name="fab", family="lower", place=14, batched=True,
    help="the nearest points beyond the decision boundary (Croce and Hein)",
    value={"stop_when_falsified": False},
    patient={"restarts": 1_000_000},
)
@dataclass(frozen=True)
class FAB:
    """Fast adaptive boundary attack, targeted (Croce and Hein 2020, algorithm 1).

    Each step goes to the nearest point of the linearised boundary of one disjunct (a wrong class), mixed with the point
    of that boundary that is nearest to the nominal one; from beyond the boundary it goes back. Points on the way may
    lie outside the set: each is projected before it counts, so that the violation there is what is found. Where a set
    is no ball, distances are in half-widths of its hull.

    Args:
        targets: disjuncts that are aimed at, at most, at least 1.
        steps: gradients in each try, at least 1.
        restarts: tries at each disjunct, at least 1; the first starts at the nominal point, others at random ones.
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
        return f"FAB-T-{self.steps}" if self.restarts == 1 else f"FAB-T-{self.steps}x{self.restarts}"

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the best that was met, the nominal point included."""
        best = BestPoints(problem.inputs.nominal())
        return met(best.points, lambda: self._search(problem, best))

    def _search(self, problem: Problem, best: BestPoints) -> None:
        """Tries as many disjuncts at once as a batch holds and offers what is found to `best`."""
        nominal, size = problem.inputs.nominal(), batch_size(problem)
        cases, order = torch.arange(problem.cases, device=nominal.device), ranked(problem, nominal, size)
        best.offer(cases, problem.violation(nominal), nominal)
        count, number = min(self.targets, order.shape[1]), 0
        while number < count * self.restarts:
            if self.stop_when_falsified:
                cases = cases[best.values[cases] < 0]
            if not len(cases):
                return
            start = FromNominal() if number < count else FromRandom(self.seed)
            together = min(max(1, size // len(cases)), count - number % count)
            owner = cases.repeat(together)
            numbers = torch.arange(number, number + together, device=cases.device).repeat_interleave(len(cases))
            for part in torch.arange(len(owner), device=cases.device).split(size):
                aims = EachInTurn(count).aims(order[owner[part]], numbers[part])
                self._approach(problem, best, owner[part], aims, start.points(problem, owner[part], numbers[part]))
            number += together

    def _approach(self, problem: Problem, best: BestPoints, cases: Tensor, aims: Tensor, x: Tensor) -> None:
        """One try at each of these disjuncts (n,) of these cases (n,), which may repeat, from x."""
        tries, met = Attempts.at(problem.select(cases), cases, aims), BestPoints(problem.inputs.select(cases).nominal())
        places = torch.arange(len(cases), device=cases.device)
        try:
            for _ in range(self.steps):
                check_time()
                look = tries.surface.look(x, 1.0)
                if look is None:
                    return
                beyond = look.value >= 0
                tries.offer(met, places, x, beyond.nonzero().flatten())
                x = tries.next(x, look, beyond)
                if self.stop_when_falsified and bool((hit := met.values[places] >= 0).any()):
                    going = (~torch.isin(tries.cases, tries.cases[hit])).nonzero().flatten()
                    if not len(going):
                        return
                    tries, places, x = tries.select(going), places[going], x[going]
            tries.offer(met, places, x, torch.arange(len(x), device=x.device))
        finally:
            best.offer_several(cases, met.values, met.points)


@dataclass(frozen=True)
class Attempts:
    """Tries at single disjuncts: a problem of their own each, of these cases (n,), which may repeat."""

    problem: Problem
    cases: Tensor
    surface: ViolationSurface
    gauge: Gauge

    @classmethod
    def at(cls, problem: Problem, cases: Tensor, aims: Tensor) -> Attempts:
        """Tries at these disjuncts (n,)."""
        surface = ViolationSurface(problem.network, problem.inputs, problem.spec, Margin(), aims, Nowhere(), cases)
        return cls(problem, cases, surface, gauge_of(problem.inputs))

    def select(self, index: Tensor) -> Attempts:
        return Attempts.at(self.problem.select(index), self.cases[index], self.surface.aims[index])

    def offer(self, met: BestPoints, places: Tensor, x: Tensor, chosen: Tensor) -> None:
        """Offers those of the points x at the chosen positions, projected, under their places (n,)."""
        if len(chosen):
            part = self.problem.select(chosen)
            inside = part.inputs.project(x[chosen])
            met.offer(places[chosen], part.violation(inside), inside)

    def next(self, x: Tensor, look: Look, beyond: Tensor) -> Tensor:
        """The points after a step from x, which is back for those that are beyond the boundary."""
        moved = (1 - BACK) * self.gauge.center + BACK * x.flatten(1)
        before = (~beyond).nonzero().flatten()
        if len(before):
            moved[before] = self._toward(x.flatten(1)[before], look, before)
        return self.gauge.clamped(moved).reshape(x.shape)

    def _toward(self, here: Tensor, look: Look, chosen: Tensor) -> Tensor:
        """The points after steps to the boundary from points `here` (m, size) at the chosen positions (m,)."""
        gauge = self.gauge.select(chosen)
        gradient, value, there = look.gradient.flatten(1)[chosen], look.value[chosen].nan_to_num(0.0), gauge.center
        at_center = value + (gradient * (there - here)).sum(1)
        steps = gauge.step(torch.stack([here, there]), torch.stack([value, at_center]), gradient)
        sizes = gauge.size(steps)
        share = (sizes[0] / sizes.sum(0).clamp(min=torch.finfo(here.dtype).tiny)).clamp(max=BIAS)[:, None]
        return (1 - share) * (here + OVERSHOOT * steps[0]) + share * (there + OVERSHOOT * steps[1])
