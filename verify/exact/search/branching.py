"""Which neurons of a domain are worth splitting, and where."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ops.base import IntervalBounds
from verify.upper.duals.descent import Optimised
from verify.upper.duals.dual import Dual


def candidates(dual: Dual, optimised: Optimised, count: int) -> Tensor:
    """The tracked entries of each domain whose relaxation costs the row most, (rows, count) long, -1 where none is
    left.

    The two measures of `costs` take turns. Where one is no number, as values overflow, the widest range with two ends
    comes first.
    """
    unstable = dual.unstable(optimised.domains.low, optimised.domains.high)
    width = (optimised.domains.high - optimised.domains.low).nan_to_num(0.0, 0.0)
    first = width / F.pad(width, (0, 1), value=1.0).amax(1, keepdim=True) * torch.finfo(width.dtype).max
    found = []
    for cost in costs(dual, optimised):
        cost = cost.where(cost.isfinite(), first)
        top = cost.masked_fill(~unstable, -torch.inf).topk(min(count, cost.shape[1]), 1)
        found.append(torch.where(top.values > -torch.inf, top.indices, -1))
    turns = torch.stack(found, 2).flatten(1)
    return _distinct(F.pad(turns, (0, max(0, count - turns.shape[1])), value=-1), count)


def costs(dual: Dual, optimised: Optimised) -> tuple[Tensor, Tensor]:
    """What the relaxation of each tracked entry costs the row, in two measures (rows, U).

    The first is what the fixed line of a neuron may add to the bound: its coefficient times the line's height above the
    function at the breakpoint, as in BaBSR (Bunel et al. 2020, section 5). The second is the error at the point where
    the bound is attained: the coefficient times the distance from line to function.
    """
    domains = optimised.domains
    height, error = torch.zeros_like(domains.low), torch.zeros_like(domains.low)
    at = dual.at[domains.owner]
    for layer in dual.layers.values():
        span = layer.span
        box = IntervalBounds(domains.low[:, span], domains.high[:, span])
        z = optimised.primal.z[:, span] + at[:, span]
        height[:, span], error[:, span] = layer.costs(box, optimised.a[:, span], z, domains.slope[:, span])
    return height, error


def split_points(dual: Dual, entry: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where to split the ranges (n,) of these tracked entries (n,): at a breakpoint inside, else in the middle, where a
    range without end is taken to end beyond twice its other end; a number in any case, (n,)."""
    least = low.where(low.isfinite(), 2 * high.clamp(max=0.0) - 2)
    most = high.where(high.isfinite(), 2 * low.clamp(min=0.0) + 2)
    point = least.nan_to_num() / 2 + most.nan_to_num() / 2
    for layer in dual.layers.values():
        for breakpoint in layer.op.linear_breakpoints:
            here = (entry >= layer.span.start) & (entry < layer.span.stop)
            point = torch.where(here & (low < breakpoint) & (breakpoint < high), breakpoint, point)
    return point


def _distinct(tracked: Tensor, count: int) -> Tensor:
    """The first `count` distinct entries of every row, -1 filling up."""
    n = tracked.shape[1]
    earlier = torch.ones((n, n), dtype=torch.bool, device=tracked.device).tril(-1)
    repeated = ((tracked[:, :, None] == tracked[:, None, :]) & earlier).any(2)
    tracked = tracked.masked_fill(repeated, -1)
    order = (tracked < 0).long().argsort(dim=1, stable=True)
    return tracked.gather(1, order)[:, :count]
