"""The largest Euclidean length of a pair of neighbouring coordinates, such as the two channels of a signal."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from verify.registry import NormEntry
from verify.sets.norms.base import RoundNorm, above_root
from verify.sets.norms.l2 import L2

PAIR = 2
EUCLID = L2()


@NormEntry(name="pairs", place=40, help="the largest Euclidean length of a pair of neighbouring coordinates")
class Pairs(RoundNorm):
    """max over pairs of ||(d_2k, d_2k+1)||_2; its dual is the sum of the lengths. The last of an odd is alone."""

    stable: ClassVar[int | None] = None

    def measure(self, d: Tensor) -> Tensor:
        return EUCLID.measure(_pairs(d)).amax(-1)

    def dual(self, a: Tensor) -> Tensor:
        return EUCLID.dual(_pairs(a)).sum(-1)

    def holds(self, d: Sequence[Fraction], eps: Fraction) -> bool:
        return all(square <= eps**2 for square in _squares(d))

    def distance(self, d: Sequence[Fraction]) -> float:
        return max(map(above_root, _squares(d)), default=0.0)

    def of_ones(self, size: int) -> Fraction | int:
        return 1 if size == 1 else Fraction(above_root(Fraction(PAIR)))

    def support(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        """Sound because the maximum over a product is the sum of those over its factors; trusts float rounding."""
        return EUCLID.support(_pairs(a), _pairs(down), _pairs(up), eps).sum(-1)

    def maximiser(self, a: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        return _flat(EUCLID.maximiser(_pairs(a), _pairs(down), _pairs(up), eps), a)

    def nearest(self, d: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        return _flat(EUCLID.nearest(_pairs(d), _pairs(down), _pairs(up), eps), d)

    def within(self, d: Any, down: np.ndarray, up: np.ndarray, eps: float) -> Any:
        import cvxpy

        return cvxpy.maximum(*(cvxpy.norm(d[k : k + PAIR], 2) for k in range(0, d.size, PAIR)), 0) <= eps

    def steepest(self, a: Tensor) -> Tensor:
        return _flat(EUCLID.steepest(_pairs(a)), a)


def _pairs(d: Tensor) -> Tensor:
    """(..., size) -> (..., pairs, 2), a missing last entry 0."""
    return F.pad(d, (0, d.shape[-1] % PAIR)).unflatten(-1, (-1, PAIR))


def _flat(d: Tensor, like: Tensor) -> Tensor:
    return d.flatten(-2)[..., : like.shape[-1]]


def _squares(d: Sequence[Fraction]) -> list[Fraction]:
    return [sum((x * x for x in d[k : k + PAIR]), Fraction(0)) for k in range(0, len(d), PAIR)]
