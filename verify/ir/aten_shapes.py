"""ATen operators that move, copy or join entries, in terms of the IR."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ir.aten import Constant, Context, aten
from verify.ir.aten_copy import mix, move
from verify.ir.aten_layout import TracedValue, sized
from verify.ops import Concat

SAME = ("clone.default", "alias.default", "detach.default", "_to_copy.default", "lift_fresh_copy.default")


@aten(*SAME, compares=True)
def same(c: Context, x: Any, *options: Any) -> Any:
    """The tensor itself; a change of type is caught where the result is checked."""
    return x


@aten("sym_size.int")
def sym_size(c: Context, x: TracedValue, dim: int) -> int:
    return c.full(x)[dim]


@aten("full_like.default")
def full_like(c: Context, x: TracedValue, fill: float, *options: Any) -> Constant:
    return Constant(torch.tensor(fill, dtype=c.builder.dtype).expand(c.full(x)))


@aten("view.default", "_unsafe_view.default", "reshape.default")
def view(c: Context, x: TracedValue, shape: list[int]) -> TracedValue:
    known = prod(n for n in shape if n != -1)
    total = prod(c.full(x))
    return c.reshape(x, tuple(total // max(known, 1) if n == -1 else n for n in shape))


@aten("unsqueeze.default")
def unsqueeze(c: Context, x: TracedValue, dim: int) -> TracedValue:
    shape = list(c.full(x))
    shape.insert(dim % (x.rank + 1), 1)
    return c.reshape(x, tuple(shape))


@aten("squeeze.dims", "squeeze.dim", "squeeze.default")
def squeeze(c: Context, x: TracedValue, dims: list[int] | int | None = None) -> TracedValue:
    listed = [dims] if isinstance(dims, int) else range(x.rank) if dims is None else dims
    dropped = {d % max(x.rank, 1) for d in listed}
    return c.reshape(x, tuple(n for i, n in enumerate(c.full(x)) if i not in dropped or n != 1))


@aten("permute.default")
def permute(c: Context, x: TracedValue, dims: list[int]) -> TracedValue:
    return c.permute(x, dims)


@aten("expand.default")
def expand(c: Context, x: TracedValue, sizes: list[int], implicit: bool = False) -> TracedValue:
    if not x.is_bare(c.batch):
        at = len(sizes) - x.rank + x.at  # the batch stays as long as it is
        if sizes[at] not in (-1, c.full(x)[x.at]):
            raise c.mixed(at)
        sizes = [*sizes[:at], -1, *sizes[at + 1 :]]
    return move(c, x, lambda t: t.expand(sizes))


@aten("repeat.default")
def repeat(c: Context, x: TracedValue, repeats: list[int]) -> TracedValue:
    return move(c, x, lambda t: t.repeat(repeats))


@aten("flip.default")
def flip(c: Context, x: TracedValue, dims: list[int]) -> TracedValue:
    return move(c, x, lambda t: t.flip(dims))


@aten("slice.Tensor")
def slice_(c: Context, x: TracedValue, dim: int, start: int | None, end: int | None, step: int) -> TracedValue:
    length = c.full(x)[dim]
    span = range(length)[slice(start, end, step)]
    if span == range(length):
        return x
    c.axis(x, dim)  # entries picked by number along the batch axis belong to other samples
    return move(c, x, lambda t: t.index_select(dim, torch.tensor(span, dtype=torch.long)))


@aten("select.int")
def select(c: Context, x: TracedValue, dim: int, index: int) -> TracedValue:
    if c.batch == 1 and dim % x.rank == x.at and not x.folded:
        return c.reshape(x, x.ir)
    c.axis(x, dim)
    return move(c, x, lambda t: t.select(dim, index))


@aten("index_select.default")
def index_select(c: Context, x: TracedValue, dim: int, index: Any) -> TracedValue:
    c.axis(x, dim)
    places = c.constant(index).tensor
    return move(c, x, lambda t: t.index_select(dim, places))


@aten("index.Tensor")
def index_(c: Context, x: Any, indices: list[Any]) -> TracedValue:
    x = c.varying(x)
    if x.at < len(indices) and indices[x.at] is not None:
        c.axis(x, x.at)
    places = _places(c, indices)
    return move(c, x, lambda t: t[places])


@aten("gather.default")
def gather(c: Context, x: Any, dim: int, index: Any, sparse: bool = False) -> TracedValue:
    if isinstance(index, TracedValue):
        raise c.refuse("picks entries by positions that vary, which jumps; pick them by fixed positions")
    x = c.varying(x)
    return move(c, x, lambda t: t.gather(dim, beside(c, x, c.constant(index).tensor, t)))


def beside(c: Context, x: TracedValue, index: Tensor, numbered: Tensor) -> Tensor:
    """Positions beside a traced tensor, for as many samples as its entry numbers have."""
    if not c.is_shared(x, index):
        raise c.mixed(x.at)
    samples = numbered.shape[x.at] // (x.ir[x.at] if x.folded else 1) if numbered.ndim else 1
    return sized(x, index, c.batch, samples)


def _places(c: Context, indices: list[Any]) -> tuple[Any, ...]:
    return tuple(slice(None) if i is None else c.constant(i).tensor for i in indices)


@aten("split_with_sizes.default")
def split(c: Context, x: TracedValue, sizes: list[int], dim: int) -> list[TracedValue]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [slice_(c, x, dim, end - size, end, 1) for size, end in zip(sizes, ends, strict=True)]


@aten("split.Tensor")
def split_evenly(c: Context, x: TracedValue, size: int, dim: int) -> list[TracedValue]:
    length = c.full(x)[dim]
    return [slice_(c, x, dim, start, min(start + size, length), 1) for start in range(0, length, size)]


@aten("unbind.int")
def unbind(c: Context, x: TracedValue, dim: int) -> list[TracedValue]:
    return [select(c, x, dim, i) for i in range(c.full(x)[dim])]


@aten("unfold.default")
def unfold(c: Context, x: TracedValue, dim: int, size: int, step: int) -> TracedValue:
    return move(c, x, lambda t: t.unfold(dim, size, step))


@aten("constant_pad_nd.default")
def pad(c: Context, x: TracedValue, widths: list[int], value: float) -> TracedValue:
    if value == 0:
        return move(c, x, lambda t: F.pad(t, widths, value=-1.0))
    return mix(c, [x, c.constant(value)], lambda t, fill: F.pad(t, widths, value=float(fill)))


@aten("pad.default")
def pad_by_mode(c: Context, x: TracedValue, widths: list[int], mode: str, value: float | None) -> TracedValue:
    if mode == "constant":
        return pad(c, x, widths, value or 0.0)
    return move(c, x, lambda t: F.pad(t, widths, mode=mode))


@aten("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec")
def upsample(c: Context, x: TracedValue, size: list[int] | None, scales: list[float] | None) -> TracedValue:
    factors = None if scales is None else tuple(scales)
    return move(c, c.leading(x), lambda t: F.interpolate(t, size, factors, mode="nearest"))


@aten("upsample_nearest1d.default", "upsample_nearest2d.default", "upsample_nearest3d.default")
def upsample_to(c: Context, x: TracedValue, size: list[int], *scales: float | None) -> TracedValue:
    name = str(c.node.target).split(".")[1]
    resize = getattr(torch.ops.aten, name).default
    return move(c, c.leading(x), lambda t: resize(t, size, *scales))


@aten("cat.default")
def cat(c: Context, parts: list[Any], dim: int) -> TracedValue:
    first = next(x for x in parts if isinstance(x, TracedValue))
    if len(parts) == 1:
        return first
    layout = first.rank, first.at, first.folded
    if any(not isinstance(x, TracedValue) or (x.rank, x.at, x.folded) != layout for x in parts):
        if not first.is_bare(c.batch):
            c.axis(first, dim)
        return mix(c, parts, lambda *tensors: torch.cat(tensors, dim))
    axis = c.axis(first, dim)
    return c.emit(Concat(axis, tuple(x.ir[axis] for x in parts)), *parts)
