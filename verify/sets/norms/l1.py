"""L1: the sum of the changes of all coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from verify.registry import NormEntry
from verify.sets.norms.base import RoundNorm, above, clamp

NEWTON_STEPS = 100


@NormEntry(name="l1", place=30, help="the sum of all changes")
class L1(RoundNorm):
    """sum |d_i|; its dual is Linf.

    Steps of attacks go toward the maximiser. Those along the largest entries of the gradient (SLIDE, Tramer and Boneh
    2019) need the right sparsity and still find less in the same number of steps.
    """

    euclidean: ClassVar[bool] = True
    taxicab: ClassVar[bool] = True

    def measure(self, d: Tensor) -> Tensor:
        return torch.linalg.vector_norm(d, 1, dim=-1)

    def dual(self, a: Tensor) -> Tensor:
        return a.abs().amax(-1)

    def holds(self, d: Sequence[Fraction], eps: Fraction) -> bool:
        return sum(d) <= eps

    def distance(self, d: Sequence[Fraction]) -> float:
        return above(sum(d, Fraction(0)))

    def of_ones(self, size: int) -> int:
        return size

    def support(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        """Sound because the knapsack's greedy filling is optimal; trusts float rounding."""
        return (a * knapsack(a, down, up, eps)).sum(-1)

    def maximiser(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        return knapsack(a, down, up, eps)

    def nearest(self, d: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        return threshold(d, down, up, eps)

    def shortest(self, a: Tensor, wanted: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """The knapsack again, filled until what it gains is what is wanted."""
        capacity, order = torch.where(a >= 0, up, -down), a.abs().argsort(dim=-1, descending=True, stable=True)
        steep, room = a.abs().gather(-1, order), capacity.gather(-1, order)
        gained = (steep * room).cumsum(-1)
        missing = (wanted - (gained - steep * room)).clamp(min=0)
        fill = torch.where(steep > 0, torch.minimum(room, missing / steep), 0)
        return torch.zeros_like(a).scatter(-1, order, fill) * a.sign()

    def within(self, d: Any, down: np.ndarray, up: np.ndarray, eps: float) -> Any:
        import cvxpy

        return cvxpy.norm(d, 1) <= eps


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
    m, near = low, max(64 * torch.finfo(a.dtype).eps, 1e-13) * eps
    for _ in range(NEWTON_STEPS):
        excess = torch.minimum((size - m).clamp(min=0), capacity).sum(-1, keepdim=True) - eps
        if bool((excess <= near).logical_and((m == 0) | (excess >= -near)).all()):
            break
        low, high = torch.where(excess > 0, m, low), torch.where(excess > 0, high, m)
        moving = ((size > m) & (size - m < capacity)).sum(-1, keepdim=True)
        step = m + excess / moving
        m = torch.where((step > low) & (step < high), step, (low + high) / 2)
    return clamp(a.sign() * (size - m).clamp(min=0), down, up)
