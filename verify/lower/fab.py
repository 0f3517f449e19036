"""Lower bounds by looking for the nearest points on the far side of a decision boundary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.deadline import check_time
from verify.lower.engine.best import BestPoints, met
from verify.lower.engine.gauge import gauge_of
from verify.lower.engine.plan import ranked
from verify.lower.engine.settings import check_settings
from verify.lower.engine.starts import FromNominal, FromRandom
from verify.lower.engine.targets import EachInTurn
from verify.lower.engine.violation import ViolationSurface, batch_size
from verify.lower.objectives.margin import Margin
from verify.lower.rules.base import spread
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
        """Tries every disjunct in turn and offers what is found to `best`."""
        nominal, size = problem.inputs.nominal(), batch_size(problem)
        cases, order = torch.arange(problem.cases, device=nominal.device), ranked(problem, nominal, size)
        best.offer(cases, problem.violation(nominal), nominal)
        count = min(self.targets, order.shape[1])
        for number in range(count * self.restarts):
            if self.stop_when_falsified:
                cases = cases[best.values[cases] < 0]
            if not len(cases):
                return
            start = FromNominal() if number < count else FromRandom(self.seed)
            for part in cases.split(size):
                numbers = torch.full_like(part, number)
                aims = EachInTurn(count).aims(order[part], numbers)
                self._approach(problem, best, part, aims, start.points(problem, part, numbers))

    def _approach(self, problem: Problem, best: BestPoints, cases: Tensor, aims: Tensor, x: Tensor) -> None:
        """One try at a disjunct of each of these cases, from x."""
        inputs, spec, met = problem.inputs.select(cases), problem.spec.select(cases), BestPoints(x)
        each, gauge = torch.arange(len(cases), device=cases.device), gauge_of(inputs)
        surface = ViolationSurface(problem.network, inputs, spec, Margin(), aims, met, each)
        for _ in range(self.steps):
            check_time()
            look = surface.look(x, 1.0)
            if look is None:
                return
            here, value = x.flatten(1), look.value.nan_to_num(0.0)
            gradient, there = look.gradient.flatten(1), gauge.center
            beyond = value >= 0
            inside = inputs.project(x)
            best.offer(cases, spec.violation(inside, problem.network(inside)), inside)
            at_center = value + (gradient * (there - here)).sum(1)
            near, far = gauge.step(here, value, gradient), gauge.step(there, at_center, gradient)
            sizes = gauge.norm.measure(near / gauge.scale), gauge.norm.measure(far / gauge.scale)
            share = (sizes[0] / (sizes[0] + sizes[1]).clamp(min=torch.finfo(x.dtype).tiny)).clamp(max=BIAS)[:, None]
            mixed = (1 - share) * (here + OVERSHOOT * near) + share * (there + OVERSHOOT * far)
            moved = torch.where(spread(beyond, here), (1 - BACK) * there + BACK * here, mixed)
            x = gauge.clamped(moved).reshape(x.shape)
        inside = inputs.project(x)
        best.offer(cases, spec.violation(inside, problem.network(inside)), inside)
