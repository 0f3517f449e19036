"""What float32 says is confirmed in float64 before it verifies anything."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from verify.deadline import deadline, within
from verify.problem import Problem

FIRST = 0.4  # of the time that is left, for float32; float64 takes about twice as long
SHARE = 2.0**-20  # of the change from float32 to float64 that is added; float64's rounding is 2^-29 of float32's


def confirmed(problem: Problem, bound: Callable[[Problem], Tensor]) -> Tensor:
    """Upper bounds of every case by `bound`, the negative ones computed again in float64; float64 (cases,).

    The second computation takes the network as it was read, in float64 throughout, and is `guarded`. A NaN is kept and
    verifies nothing.
    """
    is_last = problem.network.dtype == torch.float64
    with within(deadline().part(1.0 if is_last else FIRST)):
        upper = bound(problem).double()
    claimed = (upper < 0).nonzero().flatten()
    if is_last or not len(claimed):
        return upper
    upper[claimed] = guarded(upper[claimed], bound(problem.select(claimed).wide.merged))
    return upper


def guarded(first: Tensor, again: Tensor) -> Tensor:
    """A bound computed `again` in float64, moved up by what float64's rounding may have cost.

    Its difference to the first computation, in float32, measures float32's rounding error on this very problem,
    cancellation included; a share of it that is 500 times what float64 leaves of that error is added.
    """
    return again + SHARE * (again - first).abs()
