"""ATen operators that multiply and divide varying tensors, and powers, in terms of the IR."""

from __future__ import annotations

from fractions import Fraction
from math import inf, prod
from typing import Any

from verify.ir.aten import Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_ops import combine
from verify.ir.aten_reduce import amax, sum_dim
from verify.ops import Abs, Linear, Power, Reshape


def multiply(c: Context, a: Any, b: Any) -> TracedValue:
    """a * b, of which one may be constant."""
    if not isinstance(b, TracedValue):
        return c.scale(a, b)
    if not isinstance(a, TracedValue):
        return c.scale(b, a)
    a, b = c.align(a, b)
    return c.written(a, c.composer.product(c.complete(a).name, c.complete(b).name))


@aten("div.Tensor", "div.Scalar")
def div(c: Context, a: Any, b: Any) -> TracedValue:
    if isinstance(b, TracedValue):
        if not isinstance(a, TracedValue):
            return c.scale(_power(c, b, Fraction(-1)), a)
        a, b = c.align(a, b)
        return c.written(a, c.composer.quotient(c.complete(a).name, c.complete(b).name))
    divisor = c.constant(b)
    if bool((divisor.tensor == 0).any()):
        raise c.refuse("divides by zero; mend the model")
    return c.divide(c.varying(a), divisor)


def _power(c: Context, x: TracedValue, exponent: Fraction) -> TracedValue:
    return c.written(x, c.composer.power(c.complete(x).name, exponent))


def matmul(c: Context, a: TracedValue, b: TracedValue) -> TracedValue:
    """The product of varying matrices, or of stacks of as many; samples must lie along the axes of the stack."""
    if a.is_bare(c.batch) or b.is_bare(c.batch):
        a, b = c.bare(a), c.bare(b)
    elif (a.at, a.folded) != (b.at, b.folded) or a.at >= a.rank - 2:
        raise c.mixed(a.at)
    return c.written(a, c.composer.matrix_product(c.complete(a).name, c.complete(b).name))


@aten("_trilinear.default")
def trilinear(
    c: Context, a: Any, weight: Any, b: Any, first: list[int], second: list[int], third: list[int], summed: list[int],
    unroll: int,
) -> TracedValue:
    """nn.Bilinear: each pair of entries times its weight, the products before their sum, whose bounds are tighter."""
    matrix = c.constant(weight)
    if (list(first), list(second), list(third), list(summed)) != ([1, 3], [0], [1, 2], [2, 3]):
        raise c.refuse("is a product of three tensors in an order other than that of nn.Bilinear; write it with einsum")
    a, b = c.varying(a), c.varying(b)
    if (a.at, a.folded, b.at, b.folded) != (0, False, 0, False):
        raise c.mixed(a.at)
    column, row = c.emit(Reshape((*a.ir, 1)), a), c.emit(Reshape((1, *b.ir)), b)
    pairs = c.written(a, c.composer.matrix_product(column.name, row.name))
    flat = c.emit(Reshape((prod(pairs.ir),)), pairs)
    return c.emit(Linear(), flat, parameters=(c.parameter(matrix.map(lambda t: t.flatten(1)), "weight"),))


@aten("linalg_vector_norm.default")
def vector_norm(c: Context, x: TracedValue, order: float, dims: Any, keepdim: bool, dtype: Any) -> TracedValue:
    """(sum of |x|^order)^(1/order); the largest |x| for an infinite order."""
    if order == inf:
        return amax(c, c.emit(Abs(), x), list(dims or range(x.rank)), keepdim)
    power = Fraction(order)
    if power <= 0:
        raise c.refuse(f"is a norm of order {order}; use a positive one")
    terms = x if power == 2 else c.emit(Abs(), x)
    total = sum_dim(c, terms if power == 1 else _power(c, terms, power), dims, keepdim, None)
    return total if power == 1 else c.emit(Power(1 / power), total)


@aten("var.correction")
def variance(c: Context, x: TracedValue, dims: Any, correction: float | None, keepdim: bool) -> TracedValue:
    axes = c.axes(x, dims)
    at = x.at if keepdim else x.at - sum(axis < x.at for axis in axes)
    less = Fraction(1 if correction is None else correction)
    return c.written(x, c.composer.variance(c.complete(x).name, axes, keepdim, less), at)


@aten("prod.dim_int")
def product_along(c: Context, x: TracedValue, dim: int, keepdim: bool, dtype: Any) -> TracedValue:
    axis = c.axis(x, dim)
    at = x.at if keepdim else x.at - (axis < x.at)
    return c.written(x, c.composer.product_along(c.complete(x).name, axis, keepdim), at)


@aten("_cdist_forward.default")
def distances(c: Context, a: Any, b: Any, order: float, mode: int | None) -> TracedValue:
    """The norms of differences of all rows of a and all of b."""
    rows = c.reshape(c.varying(a), (*c.full(a)[:-1], 1, c.full(a)[-1]))
    columns = c.reshape(c.varying(b), (*c.full(b)[:-2], 1, *c.full(b)[-2:]))
    return vector_norm(c, combine(c, rows, columns, -1, 1), order, [-1], False, None)
