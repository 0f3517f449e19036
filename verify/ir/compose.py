"""Operators that are made of several nodes, for both front-ends: quotients, powers, softmax, normalisation.

Every composition is equal to its operator in real arithmetic. Where several are, the one stands here whose bounds are
the best: what is common to two factors is seen before any box is taken, and no value is written that could leave the
domain of the curve that reads it.

    softmax        s_i = 1 / (1 + sum over j != i of exp(x_j - x_i)), which rises in x_i and falls in every other x_j,
                   so that intervals are exact. The sum is added to 1, so that the reciprocal never meets its pole.
    its logarithm  -log(1 + sum over j != i of exp(x_j - x_i)); log-sum-exp is x_0 less that of the first entry.
    normalisation  (x - mean) * (mean of (x - mean)^2 + eps)^(-1/2); x - mean is one affine map.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from verify.errors import UnsupportedOp
from verify.ir.gates import is_softsign, keeps_poles, one_curve, whole_power
from verify.ir.spelled import softmax_of
from verify.ops import (
    Add,
    Concat,
    Cos,
    Divide,
    Exp,
    Linear,
    Log,
    Op,
    Permute,
    Power,
    Reshape,
    Scale,
    Select,
    Shift,
    Sigmoid,
    Sin,
    Softplus,
    Softsign,
    Sum,
)

if TYPE_CHECKING:
    from verify.ir.builder import GraphBuilder

Shape = tuple[int, ...]
LARGEST = 1 << 23  # entries of a value
CENTERED = 1 << 10  # entries up to which x - mean is a product with a matrix


class Composer:
    """Writes the nodes of one operator, under its name. A value is given and returned by its name in the graph, shapes
    and axes are those of a sample. Raises UnsupportedOp for what would be too large."""

    def __init__(self, builder: GraphBuilder, title: str):
        self.builder, self.title = builder, title

    def shape(self, x: str) -> Shape:
        return self.builder.shapes[x]

    def node(self, op: Op, *inputs: str, parameters: Sequence[str] = ()) -> str:
        return self.builder.once(self.title, op, inputs, tuple(parameters))

    def refuse(self, reason: str) -> UnsupportedOp:
        return UnsupportedOp(f"node {self.title} {reason}")

    # what moves entries

    def pick(self, x: str, index: np.ndarray) -> str:
        """The entries of `x` at these flat places, 0 at -1; the result has the shape of `index`."""
        if index.size > LARGEST:
            raise self.refuse(f"makes a value of {index.size} entries, more than {LARGEST}; cut the model down")
        if index.shape == self.shape(x) and np.array_equal(index.ravel(), np.arange(index.size)):
            return x
        places = torch.from_numpy(np.array(index, np.int64, order="C"))
        return self.node(Select(), x, parameters=(self.builder.parameter(f"{self.title}.index", places),))

    def spread(self, x: str, shape: Shape) -> str:
        """`x` repeated to a shape by the rule of NumPy."""
        return self.pick(x, np.broadcast_to(_places(self.shape(x)), shape))

    def reshape(self, x: str, shape: Shape) -> str:
        return x if self.shape(x) == shape else self.node(Reshape(shape), x)

    def permute(self, x: str, order: Sequence[int]) -> str:
        return x if list(order) == sorted(order) else self.node(Permute(tuple(order)), x)

    # arithmetic

    def constant(self, role: str, values: float | Tensor) -> str:
        tensor = torch.as_tensor(values, dtype=self.builder.dtype)
        return self.builder.parameter(f"{self.title}.{role}", tensor.contiguous())

    def shift(self, x: str, offset: float) -> str:
        return self.node(Shift.broadcast((), self.shape(x)), x, parameters=(self.constant("offset", offset),))

    def add_constant(self, x: str, offset: Tensor) -> str:
        """x + offset, of one shape."""
        return self.node(Shift(self.shape(x)), x, parameters=(self.constant("offset", offset),))

    def scale(self, x: str, factor: float) -> str:
        return self.node(Scale.broadcast((), self.shape(x)), x, parameters=(self.constant("factor", factor),))

    def scaled(self, x: str, count: Fraction) -> str:
        return x if count == 1 else self.scale(x, float(count))

    def divide(self, x: str, divisor: float) -> str:
        return self.node(Divide.broadcast((), self.shape(x)), x, parameters=(self.constant("divisor", divisor),))

    def filled(self, x: str, value: float) -> str:
        """A constant in the shape of `x`, which is among what it is computed from."""
        zero = self.pick(x, np.full(self.shape(x), -1))
        return self.shift(zero, value) if value else zero

    def power(self, x: str, exponent: Fraction) -> str:
        """x^exponent of a value; 1 for exponent 0. Whole powers of whole powers are one, but for the reciprocal of a
        reciprocal, which has no value at 0."""
        base, inner = whole_power(self.builder, x)
        if exponent.denominator == 1 and keeps_poles(inner, exponent, inner * exponent):
            x, exponent = base, inner * exponent
        if exponent == 0:
            return self.filled(x, 1.0)
        return x if exponent == 1 else self.node(Power(exponent), x)

    def product(self, x: str, y: str) -> str:
        """x * y entry by entry, of one shape. Whole powers of one value are one, unless a pole at 0 would be lost."""
        x, y = self.builder.plain(x), self.builder.plain(y)
        (base, first), (other, second) = (whole_power(self.builder, value) for value in (x, y))
        if base == other and keeps_poles(first, second, first + second):
            return self.power(base, first + second)
        if (found := one_curve(self.builder, x, y)) is not None:
            op, source, count = found
            return self.scaled(self.node(op, source), count)
        one = (*self.shape(x), 1)[: max(1, len(self.shape(x)))]  # a number is a vector of one entry
        return self.reshape(self.builder.product(self.title, self.reshape(x, one), self.reshape(y, one)), self.shape(x))

    def quotient(self, x: str, y: str) -> str:
        """x / y entry by entry, of one shape."""
        x, y = self.builder.plain(x), self.builder.plain(y)
        if is_softsign(self.builder, x, y):
            return self.node(Softsign(), x)
        if (found := softmax_of(self.builder, x, y)) is not None:
            return self.softmax(*found)
        return self.product(x, self.power(y, Fraction(-1)))

    def hyperbolic(self, x: str, is_even: bool) -> str:
        """(exp(x) + exp(-x)) / 2, or with a minus."""
        rising, falling = self.node(Exp(), x), self.node(Exp(), self.scale(x, -1.0))
        return self.scale(self.node(Add((1, 1 if is_even else -1)), rising, falling), 0.5)

    def tangent(self, x: str) -> str:
        """sin(x) / cos(x)."""
        return self.quotient(self.node(Sin(), x), self.node(Cos(), x))

    def summed(self, x: str, letters: str, kept: str) -> tuple[str, str]:
        """`x`, whose axes have these letters, summed over those that are not kept; and the letters left."""
        axes = tuple(i for i, letter in enumerate(letters) if letter not in kept)
        left = "".join(letter for letter in letters if letter in kept)
        return (self.node(Sum(axes, False, False), x) if axes else x), left

    def matrix_product(self, x: str, y: str) -> str:
        """x @ y of (*lead, n, k) and (*lead, k, m), whose leading axes broadcast."""
        (*first, n, k), (*second, _, m) = self.shape(x), self.shape(y)
        lead = np.broadcast_shapes(tuple(first), tuple(second))
        return self.builder.product(self.title, self.spread(x, (*lead, n, k)), self.spread(y, (*lead, k, m)), True)

    # softmax and its kin

    def softmax(self, x: str, axis: int, absent: np.ndarray | None = None) -> str:
        """Over one axis. `absent` are entries that stand for minus infinity, bool, of the value's shape: they take no
        part, and their results are 0. Raises UnsupportedOp where all entries are absent, as 0 / 0."""
        shape = self.shape(x)
        if shape[axis] == 1:
            return self.filled(x, 1.0)
        if absent is None and shape[axis] == 2:
            return self.node(Sigmoid(), self._difference(x, _places(shape), np.flip(_places(shape), axis)))
        total = self.power(self.shift(self._others(x, axis, absent), 1.0), Fraction(-1))
        if absent is None or not absent.any():
            return total
        if absent.all(axis).any():
            raise self.refuse("is a softmax over entries that are all minus infinity; mask fewer of them")
        return self.pick(total, np.where(absent, -1, _places(shape)))

    def log_softmax(self, x: str, axis: int) -> str:
        return self.scale(self._log_total(x, axis), -1.0)

    def log_sum_exp(self, x: str, axes: Sequence[int], keep: bool) -> str:
        """The logarithm of the sum of exponentials over axes."""
        rows = self._rows(x, axes)
        first = _places(self.shape(rows))[:, 0]
        out = self.pick(rows, first)
        if self.shape(rows)[1] > 1:
            out = self.node(Add((1, 1)), out, self._log_total(rows, 1, first))
        return self.reshape(out, _reduced(self.shape(x), axes, keep))

    def _log_total(self, x: str, axis: int, of: np.ndarray | None = None) -> str:
        """log(sum over j of exp(x_j - x_i)) for the entries i at flat places `of`, by default all."""
        shape = self.shape(x)
        if shape[axis] == 1:
            return self.filled(x if of is None else self.pick(x, of), 0.0)
        if shape[axis] == 2:
            less = self._difference(x, np.flip(_places(shape), axis), _places(shape))
            return self.node(Softplus(), less if of is None else self.pick(less, of))
        return self.node(Log(), self.shift(self._others(x, axis, None, of), 1.0))

    def _others(self, x: str, axis: int, absent: np.ndarray | None, of: np.ndarray | None = None) -> str:
        """The sum over j != i of exp(x_j - x_i) along an axis, for all entries i, or those at flat places `of`."""
        shape = self.shape(x)
        n, places = shape[axis], _places(shape)
        if places.size * max(1, n - 1) > LARGEST:
            raise self.refuse(f"compares each of {n} entries with all others, {places.size * (n - 1)} in all, more "
                              f"than {LARGEST}; cut the model down")
        k = np.arange(n - 1)
        column = k + (k >= np.arange(n)[:, None])  # (n, n - 1): the others of each entry
        other = np.moveaxis(np.moveaxis(places, axis, -1)[..., column], -2, axis)
        if of is not None:
            other, places = other.reshape(places.size, n - 1)[of.ravel()].reshape(*of.shape, n - 1), of
        own = np.broadcast_to(places[..., None], other.shape)
        if absent is None or not absent.any():
            terms = self.node(Exp(), self._difference(x, other, own))
        else:
            present = ~(absent.ravel()[other] | absent.ravel()[own])
            each = np.where(present, np.cumsum(present).reshape(present.shape) - 1, -1)
            if not present.any():
                return self.filled(x, 0.0)
            terms = self.pick(self.node(Exp(), self._difference(x, other[present], own[present])), each)
        return self.node(Sum((other.ndim - 1,), False, False), terms)

    def _difference(self, x: str, first: np.ndarray, second: np.ndarray) -> str:
        """x at some places less x at others."""
        return self.node(Add((1, -1)), self.pick(x, first), self.pick(x, second))

    # statistics

    def _rows(self, x: str, axes: Sequence[int]) -> str:
        """`x` as a matrix whose rows are the entries along axes."""
        shape, order = self.shape(x), _last(self.shape(x), axes)
        length = prod(shape[i] for i in axes)
        return self.reshape(self.permute(x, order), (prod(shape) // max(1, length), length))

    def _unrowed(self, rows: str, shape: Shape, axes: Sequence[int]) -> str:
        """What `_rows` made of a value of this shape in its shape again."""
        order = _last(shape, axes)
        back = self.reshape(rows, tuple(shape[i] for i in order))
        return self.permute(back, np.argsort(order).tolist())

    def _centered(self, rows: str) -> str:
        """x - mean of each row of n, (n x - sum) / n with whole numbers in the matrix."""
        _, n = shape = self.shape(rows)
        if n > CENTERED:
            mean = self.spread(self.node(Sum((1,), True, True), rows), shape)
            return self.node(Add((1, -1)), rows, mean)
        matrix = n * torch.eye(n) - 1
        return self.divide(self.node(Linear(), rows, parameters=(self.constant("less_mean", matrix),)), float(n))

    def variance(self, x: str, axes: Sequence[int], keep: bool, less: Fraction) -> str:
        """The sum of (x - mean)^2 over axes of n entries in all, divided by n - less."""
        rows = self._rows(x, axes)
        count = self.shape(rows)[1] - less
        if count <= 0:
            raise self.refuse(f"is a variance of {self.shape(rows)[1]} entries, divided by {count}; take more entries")
        total = self.node(Sum((1,), False, False), self.power(self._centered(rows), Fraction(2)))
        return self.reshape(self.divide(total, float(count)), _reduced(self.shape(x), axes, keep))

    def normalised(self, x: str, axes: Sequence[int], eps: float) -> str:
        """(x - mean) / sqrt(variance + eps) over axes."""
        away = self._centered(self._rows(x, axes))
        return self._unrowed(self._over_root(away, eps), self.shape(x), axes)

    def standardised(self, x: str, axes: Sequence[int], eps: float) -> str:
        """(x - mean) / (deviation + eps) over axes."""
        away = self._centered(self._rows(x, axes))
        square = self.node(Sum((1,), True, True), self.power(away, Fraction(2)))
        below = self.spread(self.shift(self.power(square, Fraction(1, 2)), eps), self.shape(away))
        return self._unrowed(self.quotient(away, below), self.shape(x), axes)

    def root_mean_square(self, x: str, axes: Sequence[int], eps: float) -> str:
        """x / sqrt(mean of x^2 + eps) over axes."""
        return self._unrowed(self._over_root(self._rows(x, axes), eps), self.shape(x), axes)

    def _over_root(self, rows: str, eps: float) -> str:
        """Each row over the root of its mean square plus eps."""
        square = self.node(Sum((1,), True, True), self.power(rows, Fraction(2)))
        root = self.power(self.shift(square, eps), Fraction(-1, 2))
        return self.product(rows, self.spread(root, self.shape(rows)))

    def product_along(self, x: str, axis: int, keep: bool) -> str:
        """The product of all entries along an axis, by halves."""
        rows = self._rows(x, (axis,))
        while (n := self.shape(rows)[1]) > 1:
            places, half = _places(self.shape(rows)), n // 2
            pair = self.product(self.pick(rows, places[:, :half]), self.pick(rows, places[:, half : 2 * half]))
            flat, rest = self.shape(pair), self.pick(rows, places[:, 2 * half :]) if n % 2 else None
            rows = pair if rest is None else self.node(Concat(1, (flat[1], 1)), pair, rest)
        return self.reshape(rows, _reduced(self.shape(x), (axis,), keep))


def _places(shape: Shape) -> np.ndarray:
    """The flat place of each entry."""
    return np.arange(prod(shape)).reshape(shape)


def _last(shape: Shape, axes: Sequence[int]) -> list[int]:
    """All axes in order, but these at the end."""
    return [*(i for i in range(len(shape)) if i not in axes), *axes]


def _reduced(shape: Shape, axes: Sequence[int], keep: bool) -> Shape:
    """The shape after a reduction over axes."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
