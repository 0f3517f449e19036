"""How often, from where and at what each case is attacked, and when that ends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.lower.engine.best import BestPoints, met
from verify.lower.engine.grid import FromBest, few_free, survey
from verify.lower.engine.polish import Polish
from verify.lower.engine.starts import Start
from verify.lower.engine.targets import Everything, Targeting
from verify.lower.engine.violation import Ascent, Tries, batch_size
from verify.lower.objectives.base import AttackObjective
from verify.lower.rules.base import StepRule
from verify.method import Answer
from verify.problem import Problem

NEAR = 0.1  # half-widths: the first steps from the best point of a grid


@dataclass(frozen=True)
class Approach:
    """How a try goes.

    Args:
        start, targeting: where it starts and what it aims at.
        objective, rule, steps: what it climbs, how it steps, and how often.
        lengths: first step lengths in half-widths of the set, which tries take in turn.
    """

    start: Start
    targeting: Targeting
    objective: AttackObjective
    rule: StepRule
    steps: int
    lengths: tuple[float, ...]

    def tries(self, problem: Problem, order: Tensor | None, cases: Tensor, numbers: Tensor) -> Tries:
        """The tries with these numbers (n,) at these cases (n,); `order` ranks the disjuncts of all cases."""
        low = problem.inputs.low
        lengths = torch.tensor(self.lengths, dtype=torch.float64, device=low.device)[numbers % len(self.lengths)]
        ranked = order[cases] if order is not None else None
        aims, x = self.targeting.aims(ranked, numbers), self.start.points(problem, cases, numbers)
        return Tries(cases, x, aims, lengths.to(low.dtype))


@dataclass(frozen=True)
class AttackPlan:
    """Tries of all cases: the first alone, since it settles most cases and those need no other, then as many at once as
    a batch holds. Where one or two variables are free, a grid over these comes after the first try.

    Args:
        first, later: how tries go.
        restarts: number of tries, at least 1.
        stop_when_falsified: leave a case at its first point with a violation >= 0.
    """

    first: Approach
    later: Approach
    restarts: int
    stop_when_falsified: bool

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the best that was met, the nominal point if none was."""
        best = BestPoints(problem.inputs.nominal())
        return met(best.points, lambda: self._run(problem, best))

    def _run(self, problem: Problem, best: BestPoints) -> None:
        """Searches and offers every point on the way to `best`."""
        nominal = problem.inputs.nominal()
        size, order = batch_size(problem), None
        cases, number = torch.arange(problem.cases, device=nominal.device), 0
        while number < self.restarts and len(cases):
            approach = self.later if number else self.first
            count = min(max(1, size // len(cases)), self.restarts - number) if number else 1
            numbers = torch.arange(number, number + count, device=cases.device).repeat_interleave(len(cases))
            if order is None and approach.targeting.ranks:
                order = ranked(problem, nominal, size)
            ascent = Ascent(approach.steps, approach.rule, approach.objective, self.stop_when_falsified)
            for part in torch.arange(len(numbers), device=cases.device).split(size):
                ascent.run(problem, best, approach.tries(problem, order, cases.repeat(count)[part], numbers[part]))
            cases = self._open(best, cases)
            if not number:
                cases = self._gridded(problem, best, cases)
            number += count
        Polish(problem, best).run(cases)

    def _open(self, best: BestPoints, cases: Tensor) -> Tensor:
        """The cases that are tried further."""
        return cases[best.values[cases] < 0] if self.stop_when_falsified else cases

    def _gridded(self, problem: Problem, best: BestPoints, cases: Tensor) -> Tensor:
        """Looks at a grid where one or two variables are free, and climbs from its best points; the cases that are
        tried further. A single step, as FGSM's, is left alone."""
        few = cases[few_free(problem)[cases] > 0]
        if self.first.steps == 1 or not len(few):
            return cases
        survey(problem, best, few)
        near = Approach(FromBest(best), Everything(), self.first.objective, self.later.rule, self.first.steps, (NEAR,))
        ascent = Ascent(near.steps, near.rule, near.objective, self.stop_when_falsified)
        few = self._open(best, few)
        for part in few.split(batch_size(problem)):
            ascent.run(problem, best, near.tries(problem, None, part, torch.zeros_like(part)))
        return self._open(best, cases)


def ranked(problem: Problem, x: Tensor, size: int) -> Tensor:
    """The disjuncts of each case by their value at x, the highest first; (cases, disjuncts) long."""
    found = []
    for part in torch.arange(problem.cases, device=x.device).split(size):
        spec = problem.spec.select(part)
        least = spec.by_disjunct(spec.values(x[part], problem.network(x[part])))
        found.append(least.sort(dim=1, descending=True, stable=True).indices)
    return torch.cat(found)
