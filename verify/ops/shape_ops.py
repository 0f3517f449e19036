"""Affine ops that move, copy, add or rescale entries."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

import torch
from torch import Tensor

from verify.ops.affine import Affine
from verify.ops.base import Example, Interval, Parameters, register
from verify.rationals import unit_fraction


@register(lambda op: [Example(op((3, 2)), (), ((6,),)), Example(op((12,)), (), ((3, 2, 2),))])
@dataclass(frozen=True)
class Reshape(Affine):
    """The same entries in another shape (batch axis excluded)."""

    shape: tuple[int, ...]
    is_monotone = True
    is_move = True

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return a.reshape(a.shape[0], *shape)


@register(lambda op: [Example(op((1, 0)), (), ((2, 3),)), Example(op((2, 0, 1)), (), ((2, 3, 4),))])
@dataclass(frozen=True)
class Permute(Affine):
    """Axes in another order; order[i] is the input axis at output axis i, batch axis excluded."""

    order: tuple[int, ...]
    is_monotone = True
    is_move = True

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x.permute(0, *(i + 1 for i in self.order))

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return a.permute(0, *(i + 1 for i in inverse))


@register(lambda op: [
    Example(op(), (torch.tensor([[0, 2], [2, 5]]),), ((6,),)),
    Example(op(), (torch.tensor([-1, 3, 1, -1]),), ((2, 2),)),
])
@dataclass(frozen=True)
class Select(Affine):
    """output = flattened input[index], 0 where index is -1; parameter: index, long, of the output's shape.

    Slice, gather, expand, zero padding and nearest-neighbour resize are all this op.
    """

    is_monotone = True

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        index = p[0].reshape(-1)
        picked = x.flatten(1)[:, index.clamp(min=0)]
        return torch.where(index >= 0, picked, 0).reshape(x.shape[0], *p[0].shape)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        index = p[0].reshape(-1)
        kept = torch.where(index >= 0, a.flatten(1), 0)
        out = torch.zeros((a.shape[0], prod(shape)), dtype=a.dtype, device=a.device)
        return out.index_add(1, index.clamp(min=0), kept).reshape(a.shape[0], *shape)


@register(lambda op: [Example(op(0, (2, 3)), (), ((2, 2), (3, 2))), Example(op(1, (1, 2)), (), ((2, 1), (2, 2)))])
@dataclass(frozen=True)
class Concat(Affine):
    """Arguments side by side along `axis` (batch excluded); `sizes` are their lengths there."""

    axis: int
    sizes: tuple[int, ...]
    is_monotone = True
    is_move = True

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return torch.cat(xs, self.axis + 1)

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        before, after = sum(self.sizes[:k]), sum(self.sizes[k + 1 :])
        ends = [torch.zeros(self._with_length(x, n), dtype=x.dtype, device=x.device) for n in (before, after)]
        return torch.cat([ends[0], x, ends[1]], self.axis + 1)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return a.narrow(self.axis + 1, sum(self.sizes[:k]), self.sizes[k])

    def _with_length(self, x: Tensor, length: int) -> tuple[int, ...]:
        return (*x.shape[: self.axis + 1], length, *x.shape[self.axis + 2 :])


@register(lambda op: [
    Example(op((1, 2), False, True), (), ((3, 2, 2),)),
    Example(op((0,), True, False), (), ((3, 2),)),
])
@dataclass(frozen=True)
class Sum(Affine):
    """Sum, or mean, over axes (batch excluded)."""

    axes: tuple[int, ...]
    keepdim: bool
    mean: bool
    is_monotone = True

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        dims = tuple(i + 1 for i in self.axes)
        return x.mean(dims, self.keepdim) if self.mean else x.sum(dims, self.keepdim)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        kept = tuple(1 if i in self.axes else n for i, n in enumerate(shape))
        spread = a.reshape(a.shape[0], *kept).expand(a.shape[0], *shape)
        return spread / prod(shape[i] for i in self.axes) if self.mean else spread

    def coefficient(self, entry: float) -> Fraction:
        return unit_fraction(entry)


@register(lambda op: [Example(op((1, 1)), (), ((2, 3), (2, 3))), Example(op((1, -1, 1)), (), ((4,), (4,), (4,)))])
@dataclass(frozen=True)
class Add(Affine):
    """Sum of arguments of one shape, each with its sign (+1 or -1)."""

    signs: tuple[int, ...]

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x if self.signs[k] > 0 else -x

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self.linear(p, k, a)

    def absolute(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x

    def interval(self, p: Parameters, *boxes: Interval) -> Interval:
        """Sound because a sum is extreme where every term is; trusts float rounding."""
        facing = [box if sign > 0 else Interval(box.high, box.low) for sign, box in zip(self.signs, boxes, strict=True)]
        return Interval(self.forward(p, *(b.low for b in facing)), self.forward(p, *(b.high for b in facing)))


@register(lambda op: [
    Example(op(), (torch.tensor([[2.0], [-0.5]]),), ((2, 3),)),
    Example(op(), (torch.tensor(-3.0),), ((4,),)),
])
@dataclass(frozen=True)
class Scale(Affine):
    """Entrywise product with a constant; parameter: factor, broadcastable to the input's shape."""

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x * p[0]

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return a * p[0]


@register(lambda op: [Example(op(), (torch.tensor([[1.5], [-0.5]]),), ((2, 3),))])
@dataclass(frozen=True)
class Shift(Affine):
    """Entrywise sum with a constant; parameter: offset, broadcastable to the input's shape."""

    is_monotone = True

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return a

    def bias(self, p: Parameters) -> Tensor | None:
        return p[0]
