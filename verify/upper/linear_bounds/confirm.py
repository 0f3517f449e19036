"""What float32 rules out need not be bounded in float64, in which a bound is what it says."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from verify.deadline import deadline, within
from verify.problem import Problem

FIRST = 0.4  # of the time that is left, for float32; float64 takes about twice as long


def confirmed(problem: Problem, bound: Callable[[Problem], Tensor]) -> Tensor:
    """Upper bounds in float64 of the cases that `bound` sinks below 0 in the search's own precision, (cases,); inf for
    the others, which are not bounded again.

    Sound where `bound` is on `problem.in_float64`; what float32 says bounds nothing.
    """
    with within(deadline().part(FIRST)):
        claimed = (bound(problem) < 0).nonzero().flatten()
    upper = torch.full((problem.cases,), torch.inf, dtype=torch.float64, device=problem.owner.device)
    if len(claimed):
        upper[claimed] = bound(problem.in_float64.merged.select(claimed))
    return upper
