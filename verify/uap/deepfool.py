"""DeepFool: the way to the nearest decision boundary, one linearisation after another."""

from __future__ import annotations

import torch
from torch import Tensor

from verify.deadline import check_time
from verify.problem import Problem

NEAREST = 10  # rows of largest value that a step looks at, as the authors do


def way_out(problem: Problem, x: Tensor, steps: int, overshoot: float) -> Tensor:
    """A short r for which the one case of a problem is violated at x + r, if steps (of which there are so many) get
    there; x, r (*shape).

    Each step goes to the nearest of the linearised boundaries, by |v| / ||w||_2 over the rows of value v and gradient w
    (Moosavi-Dezfooli et al. 2016, algorithm 2); their sum is lengthened by the overshoot. Zero where there is no
    gradient.
    """
    total = torch.zeros_like(x)
    for _ in range(steps):
        check_time()
        values, gradients = rows_at(problem, x + (1 + overshoot) * total)
        if not bool((values < 0).all()):
            break
        square = gradients.flatten(1).square().sum(1)
        distance = torch.where(square > 0, -values / square.sqrt(), torch.inf)
        nearest = int(distance.argmin())
        if not bool(distance[nearest].isfinite()):
            break
        total = total - values[nearest] / square[nearest] * gradients[nearest]
    return (1 + overshoot) * total


def rows_at(problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
    """The largest row values (rows,) of the one case at a point (*shape), and their gradients (rows, *shape)."""
    with torch.no_grad():
        values = problem.spec.values(x[None], problem.network(x[None]))[0]
    chosen = torch.where(problem.spec.mask[0], values, -torch.inf).topk(min(NEAREST, len(values))).indices
    with torch.enable_grad():
        points = x.expand(len(chosen), *x.shape).detach().requires_grad_()
        along = (problem.network(points).flatten(1) * problem.spec.output[0, chosen]).sum()
    gradients = torch.autograd.grad(along, points, allow_unused=True)[0] if along.requires_grad else None
    gradients = torch.zeros_like(points) if gradients is None else gradients
    return values[chosen], torch.nan_to_num(gradients, nan=0.0, posinf=0.0, neginf=0.0)
