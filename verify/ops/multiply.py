"""Products: how the entries of two varying values pair up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.ops.base import Example, register
from verify.ops.product import Product, Shape

PRODUCTS = 1 << 22  # of entries formed at once, for intervals


@register(lambda op: [Example(op((3,)), (), ((6,),)), Example(op((2, 2)), (), ((8,),))])
@dataclass(frozen=True)
class Multiply(Product):
    """x y, entry by entry, of two values of one shape."""

    shape: Shape

    @property
    def left(self) -> Shape:
        return self.shape

    @property
    def right(self) -> Shape:
        return self.shape

    @property
    def terms(self) -> int:
        return 1

    def times(self, x: Any, y: Any) -> Any:
        return x * y

    def times_left(self, a: Tensor, y: Tensor) -> Tensor:
        return a * y

    def times_right(self, a: Tensor, x: Tensor) -> Tensor:
        return a * x

    def pairs(self) -> np.ndarray:
        return np.repeat(np.arange(prod(self.shape))[:, None], 3, 1)

    def corners(self, low: tuple[Tensor, Tensor], high: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return _extremes(low[0], high[0], low[1], high[1])


@register(lambda op: [Example(op((2, 2), (2, 1)), (), ((6,),)), Example(op((2, 1, 2), (2, 2, 1)), (), ((8,),))])
@dataclass(frozen=True)
class MatMul(Product):
    """Matrix products of (..., n, k) and (..., k, m), with the same leading axes."""

    first: Shape
    second: Shape

    @property
    def left(self) -> Shape:
        return self.first

    @property
    def right(self) -> Shape:
        return self.second

    @property
    def terms(self) -> int:
        return sum(self.first[-2:]) + self.second[-1]

    def fits(self, given: Sequence[Shape], shape: Shape) -> bool:
        alike = self.first[:-2] == self.second[:-2] and self.first[-1] == self.second[-2]
        return alike and super().fits(given, shape)

    def times(self, x: Any, y: Any) -> Any:
        return x @ y

    def times_left(self, a: Tensor, y: Tensor) -> Tensor:
        return a @ y.mT

    def times_right(self, a: Tensor, x: Tensor) -> Tensor:
        return x.mT @ a

    def pairs(self) -> np.ndarray:
        lead, (n, k), m = self.first[:-2], self.first[-2:], self.second[-1]
        b, i, j, t = (axis.ravel() for axis in np.indices((prod(lead), n, m, k)))
        return np.stack([(b * n + i) * m + j, (b * n + i) * k + t, (b * k + t) * m + j], 1)

    def corners(self, low: tuple[Tensor, Tensor], high: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Sums of extreme products, so many at once as fit into memory."""
        (a, c), (b, d) = low, high
        step, found = max(1, PRODUCTS // max(1, len(a) * prod(self.first[:-1]) * self.second[-1])), []
        for start in range(0, self.first[-1], step):
            part = slice(start, start + step)
            x, y = ([end[..., part, None] for end in (a, b)], [end[..., None, part, :] for end in (c, d)])
            found.append([end.sum(-2) for end in _extremes(*x, *y)])
        least, most = (torch.stack(ends).sum(0) for ends in zip(*found, strict=True))
        return least, most


def _extremes(low: Tensor, high: Tensor, other_low: Tensor, other_high: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest product of numbers of two ranges."""
    ends = torch.stack([low * other_low, low * other_high, high * other_low, high * other_high])
    return ends.amin(0), ends.amax(0)
