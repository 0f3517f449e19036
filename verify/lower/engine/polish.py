"""Greedy moves by one level, from the best members of a grid that an attack has met."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.lower.engine.best import BestPoints
from verify.lower.engine.violation import ViolationSurface, batch_size
from verify.lower.objectives.margin import Margin
from verify.problem import Problem

PASSES = 8  # at most; a pass that finds nothing is the last
MOVES = 16  # coordinates that are tried in a pass, each alone and the first ones together


@dataclass(frozen=True)
class Polish:
    """Moves of single coordinates by one level, along the gradient of the violation, as long as they find more.

    Rounding a point that a climb has found costs what its coordinates between two levels had; those few may be moved
    to the other side. Of sets that are no grids nothing is moved.
    """

    problem: Problem
    best: BestPoints

    def run(self, cases: Tensor) -> None:
        """Improves the best points of these cases (n,) long."""
        if self.problem.inputs.levels is None:
            return
        size = max(1, batch_size(self.problem) // (2 * MOVES))
        for part in cases.split(size):
            for _ in range(PASSES):
                before = self.best.values[part]
                if not len(part) or not self._pass(part):
                    break
                part = part[self.best.values[part] > before]

    def _pass(self, cases: Tensor) -> bool:
        """Tries the moves of these cases; whether there is a gradient to choose them by."""
        problem, x = self.problem, self.best.points[cases]
        inputs, spec = problem.inputs.select(cases), problem.spec.select(cases)
        surface = ViolationSurface(
            problem.network, inputs, spec, Margin(), torch.full_like(cases, -1), self.best, cases)
        look = surface.look(x, 1.0)
        if look is None:
            return False
        assert inputs.levels is not None
        up, flat = look.gradient > 0, x.flatten(1)
        moved = inputs.project(x + torch.where(up, 1.0, -1.0).to(x) / inputs.levels).flatten(1)
        gain = (moved - flat) * look.gradient.flatten(1)
        order = gain.topk(min(MOVES, gain.shape[1]), dim=1).indices
        alone = torch.nn.functional.one_hot(order, flat.shape[1]).bool()  # (cases, moves, size)
        together = alone.cumsum(1) > 0
        tries = torch.where(torch.cat([alone, together], 1), moved[:, None], flat[:, None])
        owner = cases.repeat_interleave(tries.shape[1])
        points, each = tries.reshape(-1, *x.shape[1:]), problem.spec.select(owner)
        self.best.offer_several(owner, each.violation(points, problem.network(points)), points)
        return True
