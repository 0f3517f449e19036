"""ATen operators that summarise: maxima, sums and means over axes, and pooling, in terms of the IR."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch

from verify.ir.aten import Constant, Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_ops import largest, neg, sizes
from verify.ops import AvgPool, Sum, axis_groups, pool_groups, pool_length


def _kept(x: TracedValue, axes: tuple[int, ...], keepdim: bool) -> int:
    """Where the batch lies after a reduction over IR axes."""
    return x.at if keepdim else x.at - sum(axis < x.at for axis in axes)


@aten("amax.default")
def amax(c: Context, x: TracedValue, dims: list[int], keepdim: bool) -> TracedValue:
    axes = c.axes(x, dims)
    return replace(largest(c, x, axis_groups(x.ir, axes, keepdim)), at=_kept(x, axes, keepdim))


@aten("amin.default")
def amin(c: Context, x: TracedValue, dims: list[int], keepdim: bool) -> TracedValue:
    return neg(c, amax(c, neg(c, x), dims, keepdim))


@aten("max.dim")
def max_dim(c: Context, x: TracedValue, dim: int, keepdim: bool) -> list[TracedValue | None]:
    return [amax(c, x, [dim], keepdim), None]


@aten("min.dim")
def min_dim(c: Context, x: TracedValue, dim: int, keepdim: bool) -> list[TracedValue | None]:
    return [amin(c, x, [dim], keepdim), None]


@aten("sum.dim_IntList")
def sum_dim(
    c: Context, x: TracedValue, dims: list[int] | None, keepdim: bool, dtype: torch.dtype | None,
) -> TracedValue:
    return _summed(c, x, dims, keepdim, False)


@aten("mean.dim")
def mean_dim(
    c: Context, x: TracedValue, dims: list[int] | None, keepdim: bool, dtype: torch.dtype | None,
) -> TracedValue:
    return _summed(c, x, dims, keepdim, True)


def _summed(c: Context, x: TracedValue, dims: list[int] | None, keepdim: bool, mean: bool) -> TracedValue:
    axes = c.axes(x, dims)
    return c.emit(Sum(axes, keepdim, mean), x, at=_kept(x, axes, keepdim))


@aten("sum.default")
def sum_all(c: Context, x: TracedValue, dtype: torch.dtype | None) -> TracedValue:
    return sum_dim(c, x, None, False, dtype)


@aten("mean.default")
def mean_all(c: Context, x: TracedValue, dtype: torch.dtype | None) -> TracedValue:
    return mean_dim(c, x, None, False, dtype)


def _maps(c: Context, x: TracedValue) -> tuple[TracedValue, int]:
    """(maps, number of spatial axes) of a pooling; the digit in its name is that number."""
    count = int(str(c.node.target).split("pool")[1][0])
    x = c.leading(x)
    if len(x.ir) != count + 1:
        raise c.refuse("pools a tensor that is not (batch, channels, *spatial); give it these axes")
    return x, count


@aten("max_pool2d_with_indices.default", "max_pool3d_with_indices.default")
def max_pool(
    c: Context, x: TracedValue, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int],
    ceil_mode: bool,
) -> list[TracedValue | None]:
    x, spatial = _maps(c, x)
    window = sizes(kernel, spatial)
    groups = pool_groups(
        x.ir, window, sizes(stride, spatial) or window, sizes(padding, spatial), sizes(dilation, spatial), ceil_mode
    )
    return [largest(c, x, groups), None]


@aten("avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default")
def avg_pool(
    c: Context, x: TracedValue, kernel: list[int], stride: list[int], padding: list[int], ceil_mode: bool,
    count_include_pad: bool, divisor: int | None = None,
) -> TracedValue:
    x, spatial = _maps(c, x)
    window = sizes(kernel, spatial)
    step, ends = sizes(stride, spatial) or window, sizes(padding, spatial)
    if divisor is None:
        return c.emit(AvgPool(window, step, ends, ceil_mode, count_include_pad), x)
    if divisor == 0:
        raise c.refuse("divides by zero; mend the model")
    spans = []
    for n, k, s, q in zip(x.ir[1:], window, step, ends, strict=True):
        starts = [i * s - q for i in range(pool_length(n, k, s, q, ceil_mode))]
        spans.append([(max(start, 0), min(start + k, n)) for start in starts])
    return c.divide(_sums(c, x, spans), float(divisor))


@aten("_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default")
def adaptive_avg_pool(c: Context, x: TracedValue, size: list[int]) -> TracedValue:
    x, _ = _maps(c, x)
    lengths = x.ir[1:]
    if not any(length % out for length, out in zip(lengths, size, strict=True)):
        kernel = tuple(length // out for length, out in zip(lengths, size, strict=True))
        return c.emit(AvgPool(kernel, kernel, (0,) * len(kernel), False, True), x)
    spans = _adaptive(lengths, size)
    counts = torch.ones(())
    for axis in spans:
        counts = counts[..., None] * torch.tensor([float(end - start) for start, end in axis])
    return c.divide(_sums(c, x, spans), Constant(counts))


@aten("adaptive_max_pool2d.default", "adaptive_max_pool3d.default")
def adaptive_max_pool(c: Context, x: TracedValue, size: list[int]) -> list[TracedValue | None]:
    x, _ = _maps(c, x)
    groups = _windows(x.ir, _adaptive(x.ir[1:], size))
    return [largest(c, x, torch.where(groups >= 0, groups, groups.amax(-1, keepdim=True))), None]


Spans = list[list[tuple[int, int]]]  # for each axis the (start, end) of each window


def _adaptive(lengths: tuple[int, ...], size: list[int]) -> Spans:
    """The windows of adaptive pooling: from floor(i n / m) to ceil((i + 1) n / m)."""
    return [[(i * n // m, -(-(i + 1) * n // m)) for i in range(m)] for n, m in zip(lengths, size, strict=True)]


def _windows(shape: tuple[int, ...], spans: Spans) -> torch.Tensor:
    """Entry numbers of the members of each window over maps (channels, *lengths): (channels, *windows, members), -1
    where a window has fewer than others."""
    places = torch.arange(prod(shape)).reshape(shape)
    for axis, ends in enumerate(spans, start=1):
        offsets = torch.arange(max(end - start for start, end in ends))
        index = torch.tensor([start for start, _ in ends])[:, None] + offsets
        inside = index < torch.tensor([end for _, end in ends])[:, None]
        picked = places.movedim(axis, -1)[..., index.clamp(max=shape[axis] - 1)]
        places = torch.where(inside, picked, -1).movedim(-2, axis)
    return places.flatten(len(shape))


def _sums(c: Context, x: TracedValue, spans: Spans) -> TracedValue:
    """The sum over each window."""
    members = c.select(x, _windows(x.ir, spans))
    return c.emit(Sum((len(x.ir),), False, False), members)
