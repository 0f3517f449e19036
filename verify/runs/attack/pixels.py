"""Found points as images of 8 bits: levels that still fool and still lie in the set, where there are such."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.ir.graph import Network
from verify.problem import Problem
from verify.sets.levels import value_of

LEVELS = 255
FOOLS, STAYS, LEAVES = "still fool", "no longer fool", "leave the set"  # what images of 8 bits do


@dataclass(frozen=True)
class Pictures:
    """What images look like whose variables are a sample and the parameters of a perturbation.

    Args:
        front: makes images of the variables.
        samples: the problem of the samples alone, in which images are inputs.
    """

    front: Network
    samples: Problem

    def of(self, index: Tensor, points: Tensor) -> Tensor:
        """The images (cases, *shape) of points (cases, variables) of the samples at these positions: as the network
        computes them, or as float64 does where only that one fools the network when it is replayed."""
        problem = self.samples.select(index)
        computed, near = self.front(points), self.front.double()(points.double()).to(points.dtype)
        only = (problem.replayed(computed) < 0) & (problem.replayed(near) >= 0)
        return torch.where(only.reshape(-1, *[1] * (near.dim() - 1)), near, computed)

    def rounded(self, index: Tensor, images: Tensor) -> tuple[Tensor, list[str]]:
        """The nearest levels (cases, *shape), uint8, of images, and what these do as level / 255."""
        level = (images * LEVELS).round().clamp(0, LEVELS)
        fools = self.samples.select(index).replayed(value_of(level, LEVELS, images.dtype)) >= 0
        return level.to(torch.uint8), [FOOLS if wins else STAYS for wins in fools.tolist()]

    def to(self, device: torch.device | str) -> Pictures:
        """The same on another device."""
        return Pictures(self.front.to(device), self.samples.to(device))


def rounded_to_levels(problem: Problem, points: Tensor) -> tuple[Tensor, list[str]]:
    """Levels (cases, *shape), uint8, of points (cases, *shape) in [0, 1], and what they do as level / 255.

    Tried are the nearest levels, those toward and those away from the nominal point, each moved by one level where it
    leaves the hull; the first that fools the network counts, as `Problem.replayed` says, else the first in the set.
    """
    x, floats = problem.inputs.nominal(), points.dtype
    down, up = (points * LEVELS).floor(), (points * LEVELS).ceil()
    toward, away = torch.where(points > x, down, up), torch.where(points > x, up, down)
    best, state = None, [LEAVES] * len(points)
    for level in ((points * LEVELS).round(), toward, away):
        level = level.clamp(0, LEVELS)
        value = value_of(level, LEVELS, floats)
        level = torch.where(value > problem.inputs.high, level - 1, torch.where(value < problem.inputs.low, level + 1,
                                                                                level)).clamp(0, LEVELS)
        value = value_of(level, LEVELS, floats)
        member, fools = problem.inputs.contains(value), problem.replayed(value) >= 0
        best = level.clone() if best is None else best
        for k, (inside, wins) in enumerate(zip(member.tolist(), fools.tolist(), strict=True)):
            new = FOOLS if inside and wins else STAYS if inside else LEAVES
            if state[k] != FOOLS and new != LEAVES and not (state[k] == STAYS and new == STAYS):
                best[k], state[k] = level[k], new
    assert best is not None
    return best.to(torch.uint8), state
