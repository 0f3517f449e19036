"""Linear maximisation and projection over {d : ||d||_p <= eps, down <= d <= up} with down <= 0 <= up, row by row.

All tensors are (..., size) and the last axis is one vector; `down` and `up` broadcast against the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEWTON_STEPS = 100


def clamp(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x moved into [low, high], which may broadcast; high wins where they cross."""
    return torch.minimum(torch.maximum(x, low), high)


def knapsack(a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
    """argmax of a . d over the L1 ball and the range: a fractional knapsack, filled in the order of |a|."""
    capacity = torch.where(a >= 0, up, -down)
    order = a.abs().argsort(dim=-1, descending=True, stable=True)
    ranked = capacity.gather(-1, order)
    used_before = ranked.cumsum(-1) - ranked
    fill = torch.minimum(ranked, (eps - used_before).clamp(min=0))
    return torch.zeros_like(a).scatter(-1, order, fill) * a.sign()


def threshold(a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
    """The point nearest to a in the L1 ball and the range: clamp(sign(a) max(|a| - m, 0)) for the least m >= 0 that
    fits (KKT), found by Newton's method on the norm, which is piecewise linear in m, kept in a bracket."""
    size, capacity = a.abs(), torch.where(a >= 0, up, -down)
    low, high = torch.zeros_like(size[..., :1]), size.amax(-1, keepdim=True)
    m = low
    for _ in range(NEWTON_STEPS):
        excess = torch.minimum((size - m).clamp(min=0), capacity).sum(-1, keepdim=True) - eps
        if bool((excess <= 1e-13 * eps).logical_and((m == 0) | (excess >= -1e-13 * eps)).all()):
            break
        low, high = torch.where(excess > 0, m, low), torch.where(excess > 0, high, m)
        moving = ((size > m) & (size - m < capacity)).sum(-1, keepdim=True)
        step = m + excess / moving
        m = torch.where((step > low) & (step < high), step, (low + high) / 2)
    return clamp(a.sign() * (size - m).clamp(min=0), down, up)


def scaled(a: Tensor, down: Tensor, up: Tensor, eps: float, limit: float = torch.inf) -> Tensor:
    """clamp(s a) for the largest s <= limit at which its L2 norm is at most eps.

    With limit = 1 it is the point nearest to a in the L2 ball and the range, without one the argmax of a . d (KKT).
    """
    if eps == 0:
        return torch.zeros_like(a)
    largest, unit, down, up = _relative(a, down, up, eps)
    return eps * _clamped(unit, down, up, _root(unit, down, up, limit * largest / eps))


def support_l2(a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
    """max of a . d over the L2 ball and the range, (...): the Lagrangian dual at the multiplier m of the norm,
    m eps^2 / 2 + sum_i max over the range of (a_i d_i - m d_i^2 / 2).

    Sound because any m >= 0 gives an upper bound (weak duality); trusts float rounding.
    """
    if eps == 0:
        return torch.zeros_like(a[..., 0])
    largest, unit, down, up = _relative(a, down, up, eps)
    root = _root(unit, down, up, torch.full_like(largest, torch.inf))
    delta, m = _clamped(unit, down, up, root), 1 / root
    inner = unit * delta - m * delta.square() / 2
    return eps * (largest * (inner.sum(-1, keepdim=True) + m / 2)).squeeze(-1)


def _relative(a: Tensor, down: Tensor, up: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(largest |a|, a / largest, down / eps, up / eps): scales at which squares neither overflow nor vanish."""
    largest = a.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
    return largest, a / largest, down / eps, up / eps


def _clamped(unit: Tensor, down: Tensor, up: Tensor, root: Tensor) -> Tensor:
    return torch.where(unit == 0, 0, clamp(unit * root, down, up))


def _root(unit: Tensor, down: Tensor, up: Tensor, limit: Tensor) -> Tensor:
    """The largest r <= limit with ||clamp(r unit)||_2 <= 1, inf if the range alone keeps it in the ball; (..., 1).

    In t = r^2 the squared norm, sum of min(t unit^2, range^2), is concave and piecewise linear: Newton's method from
    t = 0 rises to the root without passing it and is there once no more entries reach their range.
    """
    square, capacity = unit.square(), torch.where(unit >= 0, up, down).square()
    t = torch.zeros_like(limit)
    bound = torch.zeros_like(unit, dtype=torch.bool)
    for _ in range(unit.shape[-1] + 1):
        free = torch.where(bound, 0, square).sum(-1, keepdim=True)
        rest = 1 - torch.where(bound, capacity, 0).sum(-1, keepdim=True)
        step = torch.where(free > 0, rest.clamp(min=0) / free, torch.inf)
        t = torch.maximum(t, step).minimum(limit.square())
        reached = t * square >= capacity
        reached &= square > 0
        if bool((reached == bound).all()):
            break
        bound = reached
    return t.sqrt()
