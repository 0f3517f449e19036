"""The best known point of every case during a search, from an attack and from what the relaxations propose."""

from __future__ import annotations

import torch
from torch import Tensor

from verify.exact.frontier import Proposals
from verify.lower.ascent import Ascent, Record, Tries
from verify.lower.gradient import PGD, batch_size
from verify.problem import Problem

POLISH_STEPS = 10
POLISH_LENGTH = 0.1  # first step of the polishing ascent, in half-widths of the set: proposals are near what they seek


class Incumbent:
    """Points with their violations; promising proposals are polished by a few gradient steps."""

    def __init__(self, problem: Problem, stop_when_falsified: bool):
        self.problem = problem
        self.stop = stop_when_falsified
        self.record = Record(problem.inputs.nominal())
        self.considered = 0

    @property
    def values(self) -> Tensor:
        """The largest violation met in each case, (cases,)."""
        return self.record.values

    @property
    def points(self) -> Tensor:
        """Where it was met, (cases, *shape)."""
        return self.record.points

    def attack(self, attack: PGD) -> None:
        """Adds the points of an attack."""
        points = attack.answer(self.problem).points
        assert points is not None
        self._offer(torch.arange(self.problem.cases, device=points.device), points)

    def consider(self, proposals: Proposals) -> None:
        """Adds the proposals, and polishes the best of every case where they say something new, or now and then."""
        cases, points = proposals
        if not len(cases):
            return
        self.considered += 1
        before = self.values.clone()
        points = self.problem.inputs.select(cases).project(points.to(self.record.points))
        values = self._offer(cases, points)
        if self.stop:
            open_here = self.values[cases] < 0
            cases, points, values = cases[open_here], points[open_here], values[open_here]
        best = _best_of_each(cases, values, self.problem.cases)
        if self.considered & (self.considered - 1):  # no power of two
            best = best[self.values[cases[best]] > before[cases[best]]]
        if not len(best):
            return
        cases, points = cases[best], points[best]
        aims = torch.full_like(cases, -1)
        length = torch.full(cases.shape, POLISH_LENGTH, dtype=points.dtype, device=points.device)
        ascent = Ascent(POLISH_STEPS, leap=False, stop_when_falsified=self.stop)
        ascent.run(self.problem, self.record, Tries(cases, points, aims, length))

    def _offer(self, cases: Tensor, points: Tensor) -> Tensor:
        """Adds the points as they are and returns their violations, (n,)."""
        found = []
        for part in torch.arange(len(cases), device=cases.device).split(batch_size(self.problem)):
            spec = self.problem.spec.select(cases[part])
            found.append(spec.violation(points[part], self.problem.network(points[part])))
        values = torch.cat(found)
        self.record.offer(cases, values, points)
        return values


def _best_of_each(cases: Tensor, values: Tensor, total: int) -> Tensor:
    """The position of the largest value of every case that occurs, (m,) long; NaN counts as the smallest."""
    values = torch.where(values.isnan(), -torch.inf, values)
    top = values.new_full((total,), -torch.inf).scatter_reduce(0, cases, values, "amax")
    places = torch.where(values == top[cases], torch.arange(len(cases), device=cases.device), len(cases))
    first = torch.full_like(top, len(cases), dtype=torch.long).scatter_reduce(0, cases, places, "amin")
    return first[first < len(cases)]
