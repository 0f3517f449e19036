"""Changes of at most eps a coordinate, and of at most so many times eps in all: few coordinates go all the way."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.errors import UnsupportedMethod
from verify.rationals import exact_array, rational
from verify.registry import SetEntry
from verify.sets.base import InputSet
from verify.sets.box import Box
from verify.sets.norms.l1 import L1
from verify.sets.samples import Samples

ONE = np.array(Fraction(1), dtype=object)
SHARES = (0.0, *(10.0**-k for k in range(7, 0, -1)), 1.0)  # of the way to the sample, until a member is met


@SetEntry(name="budget", place=50, help="budget:K (sum of changes at most K)", example="budget:2")
class Budget(InputSet):
    """{x in box : ||x - center||_1 <= limit}, the box around the center; center (batch, *shape)."""

    def __init__(self, box: Box, center: Tensor, limit: Fraction):
        self.box, self.center, self.limit = box, center, limit
        self.low, self.high = box.low, box.high

    @classmethod
    def around(cls, argument: str, samples: Samples) -> Budget:
        """Changes d with |d_i| <= 1 and sum |d_i| <= K, times eps."""
        return cls(Box.moved(-ONE, ONE, samples), samples.x, samples.eps * rational(argument, "budget"))

    @property
    def facts(self) -> tuple[Any, ...]:
        return self.center, self.limit

    def support(self, a: Tensor) -> Tensor:
        """Sound because `L1.support` is; trusts float rounding."""
        centers = (a * self.center[:, None]).flatten(2).sum(2)
        down, up = (end[:, None] for end in self._room())
        return centers + L1().support(a.flatten(2), down, up, float(self.limit))

    def maximiser(self, a: Tensor) -> Tensor:
        delta = L1().maximiser(a.flatten(1), *self._room(), float(self.limit))
        return self.project(self.center + delta.reshape(a.shape))

    def project(self, x: Tensor) -> Tensor:
        down, up = (end.double() for end in self._room())
        delta = L1().nearest((x.double() - self.center).flatten(1), down, up, float(self.limit)).reshape(x.shape)
        out, settled = x.clone(), self.contains(x)
        for share in SHARES:
            near = self.box.project((self.center + (1 - share) * delta).to(x))
            inside = self.contains(near) & ~settled
            out[inside] = near[inside]
            settled |= inside
        return out

    def contains(self, x: Tensor) -> Tensor:
        inside = self.box.contains(x)
        away = abs(self.box.preimage(x) - exact_array(self.center)).reshape(self.batch, -1).sum(1)
        return inside & torch.tensor([size <= self.limit for size in away], dtype=torch.bool)

    def nominal(self) -> Tensor:
        return self.center

    def select(self, index: Tensor) -> Budget:
        return Budget(self.box.select(index), self.center[index], self.limit)

    def to(self, device: torch.device | str) -> Budget:
        return Budget(self.box.to(device), self.center.to(device), self.limit)

    def double(self) -> Budget:
        return Budget(self.box.double(), self.center.double(), self.limit)

    def linear_rows(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        raise UnsupportedMethod("LP and MILP take boxes and polytopes, not budgets; use CROWN or PGD")

    def _room(self) -> tuple[Tensor, Tensor]:
        """How far each coordinate may go down (<= 0) and up (>= 0); both (batch, size)."""
        return (self.low - self.center).flatten(1).clamp(max=0), (self.high - self.center).flatten(1).clamp(min=0)
