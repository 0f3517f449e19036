"""Affine ops that move, copy, add or rescale entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Self

import numpy as np
import torch
from torch import Tensor

from verify.ops.affine import Affine
from verify.ops.base import PLACE, Example, IntervalBounds, Op, Parameters, Reach, register
from verify.rationals import exact_array, unit_fraction


@register(lambda op: [Example(op((3, 2)), (), ((6,),)), Example(op((12,)), (), ((3, 2, 2),))])
@dataclass(frozen=True)
class Reshape(Affine):
    """The same entries in another shape (batch axis excluded)."""

    shape: tuple[int, ...]
    is_monotone = True
    is_move = True
    mixes = False
    with_gradient = Affine.by_adjoint

    @property
    def keeps_order(self) -> bool:
        return True

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
    mixes = False
    with_gradient = Affine.by_adjoint

    @property
    def keeps_order(self) -> bool:
        return self.order == tuple(range(len(self.order)))

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

    @property
    def picks(self) -> bool:
        return True

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        index = p[0].reshape(-1)
        picked = x.reshape(len(x), prod(x.shape[1:]))[:, index.clamp(min=0)]
        return torch.where(index >= 0, picked, 0).reshape(x.shape[0], *p[0].shape)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        index, size = p[0].reshape(-1), prod(shape)
        out = torch.zeros((a.shape[0], size + 1), dtype=a.dtype, device=a.device)  # the last one for what is no entry
        out = out.index_add(1, torch.where(index >= 0, index, size), a.reshape(len(a), prod(a.shape[1:])))
        return out[:, :size].reshape(a.shape[0], *shape)


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

    @property
    def summed(self) -> tuple[int, ...] | None:
        return self.signs

    def fits(self, given: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> bool:
        return tuple(given) == (shape,) * len(self.signs)

    def reach(self, p: Parameters) -> Reach | None:
        return PLACE

    def terms(self, p: Parameters, inputs: Sequence[int], outputs: int) -> int:
        return len(inputs)

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x if self.signs[k] > 0 else -x

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self.linear(p, k, a)

    def absolute(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Sound because a sum is extreme where every term is; trusts float rounding."""
        pairs = zip(self.signs, boxes, strict=True)
        facing = [box if sign > 0 else IntervalBounds(box.high, box.low) for sign, box in pairs]
        return IntervalBounds(self.forward(p, *(b.low for b in facing)), self.forward(p, *(b.high for b in facing)))


@dataclass(frozen=True)
class Entrywise(Affine):
    """An entrywise operation with a constant; parameter: the constant, with as many entries as `shape` has.

    `shape` has an axis for each of the value's, of its length or of length 1, so that which entry of the constant
    meets which entries of the value is stated when the network is read and never guessed at from lengths.
    """

    shape: tuple[int, ...]
    mixes = False

    def reach(self, p: Parameters) -> Reach | None:
        return PLACE if len(self.shape) == 3 and self.shape[1:] == (1, 1) else None

    def terms(self, p: Parameters, inputs: Sequence[int], outputs: int) -> int:
        return 1

    def by_channel(self, p: Parameters, shape: tuple[int, ...], axis: int) -> tuple[Tensor, Tensor] | None:
        if any(n != 1 for i, n in enumerate(self.shape) if i != axis):
            return None
        one = p[0].new_ones((1, *(n if i == axis else 1 for i, n in enumerate(shape))))
        bias = self.bias(p)
        offset = p[0].new_zeros(()) if bias is None else bias.flatten()
        return self.linear(p, 0, one).flatten(), offset.expand(shape[axis])

    @classmethod
    def broadcast(cls, constant: tuple[int, ...], value: tuple[int, ...]) -> Self:
        """The op for a constant of one shape and a value of another, by the rule of NumPy and ONNX: axes are matched
        from the last one on. Raises ValueError where the result would not have the value's shape."""
        shape = (1,) * (len(value) - len(constant)) + tuple(constant)
        op = cls(shape)
        if not op.fits((value,), value):
            raise ValueError(f"a constant of shape {constant} does not broadcast to {value}")
        return op

    def fits(self, given: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> bool:
        matches = len(self.shape) == len(shape) and all(n in (1, m) for n, m in zip(self.shape, shape, strict=True))
        return matches and tuple(given) == (shape,)

    def constant(self, p: Parameters) -> Tensor:
        """The constant in its `shape`; one entry may stand for all of an axis."""
        return p[0].reshape(self.shape)


_CONSTANT = torch.tensor([1.5, -0.5, 2.0, -3.0, 0.25, 4.0])

# every pattern of broadcasting: all entries, along each axis, over two axes, one for all; the rows as many as channels
_PATTERNS = [((3, 2), (3, 2)), ((3, 1, 1), (3, 3, 2)), ((1, 3, 1), (3, 3, 2)), ((1, 1, 2), (3, 3, 2)),
             ((1, 3, 2), (3, 3, 2)), ((1, 1, 1), (3, 3, 2)), ((1, 1, 1), (1, 2, 2)), ((1,), (4,))]


def _examples(op: Callable[[tuple[int, ...]], Op]) -> list[Example]:
    return [Example(op(shape), (_CONSTANT[: prod(shape)].reshape(shape),), (value,)) for shape, value in _PATTERNS]


@register(_examples)
@dataclass(frozen=True)
class Scale(Entrywise):
    """Entrywise product with a constant factor."""

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x * self.constant(p)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return a * self.constant(p)


@register(_examples)
@dataclass(frozen=True)
class Divide(Entrywise):
    """Entrywise quotient by a constant divisor without zeros: a division in real arithmetic, no product with a rounded
    reciprocal."""

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x / self.constant(p)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return a / self.constant(p)

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exact = np.asarray(xs[0] / exact_array(self.constant(p)))
        return exact, exact


@register(_examples)
@dataclass(frozen=True)
class Shift(Entrywise):
    """Entrywise sum with a constant offset."""

    is_monotone = True

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return a

    def bias(self, p: Parameters) -> Tensor | None:
        return self.constant(p)
