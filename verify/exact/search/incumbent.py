"""The best known point of every case during a search, from an attack and from what the relaxations propose."""

from __future__ import annotations

import torch
from torch import Tensor

from verify.deadline import deadline, within
from verify.exact.search.frontier import Proposals
from verify.lower.engine.best import BestPoints
from verify.lower.engine.violation import Ascent, Tries, batch_size
from verify.lower.objectives.smooth_maximum import SmoothMaximum
from verify.lower.pgd import PGD
from verify.lower.rules.falling import Falling
from verify.problem import Problem

ATTACKING = 0.2  # of the time that is left, for one attack
POLISH_STEPS = 10
LENGTHS = (0.1, 0.03, 0.01, 0.003)  # first steps of polishing, in half-widths: proposals are near what they seek
POLISHED = 32  # proposals of a case that are polished at once
BUDGET = 1 << 17  # values of all layers that polishing a case's proposals may hold, at least one of them


class Incumbent:
    """Points with their violations; promising proposals are polished by a few gradient steps."""

    def __init__(self, problem: Problem, stop_when_falsified: bool):
        self.problem = problem
        self.stop = stop_when_falsified
        self.best = BestPoints(problem.inputs.nominal())
        self.considered = 0
        self.confirmed = torch.zeros(problem.cases, dtype=torch.bool, device=problem.owner.device)

    @property
    def values(self) -> Tensor:
        """The largest violation met in each case, (cases,)."""
        return self.best.values

    @property
    def points(self) -> Tensor:
        """Where it was met, (cases, *shape)."""
        return self.best.points

    def attack(self, attack: PGD, cases: Tensor | None = None) -> None:
        """Adds the points of an attack on these cases (n,), by default on all."""
        if cases is None:
            cases = torch.arange(self.problem.cases, device=self.points.device)
        with within(deadline().part(ATTACKING)):
            points = attack.answer(self.problem.select(cases)).points
        assert points is not None
        self._offer(cases, points)
        self._confirm()

    def consider(self, proposals: Proposals) -> None:
        """Adds the proposals, and polishes the best of every case where they say something new, or now and then."""
        cases, points = proposals
        if not len(cases):
            return
        self.considered += 1
        before = self.values.clone()
        points = self.problem.inputs.select(cases).project(points.to(self.best.points))
        values = self._offer(cases, points)
        count = max(1, min(POLISHED, batch_size(self.problem, BUDGET) // len(LENGTHS)))
        best = _best_of_each(cases, values, count)
        if count < POLISHED and self.considered & (self.considered - 1):  # dear, and no power of two
            best = best[self.values[cases[best]] > before[cases[best]]]
        if len(best):
            self._polish(cases[best], points[best])
        self._confirm()

    def _polish(self, cases: Tensor, points: Tensor) -> None:
        """Ascends from points (n, *shape) of these cases (n,), which may repeat, with every length."""
        n, times = len(cases), len(LENGTHS)
        cases, points = cases.repeat(times), points.repeat(times, *[1] * (points.dim() - 1))
        lengths = torch.tensor(LENGTHS, dtype=points.dtype, device=points.device)
        tries = Tries(cases, points, torch.full_like(cases, -1), lengths.repeat_interleave(n))
        # not to stop at the first violation: one that barely is may be rounding
        ascent = Ascent(POLISH_STEPS, Falling(), SmoothMaximum(), stop_when_falsified=False)
        for part in torch.arange(len(cases), device=cases.device).split(batch_size(self.problem)):
            ascent.run(self.problem, self.best, tries.select(part))

    def _confirm(self) -> None:
        """Takes back violations that the network as it was read does not have in both precisions, as `solve` would."""
        claims = (self.values >= 0).logical_and(~self.confirmed).nonzero().flatten()
        if self.stop and len(claims):
            found = self.problem.select(claims).replayed(self.points[claims])
            self.values[claims] = self.values[claims].minimum(found)
            self.confirmed[claims] = self.values[claims] >= 0

    def _offer(self, cases: Tensor, points: Tensor) -> Tensor:
        """Adds the points as they are and returns their violations, (n,)."""
        found = []
        for part in torch.arange(len(cases), device=cases.device).split(batch_size(self.problem)):
            spec = self.problem.spec.select(cases[part])
            found.append(spec.violation(points[part], self.problem.network(points[part])))
        values = torch.cat(found)
        self.best.offer_several(cases, values, points)
        return values


def _best_of_each(cases: Tensor, values: Tensor, count: int) -> Tensor:
    """The positions of the `count` largest values of every case, (m,) long; NaN counts as the smallest."""
    order = torch.where(values.isnan(), -torch.inf, values).argsort(descending=True)
    order = order[cases[order].argsort(stable=True)]
    counts = torch.bincount(cases)
    rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[cases[order]]
    return order[rank < count]
