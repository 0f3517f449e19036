"""ATen operators that summarise: maxima, sums and means over axes, and pooling, in terms of the IR."""

from __future__ import annotations

import torch

from verify.ir.aten import Context, Value, aten
from verify.ir.aten_ops import largest, neg, sizes
from verify.ops import AvgPool, Sum, axis_groups, pool_groups


@aten("amax.default")
def amax(c: Context, x: Value, dims: list[int], keepdim: bool) -> Value:
    return largest(c, x, axis_groups(x.ir, c.axes(x, dims), keepdim))


@aten("amin.default")
def amin(c: Context, x: Value, dims: list[int], keepdim: bool) -> Value:
    return neg(c, amax(c, neg(c, x), dims, keepdim))


@aten("max.dim")
def max_dim(c: Context, x: Value, dim: int, keepdim: bool) -> list[Value | None]:
    return [amax(c, x, [dim], keepdim), None]


@aten("min.dim")
def min_dim(c: Context, x: Value, dim: int, keepdim: bool) -> list[Value | None]:
    return [amin(c, x, [dim], keepdim), None]


@aten("sum.dim_IntList")
def sum_dim(c: Context, x: Value, dims: list[int] | None, keepdim: bool, dtype: torch.dtype | None) -> Value:
    return c.emit(Sum(c.axes(x, dims), keepdim, False), x)


@aten("mean.dim")
def mean_dim(c: Context, x: Value, dims: list[int] | None, keepdim: bool, dtype: torch.dtype | None) -> Value:
    return c.emit(Sum(c.axes(x, dims), keepdim, True), x)


@aten("sum.default")
def sum_all(c: Context, x: Value, dtype: torch.dtype | None) -> Value:
    return sum_dim(c, x, None, False, dtype)


@aten("mean.default")
def mean_all(c: Context, x: Value, dtype: torch.dtype | None) -> Value:
    return mean_dim(c, x, None, False, dtype)


def _spatial(c: Context, x: Value) -> int:
    """Number of spatial axes of a pooling, the digit in its name; `x` must have channels before them."""
    count = int(str(c.node.target).split("pool")[1][0])
    if len(x.ir) != count + 1:
        raise c.refuse("pools a tensor that is not (batch, channels, *spatial); give it these axes")
    return count


@aten("max_pool2d_with_indices.default", "max_pool3d_with_indices.default")
def max_pool(
    c: Context, x: Value, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil_mode: bool
) -> list[Value | None]:
    spatial = _spatial(c, x)
    window = sizes(kernel, spatial)
    groups = pool_groups(
        x.ir, window, sizes(stride, spatial) or window, sizes(padding, spatial), sizes(dilation, spatial), ceil_mode
    )
    return [largest(c, x, groups), None]


@aten("avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default")
def avg_pool(
    c: Context, x: Value, kernel: list[int], stride: list[int], padding: list[int], ceil_mode: bool,
    count_include_pad: bool, divisor: int | None = None,
) -> Value:
    spatial = _spatial(c, x)
    if divisor is not None:
        raise c.refuse("sets divisor_override; scale the plain average pooling instead")
    window = sizes(kernel, spatial)
    op = AvgPool(window, sizes(stride, spatial) or window, sizes(padding, spatial), ceil_mode, count_include_pad)
    return c.emit(op, x)


@aten("_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default")
def adaptive_avg_pool(c: Context, x: Value, size: list[int]) -> Value:
    lengths = x.ir[-_spatial(c, x) :]
    if any(length % out for length, out in zip(lengths, size, strict=True)):
        raise c.refuse(f"averages {lengths} to {tuple(size)}, which does not divide evenly; choose a divisor")
    kernel = tuple(length // out for length, out in zip(lengths, size, strict=True))
    return c.emit(AvgPool(kernel, kernel, (0,) * len(kernel), False, True), x)
