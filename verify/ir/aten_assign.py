"""ATen operators that write into a part of a tensor, as assignment to an index is exported, in terms of the IR."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from verify.ir.aten import Constant, Context, aten
from verify.ir.aten_copy import mix
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_ops import combine
from verify.ir.aten_shapes import beside
from verify.ir.aten_where import Comparison, where
from verify.ops import Sum


@aten("copy.default")
def copy(c: Context, x: Any, source: Any, non_blocking: bool) -> TracedValue:
    return mix(c, [x, source], lambda x, source: source.expand_as(x))


@aten("slice_scatter.default")
def slice_scatter(
    c: Context, x: Any, source: Any, dim: int, start: int | None, end: int | None, step: int
) -> TracedValue:
    return mix(c, [x, source], lambda x, source: torch.slice_scatter(x, source, dim, start, end, step))


@aten("select_scatter.default")
def select_scatter(c: Context, x: Any, source: Any, dim: int, index: int) -> TracedValue:
    return mix(c, [x, source], lambda x, source: torch.select_scatter(x, source, dim, index))


@aten("scatter.src", "scatter.value")
def scatter(c: Context, x: Any, dim: int, index: Any, source: Any) -> TracedValue:
    parts = [x, source if isinstance(source, TracedValue) else c.constant(source)]
    like = next(part for part in parts if isinstance(part, TracedValue))
    places = c.constant(index).tensor
    if int(places.numel()) and dim % max(like.rank, 1) == like.at and not like.is_bare(c.batch):
        raise c.mixed(like.at)

    def copy(target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        where = beside(c, like, places, target if isinstance(x, TracedValue) else source)
        return target.scatter(dim, where, source if source.ndim else source.expand(where.shape))

    return mix(c, parts, copy)


@aten("index_put.default", compares=True)
def index_put(c: Context, x: Any, indices: list[Any], values: Any, accumulate: bool) -> Any:
    if isinstance(indices[0], Comparison):
        if len(indices) > 1 or accumulate or not isinstance(values, Constant) or values.tensor.numel() != 1:
            raise c.refuse("assigns where a comparison holds; choose with torch.where")
        return where(c, indices[0], values, x)
    places = tuple(None if i is None else c.constant(i).tensor for i in indices)
    if accumulate:
        return _accumulate(c, x, places, values)
    return mix(c, [x, values], lambda x, values: torch.ops.aten.index_put(x, places, values))


def _accumulate(c: Context, x: Any, places: tuple[Any, ...], values: Any) -> TracedValue:
    """x with `values` added at these places, which may repeat."""
    values = c.varying(values)
    start = 0 if values.is_bare(c.batch) else 1
    if start:
        values = c.leading(values)
        if places[0] is not None:
            raise c.mixed()
        places = places[1:]
    shape = x.ir if isinstance(x, TracedValue) else tuple(x.tensor.shape[start:])
    whole = tuple(slice(None) if i is None else i for i in places)
    target = torch.arange(prod(shape)).reshape(shape)[whole]
    source = torch.arange(prod(values.ir)).reshape(values.ir).expand(target.shape)
    total = c.emit(Sum((len(shape),), False, False), c.select(values, _members(target, source, prod(shape), shape)))
    if isinstance(x, Constant) and not bool(x.tensor.any()):
        return total
    return combine(c, total, x, 1, 1)


def _members(target: torch.Tensor, source: torch.Tensor, count: int, shape: tuple[int, ...]) -> torch.Tensor:
    """The sources of each target, (*shape, most of them), -1 where there are fewer; target and source of one shape."""
    order = target.flatten().argsort(stable=True)
    ends = target.flatten().bincount(minlength=count)
    place = torch.arange(order.numel()) - (ends.cumsum(0) - ends).repeat_interleave(ends)
    table = torch.full((count, int(ends.max())), -1)
    table[target.flatten()[order], place] = source.flatten()[order]
    return table.reshape(*shape, -1)
