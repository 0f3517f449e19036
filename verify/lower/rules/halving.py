"""Steps that are halved where they no longer help."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil

import torch
from torch import Tensor

from verify.lower.rules.base import Stand, State, StepRule, spread
from verify.registry import RuleEntry

MOMENTUM = 0.25  # of the last move, that goes into the next
ENOUGH = 0.75  # share of the steps since a checkpoint that have to rise
FIRST, LESS, LEAST = 22, 3, 6  # percent of the steps between checkpoints: at first, less by, at least


@RuleEntry(name="halving", place=50, help="steps with momentum, halved where they no longer help (Croce and Hein)")
@dataclass(frozen=True)
class Halving(StepRule):
    """Steps with momentum, of a length that is halved at checkpoints, where the climb goes on from its best point
    (APGD, Croce and Hein 2020, algorithm 1).

    A length is halved where fewer than three quarters of the steps since the last checkpoint rose, or where neither
    the length nor the best value changed in that time.
    """

    def begin(self, x: Tensor, length: Tensor) -> State:
        """Remembered are: length, the point before, its value, how many steps rose; the best value with its point and
        gradient; length and best value at the last checkpoint."""
        low = torch.full_like(length, -torch.inf)
        return length, x, low, torch.zeros_like(length), low, x, torch.zeros_like(x), length, low

    def next(self, stand: Stand, state: State) -> tuple[Tensor, State]:
        length, before, last, rises, best, best_x, best_gradient, old_length, old_best = state
        value = torch.where(stand.value.isnan(), -torch.inf, stand.value)
        better = value > best
        best, rises = torch.where(better, value, best), rises + (value > last) * (stand.step > 0)
        best_x = torch.where(spread(better, before), stand.x, best_x)
        best_gradient = torch.where(spread(better, before), stand.gradient, best_gradient)
        since = checkpoints(stand.steps).get(stand.step)
        if since is not None:
            stuck = (rises < ENOUGH * since) | ((length == old_length) & (best == old_best))
            old_length, old_best, rises = length, best, torch.zeros_like(rises)
            length = torch.where(stuck, length / 2, length)
            back = spread(stuck, before)
            value = torch.where(stuck, best, value)
            stand = stand._replace(
                x=torch.where(back, best_x, stand.x), gradient=torch.where(back, best_gradient, stand.gradient)
            )
        x = stand.moved(length)
        if stand.step > 0:
            moved = torch.lerp(stand.x, x, 1 - MOMENTUM).add_(stand.x - before, alpha=MOMENTUM)
            x = stand.inputs.project(moved)
        return x, (length, stand.x, value, rises, best, best_x, best_gradient, old_length, old_best)


@cache
def checkpoints(steps: int) -> dict[int, int]:
    """The steps before which lengths are looked at, and how many steps lie between each and the one before."""
    found, share, gap, last = {}, 0, FIRST, 0
    while (share := share + gap) < 100:
        gap, at = max(gap - LESS, LEAST), ceil(share * steps / 100)
        if at > last:
            found[at], last = at - last, at
    return found
