"""ATen operators that move, copy or join entries, in terms of the IR."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ir.aten import Constant, Context, Value, aten
from verify.ops import Concat, Permute, Shift


@aten("clone.default", "alias.default", "detach.default", "_to_copy.default", "lift_fresh_copy.default")
def same(c: Context, x: Value, *options: Any) -> Value:
    """The tensor itself; a change of type is caught where the result is checked."""
    return x


@aten("sym_size.int")
def sym_size(c: Context, x: Value, dim: int) -> int:
    return c.full(x)[dim]


@aten("full_like.default")
def full_like(c: Context, x: Value, fill: float, *options: Any) -> Constant:
    return Constant(torch.tensor(fill, dtype=c.builder.dtype).expand(c.full(x)))


@aten("view.default", "_unsafe_view.default", "reshape.default")
def view(c: Context, x: Value, shape: list[int]) -> Value:
    known = prod(n for n in shape if n != -1)
    total = prod(c.full(x))
    return c.reshape(x, tuple(total // max(known, 1) if n == -1 else n for n in shape))


@aten("unsqueeze.default")
def unsqueeze(c: Context, x: Value, dim: int) -> Value:
    shape = list(c.full(x))
    shape.insert(dim % (x.rank + 1), 1)
    return c.reshape(x, tuple(shape))


@aten("squeeze.dims", "squeeze.dim", "squeeze.default")
def squeeze(c: Context, x: Value, dims: list[int] | int | None = None) -> Value:
    listed = [dims] if isinstance(dims, int) else range(x.rank) if dims is None else dims
    dropped = {d % max(x.rank, 1) for d in listed}
    return c.reshape(x, tuple(n for i, n in enumerate(c.full(x)) if i not in dropped or n != 1))


@aten("permute.default")
def permute(c: Context, x: Value, dims: list[int]) -> Value:
    order = [d % x.rank for d in dims]
    if x.lead or c.batch > 1:
        if order[0] != 0:
            raise c.mixed()
        order = [d - x.lead for d in (order[1:] if x.lead else order)]
    return c.emit(Permute(tuple(order)), x)


@aten("expand.default")
def expand(c: Context, x: Value, sizes: list[int], implicit: bool = False) -> Value:
    if x.lead or c.batch > 1:
        if len(sizes) != x.rank or sizes[0] not in (-1, c.full(x)[0]):
            raise c.mixed()
        sizes = [-1, *sizes[1:]]
    return c.move(x, lambda t: t.expand(sizes))


@aten("repeat.default")
def repeat(c: Context, x: Value, repeats: list[int]) -> Value:
    return c.move(x, lambda t: t.repeat(repeats))


@aten("flip.default")
def flip(c: Context, x: Value, dims: list[int]) -> Value:
    return c.move(x, lambda t: t.flip(dims))


@aten("slice.Tensor")
def slice_(c: Context, x: Value, dim: int, start: int | None, end: int | None, step: int) -> Value:
    length = c.full(x)[dim]
    span = range(length)[slice(start, end, step)]
    if span == range(length):
        return x
    c.axis(x, dim)  # entries picked by number along the batch axis belong to other samples
    return c.move(x, lambda t: t.index_select(dim, torch.tensor(span, dtype=torch.long)))


@aten("select.int")
def select(c: Context, x: Value, dim: int, index: int) -> Value:
    if dim % x.rank == 0 and x.lead and c.batch == 1:
        return c.reshape(x, x.ir)
    c.axis(x, dim)
    return c.move(x, lambda t: t.select(dim, index))


@aten("index_select.default")
def index_select(c: Context, x: Value, dim: int, index: Any) -> Value:
    c.axis(x, dim)
    places = c.constant(index).tensor
    return c.move(x, lambda t: t.index_select(dim, places))


@aten("index.Tensor")
def index_(c: Context, x: Any, indices: list[Any]) -> Value:
    x = c.varying(x)
    if indices[0] is not None:
        c.axis(x, 0)
    places = [slice(None) if i is None else c.constant(i).tensor for i in indices]
    return c.move(x, lambda t: t[tuple(places)])


@aten("split_with_sizes.default")
def split(c: Context, x: Value, sizes: list[int], dim: int) -> list[Value]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [slice_(c, x, dim, end - size, end, 1) for size, end in zip(sizes, ends, strict=True)]


@aten("split.Tensor")
def split_evenly(c: Context, x: Value, size: int, dim: int) -> list[Value]:
    length = c.full(x)[dim]
    return [slice_(c, x, dim, start, min(start + size, length), 1) for start in range(0, length, size)]


@aten("unbind.int")
def unbind(c: Context, x: Value, dim: int) -> list[Value]:
    return [select(c, x, dim, i) for i in range(c.full(x)[dim])]


@aten("constant_pad_nd.default")
def pad(c: Context, x: Value, widths: list[int], value: float) -> Value:
    moved = c.move(x, lambda t: F.pad(t, widths, value=-1.0))
    if value == 0:
        return moved
    inside = torch.zeros(x.ir if not x.lead else (1, *x.ir), dtype=c.builder.dtype)
    return c.shift(moved, Constant(F.pad(inside, widths, value=value)))


@aten("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec")
def upsample(c: Context, x: Value, size: list[int] | None, scales: list[float] | None) -> Value:
    if not x.lead:
        raise c.mixed()
    factors = None if scales is None else tuple(scales)
    return c.move(x, lambda t: F.interpolate(t, size, factors, mode="nearest"))


@aten("upsample_nearest1d.default", "upsample_nearest2d.default", "upsample_nearest3d.default")
def upsample_to(c: Context, x: Value, size: list[int], *scales: float | None) -> Value:
    name = str(c.node.target).split(".")[1]
    resize = getattr(torch.ops.aten, name).default
    if not x.lead:
        raise c.mixed()
    return c.move(x, lambda t: resize(t, size, *scales))


@aten("cat.default")
def cat(c: Context, parts: list[Any], dim: int) -> Value:
    values = [x for x in parts if isinstance(x, Value)]
    first = values[0]
    if any(x.rank != first.rank or x.lead != first.lead for x in values):
        raise c.refuse("joins tensors with and without a batch axis; give all of them the batch axis")
    axis = c.axis(first, dim)
    joined = first if len(values) == 1 else c.emit(Concat(axis, tuple(x.ir[axis] for x in values)), *values)
    return joined if len(values) == len(parts) else _with_constants(c, parts, joined, axis)


def _with_constants(c: Context, parts: list[Any], joined: Value, axis: int) -> Value:
    """The varying parts, joined already, moved to their places, and the constant ones added in theirs."""
    places = torch.arange(prod(joined.ir)).reshape(joined.ir)
    index: list[Tensor] = []
    offset: list[Tensor] = []
    trained, start = False, 0
    for x in parts:
        if isinstance(x, Value):
            index.append(places.narrow(axis, start, x.ir[axis]))
            offset.append(torch.zeros(x.ir, dtype=c.builder.dtype))
            start += x.ir[axis]
        else:
            constant = c.per_sample(joined, x)
            offset.append(constant.tensor.to(c.builder.dtype))
            index.append(torch.full(constant.tensor.shape, -1))
            trained |= constant.trained
    moved = c.select(joined, torch.cat(index, axis))
    name = c.parameter(Constant(torch.cat(offset, axis), None, trained), "offset")
    return c.emit(Shift(moved.ir), moved, parameters=(name,))
