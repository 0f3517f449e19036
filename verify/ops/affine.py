"""The affine family: y = sum over arguments k of A_k x_k + b.

An op states `linear` (A_k x without the bias), `bias`, and, where a closed form beats automatic differentiation, the
`adjoint`. From these the family derives every bound, so an affine op cannot be sound in one method and wrong in
another.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from verify.deadline import check_time
from verify.ops.base import Encoder, IntervalBounds, Op, Parameters
from verify.ops.differentiation import Pull
from verify.rationals import exact_array

if TYPE_CHECKING:
    import scipy.sparse as sp

IDENTITY_CHUNK = 1 << 22  # floats of the identity pushed through an adjoint at once


class Affine(Op):
    """An op that is affine in its arguments. `is_monotone` states that all coefficients are >= 0, `is_move` that every
    output is one of the inputs, and `keeps_order` that the outputs are the inputs in their order."""

    is_monotone: bool = False
    is_move: bool = False

    @property
    def picks(self) -> bool:
        """Whether every output is one of the inputs, or 0."""
        return self.is_move

    @property
    def keeps_order(self) -> bool:
        return False

    @property
    def summed(self) -> tuple[int, ...] | None:
        """The sign of each argument, of an op that adds them up entry by entry; None for others."""
        return None

    @abstractmethod
    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        """A_k x without bias; x (batch, *shape of argument k)."""

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A_k' a; a (n, *output shape) -> (n, *shape), shape being that of argument k."""
        with torch.enable_grad():
            x = torch.zeros((a.shape[0], *shape), dtype=a.dtype, device=a.device, requires_grad=True)
            y = self.linear(p, k, x)
            differentiable = a.requires_grad or any(t.requires_grad for t in p)
            return torch.autograd.grad(y, x, a, create_graph=differentiable)[0]

    def spread(self, p: Parameters, k: int, a: Tensor) -> Tensor:
        """A_k' a of windows a (n, channels, *size) of the output's map, of all that they reach, padding included; by
        default for ops that reach a place. Only for ops with a `reach`."""
        return self.adjoint(p, k, a, tuple(a.shape[1:]))

    def unit_spread(self, p: Parameters, channel: Tensor) -> Tensor | None:
        """`spread` of one place with a 1 at a channel (n,) long, where that is a mere look-up: (n, channels, *size)."""
        return None

    def unpadded(self) -> Affine:
        """The op on windows that were cut out with their padding. Only for ops with a `reach`."""
        return self

    def dense(self, p: Parameters) -> Tensor | None:
        """A_0 of a vector as one matrix (outputs, inputs), where the op holds it; else None."""
        return None

    def terms(self, p: Parameters, inputs: Sequence[int], outputs: int) -> int:
        """At least the number of terms of each entry of A x and of A' y, from the numbers of entries of both sides."""
        return sum(inputs) + outputs

    def by_channel(self, p: Parameters, shape: tuple[int, ...], axis: int) -> tuple[Tensor, Tensor] | None:
        """(factor, offset), each (channels,), of an op factor * x + offset that varies along this axis of values of
        this shape alone; None for others."""
        return None

    def absolute(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        """|A_k| x without bias."""
        return self.linear(tuple(t.abs() if t.is_floating_point() else t for t in p), k, x)

    def bias(self, p: Parameters) -> Tensor | None:
        """b, its axes matched with the last ones of the output shape without batch, or None for zero."""
        return None

    def bias_size(self, p: Parameters) -> Tensor | None:
        """At least the sizes of the numbers that the bias is a sum of, as `bias`."""
        bias = self.bias(p)
        return None if bias is None else bias.abs()

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        total = self.linear(p, 0, xs[0])
        for k in range(1, len(xs)):
            total = total + self.linear(p, k, xs[k])
        bias = self.bias(p)
        return total if bias is None else total + bias

    def by_adjoint(self, p: Parameters, *xs: Tensor) -> tuple[Tensor, Pull]:
        """`with_gradient` of an op that states its `adjoint`."""
        shapes = [tuple(x.shape[1:]) for x in xs]
        return self.forward(p, *xs), lambda a: tuple(self.adjoint(p, k, a, shape) for k, shape in enumerate(shapes))

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Sound because |A (x - c)| <= |A| r for every x with |x - c| <= r; trusts float rounding."""
        if self.is_monotone:
            return IntervalBounds(self.forward(p, *(b.low for b in boxes)), self.forward(p, *(b.high for b in boxes)))
        center = self.forward(p, *((b.low + b.high) / 2 for b in boxes))
        radius = self.absolute(p, 0, (boxes[0].high - boxes[0].low) / 2)
        for k in range(1, len(boxes)):
            radius = radius + self.absolute(p, k, (boxes[k].high - boxes[k].low) / 2)
        return IntervalBounds(center - radius, center + radius)

    def matrix(self, p: Parameters, k: int, shape: tuple[int, ...], out_shape: tuple[int, ...]) -> sp.csr_matrix:
        """A_k as a sparse float64 matrix (outputs, inputs). Each entry is rounded at most once: the adjoint of a unit
        vector adds nothing up; `coefficient` undoes that rounding."""
        import scipy.sparse as sp  # a tenth of a second that only LP and MILP need

        rows, inputs = int(np.prod(out_shape)), int(np.prod(shape))
        step = max(1, IDENTITY_CHUNK // max(1, rows, inputs))
        blocks = []
        wide = _wide(p)
        for start in range(0, rows, step):
            check_time()
            count = min(step, rows - start)
            unit = torch.zeros((count, rows), dtype=torch.float64, device=wide[0].device if wide else None)
            unit[torch.arange(count), torch.arange(start, start + count)] = 1
            block = self.adjoint(wide, k, unit.reshape(count, *out_shape), shape)
            blocks.append(sp.csr_matrix(block.detach().reshape(count, inputs).cpu().numpy()))
        return sp.csr_matrix(sp.vstack(blocks)) if blocks else sp.csr_matrix((0, inputs))

    def coefficient(self, entry: float) -> Fraction:
        """The exact coefficient whose entry in `matrix` this is."""
        return Fraction(entry)

    def encode(
        self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[IntervalBounds]
    ) -> np.ndarray:
        """y - sum_k A_k x_k = b. What only moves values needs no columns of its own."""
        if self.is_move:
            return self.forward(p, *(torch.from_numpy(x)[None] for x in columns))[0].numpy()
        box = self.interval(p, *boxes)
        shape = tuple(box.low.shape[1:])
        y = model.add_columns(_array(box.low), _array(box.high))
        terms: list[tuple[object, np.ndarray]] = [(np.ones(y.size), y.ravel())]
        for k, x in enumerate(columns):
            terms.append((-self.matrix(p, k, x.shape, shape), x.ravel()))
        bias = self._flat_bias(p, shape)
        model.add_rows(terms, bias, bias)
        return y

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        device = p[0].device if p else None
        zeros = (torch.zeros((1, *x.shape), dtype=torch.float64, device=device) for x in xs)
        shape = tuple(self.forward(_wide(p), *zeros).shape[1:])
        bias = self.bias(p)
        start = torch.zeros(shape) if bias is None else bias.expand(shape)
        flat = exact_array(start).reshape(-1)
        for k, x in enumerate(xs):
            flat += self._product(self.matrix(p, k, x.shape, shape), x.reshape(-1))
        exact = flat.reshape(shape)
        return exact, exact

    def _product(self, matrix: sp.csr_matrix, x: np.ndarray) -> np.ndarray:
        """The exact product with x (inputs,), an object array (outputs,): sums of integers over common denominators,
        since sums of fractions look for a common divisor at every step."""
        entries, place = np.unique(matrix.data, return_inverse=True)
        weights, below = _integers([self.coefficient(w) for w in entries.tolist()])
        values, under = _integers(x.tolist())
        terms = weights[place] * values[matrix.indices]
        spans = map(slice, matrix.indptr[:-1], matrix.indptr[1:])
        return np.array([Fraction(int(terms[span].sum()), below * under) for span in spans], dtype=object)

    def _flat_bias(self, p: Parameters, shape: tuple[int, ...]) -> np.ndarray:
        bias = self.bias(_wide(p))
        if bias is None:
            return np.zeros(int(np.prod(shape)))
        return bias.expand(shape).reshape(-1).cpu().numpy()


def _wide(p: Parameters) -> Parameters:
    """The parameters in float64, which holds them exactly; indices as they are."""
    return tuple(t.detach().double() if t.is_floating_point() else t for t in p)


def _array(x: Tensor) -> np.ndarray:
    """The one sample of a batch of 1, as float64."""
    return x[0].detach().double().cpu().numpy()


def _integers(values: Sequence[Fraction]) -> tuple[np.ndarray, int]:
    """(numerators, denominator): the same rationals over one denominator, the numerators as an object array."""
    below = lcm(*(value.denominator for value in values))
    return np.array([value.numerator * (below // value.denominator) for value in values], dtype=object), below


class Weighted(Affine):
    """Affine ops of one argument that are linear in their first parameter, the weight, as well, with a number for each
    entry of the output's axis `channels` as an optional second one, the bias."""

    channels: int = 0

    @abstractmethod
    def scaled(self, weight: Tensor, factor: Tensor) -> Tensor:
        """The weight of the op that multiplies each channel of the output by its factor (channels,)."""

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Half the weight meets low + high and high - low, which saves halving every entry.

        Sound because |A (x - c)| <= |A| r for every x with |x - c| <= r; trusts float rounding.
        """
        (low, high), half = boxes[0], p[0] / 2
        total, width = SumDifference.apply(high, low)
        center, radius = self.forward((half, *p[1:]), total), self.linear((half.abs(),), 0, width)
        high, low = SumDifference.apply(center, radius)
        return IntervalBounds(low, high)


class SumDifference(torch.autograd.Function):
    """(a, b) -> (a + b, a - b), which is its own adjoint: two passes over memory each way instead of five."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a + b, a - b

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return SumDifference.apply(*gradients)
