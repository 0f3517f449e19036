"""Splits the levels of a grid where many inputs vary: each part is searched as a continuous box first.

In the box around a part ranges of neurons are split, which decides most parts at once. A part whose box has a point
beyond the cutoff is split between the two levels around an entry of that point: the vertices of linear regions lie on
levels in all entries but few, so that few such splits are needed (as in branch and bound of integer programs, Land and
Doig 1960).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from verify.exact.search.frontier import Frontier, Proposals
from verify.exact.search.limits import Limits
from verify.exact.search.tasks import Tasks
from verify.problem import Problem
from verify.sets import Grid
from verify.spec import Specification

PARTS = 8  # that are split together
UNIT = 2.0**-50  # relative, what shifting a specification may round


class Decided(NamedTuple):
    """Of cases upper bounds (n,) float64, the best points met (n, *shape), and how many domains were bounded."""

    upper: Tensor
    points: Tensor
    domains: int


class LevelSplit(Frontier):
    """Domains made by splitting the levels of a grid, for all cases of a problem.

    Args:
        halves: says of a problem which of its cases are searched as a grid, by halving their boxes; bool (cases,).
        decide: searches the sign of a problem's cases within limits.
    """

    def __init__(self, problem: Problem, cutoff: Tensor, limits: Limits, halves: Callable[[Problem], Tensor],
                 decide: Callable[[Problem, Limits], Decided]):
        assert isinstance(problem.inputs.levels, int)
        self.problem, self.levels, self.halves, self.decide = problem, problem.inputs.levels, halves, decide
        tasks = Tasks(problem)
        cases = torch.arange(problem.cases, device=problem.owner.device)
        first = torch.searchsorted(tasks.case, cases)  # tasks stand in the order of their cases
        ends = ((end.double() * self.levels).round().flatten(1) for end in (problem.inputs.low, problem.inputs.high))
        least, most = ends
        super().__init__(tasks, problem.cases, [first, least, most, least])
        above = torch.full((len(cases),), torch.inf, dtype=torch.float64, device=cases.device)
        self.proposals: Proposals | None = self._bound(first, least, most, above, cutoff, limits)

    def step(self, cutoff: Tensor, limits: Limits) -> Proposals:
        if self.proposals is not None:  # those of the whole sets
            first, self.proposals = self.proposals, None
            return first
        self.prepare(cutoff, limits)
        places = self.next_places(PARTS, limits)
        above = self.pool.bounds[places]
        task, least, most, x = self.pool.take(places)
        axis, point = self._branch(self.tasks.case[task], least, most, x)
        at = axis[:, None]
        lower, upper = most.scatter(1, at, point), least.scatter(1, at, point + 1)
        return self._bound(task.repeat(2), torch.cat([least, upper]), torch.cat([lower, most]), above.repeat(2), cutoff,
                           limits)

    def certain(self, places: Tensor) -> Tensor:
        return self.pool.bounds[places]

    def _bound(
        self, task: Tensor, least: Tensor, most: Tensor, above: Tensor, cutoff: Tensor, limits: Limits
    ) -> Proposals:
        """Bounds parts (n,) and puts those into the pool that stay open.

        Sound because a part lies in its box, and what is searched is the violation minus the cutoff up to the slack;
        trusts what the search of the box does.
        """
        cases = self.tasks.case[task]
        points = self.problem.inputs.low[cases].clone()
        upper = above.clone()
        goal = cutoff[cases]
        whole, shape = self.problem.select(cases), (-1, *self.problem.inputs.shape)
        grid = Grid(least.reshape(shape), most.reshape(shape), self.levels, dtype=points.dtype)
        small = self.halves(replace(whole, inputs=grid))
        for chosen in (small, ~small):
            index = (chosen & goal.isfinite()).nonzero().flatten()
            if not len(index):
                continue
            part = whole.select(index)
            spec, slack = _shifted(part.spec, goal[index])
            inputs = grid.select(index) if bool(small[index[0]]) else grid.select(index).continuous
            found = self.decide(replace(part, inputs=inputs, spec=spec), limits)
            bound = torch.where(found.upper.isnan(), torch.inf, found.upper) + goal[index] + slack
            upper[index] = upper[index].minimum(bound)
            points[index] = found.points.to(points)
            self.domains += found.domains
        single = ~(most > least).any(1)
        done = (upper < goal) | single
        self.close(cases[done], upper[done])
        left = (~done).nonzero().flatten()
        x = points[left].flatten(1).double() * self.levels
        self.pool.put(upper[left], [task[left], least[left], most[left], x])
        return Proposals(cases[left], points[left])

    def _branch(self, cases: Tensor, least: Tensor, most: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The entry (n,) to split and the last level (n, 1) of its lower part: of the entries of x (n, inputs), in
        levels, that which rounding to a level costs the most; else that whose range may change the most, halved."""
        problem = self.problem.select(cases)
        with torch.enable_grad():
            point = (x / self.levels).to(problem.inputs.low).reshape(-1, *problem.inputs.shape).requires_grad_()
            total = problem.violation(point).sum()
        slope = torch.autograd.grad(total, point)[0].flatten(1).double().nan_to_num(0.0, 0.0, 0.0).abs()
        slope = slope + torch.finfo(slope.dtype).tiny
        cost, width = (x - x.round()).abs() * (most > least), (most - least)
        cost = cost.masked_fill(cost < 1e-3, 0)  # a member but for rounding
        between = (cost > 0).any(1, keepdim=True)
        axis = torch.where(between, cost * slope, width * slope).argmax(1)
        level = torch.where(between, x, (least + most) / 2).floor().clamp(least, most - 1)
        return axis, level.gather(1, axis[:, None])


def _shifted(spec: Specification, by: Tensor) -> tuple[Specification, Tensor]:
    """The specification whose violation is that of this one minus numbers (cases,), up to a slack (cases,)."""
    wide = spec.double()
    moved = replace(wide, offset=wide.offset + by[:, None], exact=None, in_float64=None)
    slack = UNIT * (wide.offset.abs().amax(1) + by.abs())
    return replace(spec, offset=moved.offset.to(spec.offset), exact=None, in_float64=moved), slack
