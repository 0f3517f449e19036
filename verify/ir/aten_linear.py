"""ATen operators with weights: linear layers, products with constant matrices, convolutions, batch normalisation."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch

from verify.ir.aten import Constant, Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_ops import combine, sizes
from verify.ir.aten_products import matmul
from verify.ir.running_sum import running_sum
from verify.ops import BatchNorm, Conv, ConvTranspose, Linear, Permute, Reshape


@aten("linear.default")
def linear(c: Context, x: Any, weight: Any, bias: Any) -> TracedValue:
    x, weight = c.varying(x), c.constant(weight)
    c.axis(x, -1)
    names = [c.parameter(weight, "weight")]
    offset = None if bias is None else c.constant(bias)
    if offset is not None and offset.tensor.shape == weight.tensor.shape[:1]:
        names.append(c.parameter(offset, "bias"))
        offset = None
    y = c.emit(Linear(), x, parameters=tuple(names))
    return y if offset is None else c.shift(y, offset)


@aten("addmm.default")
def addmm(c: Context, bias: Any, a: Any, b: Any, beta: float, alpha: float) -> TracedValue:
    if isinstance(bias, Constant) and isinstance(a, TracedValue) and beta == alpha == 1:
        return linear(c, a, _transpose(c.constant(b)), bias)
    product = mm(c, a, b)
    product = product if alpha == 1 else c.scale(product, alpha)
    return combine(c, product, bias, 1, beta)


@aten("mm.default")
def mm(c: Context, a: Any, b: Any) -> TracedValue:
    if isinstance(a, TracedValue) and isinstance(b, TracedValue):
        return matmul(c, a, b)
    if isinstance(a, TracedValue):
        return _contract(c, a, c.constant(b), "mk", "kn", "mn")
    return _contract(c, c.varying(b), c.constant(a), "kn", "mk", "mn")


@aten("bmm.default")
def bmm(c: Context, a: Any, b: Any) -> TracedValue:
    if isinstance(a, TracedValue) and isinstance(b, TracedValue):
        return matmul(c, a, b)
    if isinstance(a, TracedValue):
        return _contract(c, a, c.constant(b), "bmk", "bkn", "bmn")
    return _contract(c, c.varying(b), c.constant(a), "bkn", "bmk", "bmn")


@aten("baddbmm.default")
def baddbmm(c: Context, bias: Any, a: Any, b: Any, beta: float, alpha: float) -> TracedValue:
    product = bmm(c, a, b)
    return combine(c, product if alpha == 1 else c.scale(product, alpha), bias, 1, beta)


def _contract(c: Context, x: TracedValue, matrix: Constant, left: str, right: str, out: str) -> TracedValue:
    """The product of `x`, axes named `left`, and a constant, axes named `right`, summed over the one name not in `out`.

    The batch axis of `x` must stay. An axis that all three have makes one product for each of its entries: a
    convolution of width 1 in as many groups.
    """
    at = 0
    if not x.is_bare(c.batch):
        batch = left[x.at]
        if batch not in out:
            raise c.mixed(x.at)
        at = out.index(batch)
        matrix = c.per_sample(x, matrix) if batch in right else matrix
        if not x.folded:
            left, out = left.replace(batch, ""), out.replace(batch, "")
            right = right.replace(batch, "")
    inner, new = next(n for n in left if n not in out), next(n for n in right if n not in left)
    shared = "".join(n for n in left if n in right and n != inner)
    kept = "".join(n for n in left if n not in shared + inner)
    weight = _turned(matrix, right, shared + new + inner)
    if shared:
        y = _grouped(c, _ordered(c, x, left, shared + inner + kept), weight)
        y = _ordered(c, y, shared + new + kept, out)
    else:
        y = _ordered(c, x, left, kept + inner)
        y = c.emit(Linear(), y, parameters=(c.parameter(weight, "weight"),))
        y = _ordered(c, y, kept + new, out)
    return replace(y, at=at)


def _grouped(c: Context, x: TracedValue, weight: Constant) -> TracedValue:
    """weight[i] @ x[i] for each i; x (groups, inputs, *rest), weight (groups, outputs, inputs)."""
    (groups, inputs, *rest), outputs = x.ir, weight.tensor.shape[1]
    channels = c.emit(Reshape((groups * inputs, prod(rest))), x)
    kernel = c.parameter(weight.map(lambda t: t.reshape(groups * outputs, inputs, 1)), "weight")
    product = c.emit(Conv((1,), (0,), (1,), groups), channels, parameters=(kernel,))
    return c.emit(Reshape((groups, outputs, *rest)), product)


def _ordered(c: Context, x: TracedValue, names: str, wanted: str) -> TracedValue:
    """The axes of a per-sample value in another order."""
    return x if names == wanted else c.emit(Permute(tuple(names.index(n) for n in wanted)), x)


def _turned(matrix: Constant, names: str, wanted: str) -> Constant:
    """The constant with its axes in that order."""
    if names == wanted:
        return matrix
    return _transpose(matrix) if len(names) == 2 else matrix.map(lambda t: t.permute(*map(names.index, wanted)))


def _transpose(matrix: Constant) -> Constant:
    return matrix.transposed or matrix.map(lambda t: t.t())


def along(c: Context, x: TracedValue, axis: int, matrix: torch.Tensor) -> TracedValue:
    """matrix (out, in) applied along one axis of the per-sample shape."""
    axes = list(range(len(x.ir)))
    order = (*(i for i in axes if i != axis), axis)
    last = x if axis == axes[-1] else c.emit(Permute(order), x)
    y = c.emit(Linear(), last, parameters=(c.parameter(Constant(matrix), "weight"),))
    return y if axis == axes[-1] else c.emit(Permute(tuple(order.index(i) for i in axes)), y)


@aten("cumsum.default")
def cumsum(c: Context, x: TracedValue, dim: int, dtype: torch.dtype | None) -> TracedValue:
    if x.rank == 0:
        return x
    return c.written(x, running_sum(c.composer, x.name, c.axis(x, dim)))


@aten("convolution.default")
def convolution(
    c: Context, x: Any, weight: Any, bias: Any, stride: list[int], padding: list[int], dilation: list[int],
    transposed: bool, output_padding: list[int], groups: int,
) -> TracedValue:
    x, weight = c.leading(c.varying(x)), c.constant(weight)
    spatial = weight.tensor.ndim - 2
    names = [c.parameter(weight, "weight")]
    if bias is not None:
        names.append(c.parameter(c.constant(bias), "bias"))
    step, ends, spread = sizes(stride, spatial), sizes(padding, spatial), sizes(dilation, spatial)
    if transposed:
        op = ConvTranspose(step, ends, sizes(output_padding, spatial), spread, groups)
    else:
        op = Conv(step, ends, spread, groups)
    return c.emit(op, x, parameters=tuple(names))


@aten("_native_batch_norm_legit_no_training.default")
def batch_norm(
    c: Context, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float
) -> list[TracedValue | None]:
    x = c.leading(c.varying(x))
    weight = Constant(torch.ones(x.ir[0])) if weight is None else c.constant(weight)
    bias = Constant(torch.zeros(x.ir[0])) if bias is None else c.constant(bias)
    roles = {"weight": weight, "bias": bias, "mean": c.constant(mean), "variance": c.constant(variance)}
    names = tuple(c.parameter(value, role) for role, value in roles.items())
    return [c.emit(BatchNorm(eps, len(x.ir) - 1), x, parameters=names), None, None]
