"""Branch and bound over the perturbation: boxes of it are halved, and the samples that each may fool are counted.

The bound on the count is the largest of the open boxes', and the box that has it is halved next, across the input by
which the lines of its samples change most.
"""

from __future__ import annotations

import heapq
from itertools import count as numbers

import torch
from torch import Tensor

from verify.deadline import deadline, within
from verify.errors import OutOfTime
from verify.uap.lines import SharedRelaxation
from verify.uap.method import BestDelta
from verify.uap.problem import SharedProblem

FEW = 6  # inputs of which boxes are halved; with more, halves are hardly tighter
LAST = 0.9  # of the time, after which no box is begun


def halved(problem: SharedProblem, best: BestDelta) -> tuple[int, int]:
    """(an upper bound on how many samples one perturbation fools, boxes that were counted); points are offered.

    Sound because the boxes that hold a part of the ball cover it, and in a box a sample of which every row lies below a
    negative line is not fooled; trusts what `Rounding` does.
    """
    order, ends = numbers(), (problem.ball.low[0].double(), problem.ball.high[0].double())
    open_boxes: list[tuple[int, int, Tensor, Tensor, int]] = []
    boxes, upper = 0, problem.count
    todo = [ends]
    with within(deadline().part(LAST)) as limit:
        try:
            while True:
                for low, high in todo:
                    possible, axis = _possible(problem, low, high)
                    boxes += 1
                    if possible > best.count:
                        best.offer((low + high) / 2)
                        heapq.heappush(open_boxes, (-possible, next(order), low, high, axis))
                todo = []
                upper = max([best.count, *(-box[0] for box in open_boxes[:1])])
                if upper <= best.count or limit.is_over:
                    return upper, boxes
                todo = _halves(*open_boxes[0][2:])
                heapq.heappop(open_boxes)
        except OutOfTime:
            return upper, boxes


def _possible(problem: SharedProblem, low: Tensor, high: Tensor) -> tuple[int, int]:
    """(how many samples may be fooled in a part of the ball, the input to be halved). Norms are absolute, so that a box
    of which the point nearest to zero lies outside the ball has nothing of it."""
    if not bool(problem.ball.double().contains(torch.zeros_like(low).clamp(low, high)[None])[0]):
        return 0, 0
    relaxation = SharedRelaxation(problem, (low, high))
    lines = relaxation.first()
    is_open = ~(lines.most(relaxation.ball) < 0)
    samples = torch.unique(lines.owner[is_open])
    change = lines.slope[is_open].abs().sum(0) * (high - low).flatten()
    return len(samples), int(change.argmax()) if len(change) else 0


def _halves(low: Tensor, high: Tensor, axis: int) -> list[tuple[Tensor, Tensor]]:
    """Both halves of a box across an input."""
    middle = float((low.flatten()[axis] + high.flatten()[axis]) / 2)
    below, above = high.clone(), low.clone()
    below.view(-1)[axis], above.view(-1)[axis] = middle, middle
    return [(low, below), (above, high)]
