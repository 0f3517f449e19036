"""L0: how many coordinates change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from verify.registry import NormEntry
from verify.sets.norms.base import RoundNorm, above, clamp

NARROW = 1e-9  # of the widest range: the changes of narrower ones are free in the convex hull


@NormEntry(name="l0", place=35, help="how many coordinates change, each anywhere in the clip")
class L0(RoundNorm):
    """The number of d_i that are not 0: a ball is the union of the boxes in which at most eps coordinates vary.

    Each channel of a pixel is a coordinate. What a linear function gains on a ball is the sum of its largest gains on
    single coordinates, so linear bounds and searches over neurons hold as they do of convex balls.
    """

    counts: ClassVar[bool] = True

    def measure(self, d: Tensor) -> Tensor:
        count = (d != 0).sum(-1).to(d)
        return torch.where(d.isnan().any(-1), torch.nan, count)

    def dual(self, a: Tensor) -> Tensor:
        """The largest |a_i|: what one change of size 1 gains, which is no maximum over the ball without a range."""
        return a.abs().amax(-1)

    def holds(self, d: Sequence[Fraction], eps: Fraction) -> bool:
        return sum(x != 0 for x in d) <= eps

    def distance(self, d: Sequence[Fraction]) -> float:
        return above(Fraction(sum(x != 0 for x in d)))

    def of_ones(self, size: int) -> int:
        return size

    def across(self, width: Fraction, size: int) -> Fraction:
        return Fraction(size)

    def radius(self, eps: Fraction) -> Fraction:
        """Of 3.7 coordinates 3 may change."""
        return Fraction(math.floor(eps))

    def support(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        """The sum of the eps largest gains of single coordinates.

        Sound because coordinates gain apart from each other, so that no choice of eps of them gains more than those
        that gain most; trusts float rounding.
        """
        return gains(a, down, up).topk(_count(eps, a), dim=-1).values.sum(-1)

    def maximiser(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        radius = torch.full_like(a[..., :1], eps)
        return torch.where(_largest(gains(a, down, up), radius) & (a != 0), torch.where(a > 0, up, down), 0)

    def nearest(self, d: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        return self.closest(d, down, up, torch.full_like(d[..., :1], eps))

    def closest(self, d: Tensor, down: Tensor, up: Tensor, radius: Tensor) -> Tensor:
        """Of the changes, met with the range, those stay that come nearest: d^2 - (d - c)^2 is what c saves."""
        inside = clamp(d, down, up)
        saved = torch.where(inside == 0, 0, inside * (2 * d - inside))
        return torch.where(_largest(saved, radius), inside, 0)

    def shortest(self, a: Tensor, wanted: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """The coordinates that gain most, one after the other, until what they gain is what is wanted."""
        ranked, order = gains(a, down, up).sort(dim=-1, descending=True, stable=True)
        missing = (wanted - (ranked.cumsum(-1) - ranked)).clamp(min=0)
        share = torch.where(ranked > 0, (missing / ranked).clamp(max=1), 0)
        return torch.zeros_like(a).scatter(-1, order, share) * torch.where(a > 0, up, down)

    def within(self, d: Any, down: np.ndarray, up: np.ndarray, eps: float) -> Any:
        """The convex hull: changes as shares of their ranges add up to at most eps."""
        import cvxpy

        narrow = NARROW * max(up.max(initial=0.0), -down.min(initial=0.0))
        shares = [np.where(far > narrow, 1 / np.where(far > narrow, far, 1), 0) for far in (up, -down)]
        return cvxpy.sum(cvxpy.maximum(cvxpy.multiply(shares[0], d), -cvxpy.multiply(shares[1], d))) <= eps


def gains(a: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """max of a_i d_i over the range of each coordinate, (..., size)."""
    return torch.where(a == 0, 0, torch.maximum(a * down, a * up))


def _count(radius: float, like: Tensor) -> int:
    return int(min(radius, like.shape[-1]))


def _largest(values: Tensor, radius: Tensor) -> Tensor:
    """Which of the values (..., size) are among the `radius` (..., 1) largest, of equal ones the first; bool."""
    order = values.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(values.shape[-1], device=values.device).expand_as(order)
    rank = torch.zeros_like(order).scatter(-1, order, places)
    return rank < radius.floor()
