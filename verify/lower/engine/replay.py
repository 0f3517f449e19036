"""Near points that violate when they are replayed: searches see a merged network, and stop at its boundary."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from verify.problem import Problem
from verify.sets import Ball, InputSet

BEYOND = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)  # how far past a point its way is followed until the model is fooled
HALVINGS = 16  # of the way back


def widened(problem: Problem) -> Problem:
    """The problem in which near points are looked for: of balls in a clip those that reach all of it, so that what is
    found does not depend on the radius; other sets as they are."""
    inputs = problem.inputs
    if not isinstance(inputs, Ball) or inputs.clip is None:
        return problem
    whole = inputs.norm.across(inputs.clip[1] - inputs.clip[0], prod(inputs.shape))
    return replace(problem, inputs=Ball(inputs.center, max(whole, inputs.eps), inputs.norm, inputs.clip))


def nearest_replayed(problem: Problem, points: Tensor, wanted: InputSet | None = None) -> tuple[Tensor, Tensor]:
    """The points (cases, *shape) drawn along the ways from the nominal ones to where `Problem.replayed` still says that
    they violate, and by more than 0, so that a classifier says another class and not a tie; members of the sets. And
    whether they do, bool (cases,). The nominal points where none does, or where these violate.

    wanted: sets within which a point is near enough, and is drawn no further.
    """
    center = problem.inputs.nominal()
    best, found = center.clone(), problem.replayed(center) >= 0
    low, high = torch.zeros(len(center)).to(center), torch.zeros(len(center)).to(center)
    for more in BEYOND:
        if bool(found.all()):
            break
        x = problem.inputs.project(center + (1 + more) * (points - center))
        new = ~found & (problem.replayed(x) > 0) & problem.inputs.contains(x) & (x != center).flatten(1).any(1)
        best[new], found = x[new], found | new
        high = torch.where(new, 1 + more, high)
    for _ in range(HALVINGS):
        open_ = high > 0 if wanted is None else (high > 0) & ~wanted.contains(best)
        if not bool(open_.any()):
            break
        middle = (low + high) / 2
        x = problem.inputs.project(center + middle.reshape(-1, *[1] * (center.dim() - 1)) * (points - center))
        bad = (problem.replayed(x) > 0) & problem.inputs.contains(x)
        low, high = torch.where(open_ & ~bad, middle, low), torch.where(open_ & bad, middle, high)
        best[open_ & bad] = x[open_ & bad]
    return best, found


def drawn_inside(problem: Problem, wide: Problem, points: Tensor) -> Tensor:
    """Points (cases, *shape) that were found in wide sets, each in its place one of the set of the problem that
    violates when it is replayed, where the way to it leads to one."""
    inside = problem.inputs.project(points)
    done = (problem.replayed(inside) > 0) & problem.inputs.contains(inside)
    if bool(done.all()):
        return inside
    near, found = nearest_replayed(wide, points, problem.inputs)
    near_enough = ~done & found & problem.inputs.contains(near)
    inside[near_enough] = near[near_enough]
    return inside
