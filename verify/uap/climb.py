"""Climbs the violations of chosen samples together, from a perturbation that the bound proposes."""

from __future__ import annotations

import torch
from torch import Tensor

from verify.deadline import check_time
from verify.uap.problem import SharedProblem

STEPS = 30
FIRST = 0.2  # half-widths of the ball, the first step


def climbed(problem: SharedProblem, delta: Tensor, samples: Tensor) -> Tensor:
    """The perturbation (*shape) on the way that fools the most of these samples, as the network computes it; of two,
    the one whose least violation is larger. Steps raise the sum of the negative violations and become shorter."""
    spec, best, value = problem.each.spec.select(samples), delta, -torch.inf
    at = problem.ball.project(delta[None].to(problem.x))
    for k in range(STEPS):
        check_time()
        with torch.enable_grad():
            here = at.detach().requires_grad_()
            violation = spec.violation(here, problem.network(problem.moved(here[0], samples)))
            total = violation.clamp(max=0).sum()
        found = float((violation >= 0).sum()) + float(violation.detach().min().clamp(-0.5, 0))
        if found > value:
            best, value = here.detach()[0], found
        slope = torch.autograd.grad(total, here, allow_unused=True)[0]
        if slope is None or not bool(slope.any()):
            break
        at = problem.ball.project(at + FIRST * (1 - k / STEPS) * problem.ball.steepest(at, slope.nan_to_num()))
    return best
