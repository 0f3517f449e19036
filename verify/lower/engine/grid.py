"""A grid over sets in which one or two variables are free, so that no narrow peak between starts is missed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.deadline import check_time
from verify.lower.engine.best import BestPoints
from verify.lower.engine.starts import Start
from verify.lower.engine.violation import batch_size
from verify.problem import Problem

PER_AXIS = {1: 64, 2: 16}  # points along each of so many free variables


def few_free(problem: Problem) -> Tensor:
    """Of each case how many variables are free, (cases,); 0 where there are more than a grid is laid over."""
    free = problem.inputs.varies.flatten(1).sum(1)
    return free * (free <= max(PER_AXIS))


def survey(problem: Problem, best: BestPoints, cases: Tensor) -> None:
    """Offers to `best` the points of a grid over the sets of these cases, each with as many free variables as
    `PER_AXIS` names; the ends of their ranges are among them."""
    counts, size = few_free(problem), batch_size(problem)
    for dimension, per_axis in PER_AXIS.items():
        chosen = cases[counts[cases] == dimension]
        if not len(chosen):
            continue
        line = torch.linspace(0, 1, per_axis, dtype=torch.float64, device=cases.device)
        nodes = torch.cartesian_prod(*[line] * dimension).reshape(-1, dimension)
        here, node = (part.flatten() for part in torch.meshgrid(chosen, torch.arange(len(nodes)).to(chosen),
                                                                indexing="ij"))
        for part in torch.arange(len(here), device=cases.device).split(size):
            check_time()
            x = _placed(problem, here[part], nodes[node[part]])
            best.offer(here[part], problem.spec.select(here[part]).violation(x, problem.network(x)), x)


def _placed(problem: Problem, cases: Tensor, shares: Tensor) -> Tensor:
    """The points (n, *shape) of the sets of these cases (n,) at these shares (n, free) of their free variables."""
    inputs = problem.inputs.select(cases)
    free = inputs.varies.flatten(1)
    rank = (free.cumsum(1) - 1).clamp(min=0, max=shares.shape[1] - 1)
    share = torch.where(free, shares.gather(1, rank), 0.0)
    return inputs.place(share.reshape(len(cases), *inputs.shape))


@dataclass(frozen=True, eq=False)
class FromBest(Start):
    """The best point that was met in a case."""

    best: BestPoints

    def points(self, problem: Problem, cases: Tensor, numbers: Tensor) -> Tensor:
        return problem.inputs.select(cases).project(self.best.points[cases])
