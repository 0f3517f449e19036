"""What no perturbation does at once: elements (a sample and a row of its own) whose lines exclude each other.

For weights w >= 0 of lines of different elements, the elements cannot all be violated at one delta of the ball if

    max over the ball of sum_j w_j (slope_j . delta + offset_j)  <  0

since some line, and so its row, is negative wherever the sum is. Any weights will do: a solver may propose them, and
the support function of the ball decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verify.deadline import check_time
from verify.ir.evaluate import UNIT
from verify.sets import InputSet
from verify.uap.lines import ROUGH, SharedLines, highest

WEIGHTS = (0.5, 0.35, 0.65, 0.2, 0.8)  # of the first of two lines
MANY = 600  # lines, more than which are not compared pair by pair


@dataclass(frozen=True)
class Elements:
    """Rows of samples that may be violated; element e is row `row[e]` of sample `owner[e]`, both (elements,) long."""

    owner: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def samples(self) -> list[int]:
        """The samples that have one, ascending."""
        return sorted(set(self.owner.tolist()))


def excluded(lines: SharedLines, weights: Tensor, ball: InputSet) -> bool:
    """Whether the weights (lines,) >= 0 show that not all of these lines are >= 0 at one delta of the ball.

    Sound because a sum of numbers >= 0 is none below 0, and `highest` bounds the sum; the rounding of the sum of lines
    is added.
    """
    slope, offset = weights @ lines.slope, weights @ lines.offset
    reach = torch.maximum(ball.low.abs(), ball.high.abs()).double().flatten()
    size = (weights @ lines.slope.abs()) @ reach + weights @ lines.offset.abs()
    rough = ROUGH * (len(weights) + ROUGH) * UNIT * size
    return bool(highest(slope[None], offset[None], ball)[0] + rough < 0)


def pairs(lines: SharedLines, ball: InputSet) -> np.ndarray:
    """Which of the lines, one of each element, exclude each other: bool (lines, lines), symmetric. Rows of one sample
    do: of a sample that counts one row is enough.

    Sound as `excluded` is. Without time for all pairs, those that were not looked at do not.
    """
    count = len(lines.owner)
    found = (lines.owner[:, None] == lines.owner[None]).cpu().numpy()
    np.fill_diagonal(found, False)
    if count > MANY:
        return found
    most = lines.most(ball).clamp(min=1e-300)  # scaled so that the extremes of two lines weigh the same
    slope, offset = lines.slope / most[:, None], lines.offset / most
    rough = 4 * ROUGH * UNIT  # of a sum of two
    reach = torch.maximum(ball.low.abs(), ball.high.abs()).double().flatten()
    size = slope.abs() @ reach + offset.abs()
    for i in range(count - 1):
        check_time()
        others = torch.arange(i + 1, count, device=offset.device)
        others = others[lines.owner[others] != lines.owner[i]]
        for weight in WEIGHTS:
            if not len(others):
                break
            total = weight * slope[i] + (1 - weight) * slope[others]
            bound = highest(total, weight * offset[i] + (1 - weight) * offset[others], ball)
            out = bound + rough * (size[i] + size[others]) < 0
            at = others[out].cpu().numpy()
            found[i, at] = found[at, i] = True
            others = others[~out]
    return found


def cliques(conflicts: np.ndarray) -> list[list[int]]:
    """Sets of elements of which at most one counts, that cover all conflicts of two; greedily large."""
    left, degree, found = conflicts.copy(), conflicts.sum(1), []
    for i in np.argsort(-degree, kind="stable").tolist():
        while left[i].any():
            near = np.flatnonzero(left[i])
            members = [i, int(near[np.argmax(degree[near])])]
            common = conflicts[members[0]] & conflicts[members[1]]
            while common.any():
                near = np.flatnonzero(common)
                gain = left[np.ix_(near, members)].sum(1) * len(left) + degree[near]
                members.append(int(near[np.argmax(gain)]))
                common &= conflicts[members[-1]]
            found.append(members)
            left[np.ix_(members, members)] = False
    return found
