"""L2: the Euclidean length of the change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from verify.registry import NormEntry
from verify.sets.norms.base import RoundNorm, above_root, along, clamp


@NormEntry(name="l2", place=20, help="the Euclidean length of the change")
class L2(RoundNorm):
    """The root of the sum of d_i^2; its own dual."""

    stable: ClassVar[int | None] = 2
    euclidean: ClassVar[bool] = True

    def measure(self, d: Tensor) -> Tensor:
        return torch.linalg.vector_norm(d, 2, dim=-1)

    def dual(self, a: Tensor) -> Tensor:
        return torch.linalg.vector_norm(a, 2, dim=-1)

    def holds(self, d: Sequence[Fraction], eps: Fraction) -> bool:
        return sum(x * x for x in d) <= eps**2

    def distance(self, d: Sequence[Fraction]) -> float:
        return above_root(sum((x * x for x in d), Fraction(0)))

    def of_ones(self, size: int) -> int:
        return math.isqrt(size - 1) + 1

    def support(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        """The Lagrangian dual at the multiplier m of the norm, m eps^2 / 2 + sum_i max over the range of
        (a_i d_i - m d_i^2 / 2).

        Sound because any m >= 0 gives an upper bound (weak duality); trusts float rounding.
        """
        if eps == 0:
            return torch.zeros_like(a[..., 0])
        largest, unit, down, up = _relative(a, down, up, eps)
        root = _root(unit, down, up, torch.full_like(largest, torch.inf))
        delta, m = _clamped(unit, down, up, root), 1 / root
        inner = unit * delta - m * delta.square() / 2
        return eps * (largest * (inner.sum(-1, keepdim=True) + m / 2)).squeeze(-1)

    def maximiser(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        return scaled(a, down, up, eps)

    def nearest(self, d: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        return scaled(d, down, up, eps, 1.0)

    def shortest(self, a: Tensor, wanted: Tensor, down: Tensor, up: Tensor) -> Tensor:
        largest = a.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
        return along(a, a.abs() / largest, wanted, down, up)

    def within(self, d: Any, down: np.ndarray, up: np.ndarray, eps: float) -> Any:
        import cvxpy

        return cvxpy.norm(d, 2) <= eps

    def steepest(self, a: Tensor) -> Tensor:
        """The gradient, normalised."""
        flat = a / a.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
        return flat / flat.norm(dim=-1, keepdim=True).clamp(min=1)


def scaled(a: Tensor, down: Tensor, up: Tensor, eps: float, limit: float = torch.inf) -> Tensor:
    """clamp(s a) for the largest s <= limit at which its L2 norm is at most eps.

    With limit = 1 it is the point nearest to a in the L2 ball and the range, without one the argmax of a . d (KKT).
    """
    if eps == 0:
        return torch.zeros_like(a)
    largest, unit, down, up = _relative(a, down, up, eps)
    return eps * _clamped(unit, down, up, _root(unit, down, up, limit * largest / eps))


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
