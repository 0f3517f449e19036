"""Operators that pick entries of tensors, some of them constant, by constant positions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from verify.ir.onnx_reader.elementwise import entries, joint_shape
from verify.ir.onnx_reader.reader import NUMPY, Call, Operand, Reader, handles
from verify.ir.onnx_reader.values import Const, Value
from verify.ops import Concat


def places_of(parts: Sequence[Operand]) -> list[np.ndarray]:
    """The place of each entry of each part where all are laid end to end, in the shapes of the parts."""
    starts = np.cumsum([0, *(prod(part.shape) for part in parts)])
    return [start + np.arange(prod(part.shape)).reshape(part.shape) for start, part in zip(starts, parts, strict=False)]


def picked(r: Reader, c: Call, parts: Sequence[Operand], index: np.ndarray, batch: int | None) -> Value:
    """Entries by their place in the parts laid end to end; `index` has the output's ONNX shape. Constant entries are
    zeros among the varying ones, and a shift."""
    varying = [part for part in parts if isinstance(part, Value)]
    flat = [r.lay(c, value, (value.size,), None) for value in varying]
    sizes = tuple(value.size for value in varying)
    row = flat[0] if len(flat) == 1 else r.emit(c, Concat(0, sizes), flat, batch=None)
    kind = NUMPY[r.builder.dtype]
    pieces = iter(np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]))
    place = [next(pieces) if isinstance(p, Value) else np.full(prod(p.shape), -1) for p in parts]
    fill = [np.zeros(p.size, kind) if isinstance(p, Value) else r.constant(c, p).ravel() for p in parts]
    moved = r.move(c, row, np.concatenate(place)[index], batch)
    offset = np.concatenate(fill)[index]
    return r.shift(c, moved, entries(r, c, Const("", offset, offset), moved.shape, batch), f"{c.name}.constants")


def _fixed(r: Reader, c: Call) -> None:
    """Refuses positions in a model with an open batch axis, of which they would name some samples."""
    if r.symbolic:
        c.refuse("picks entries by constant positions, which leave out samples of larger batches",
                 "export the model for one sample")


def _batch(shape: Sequence[int]) -> int | None:
    return 0 if len(shape) > 1 and shape[0] == 1 else None


@handles("Where")
def where(r: Reader, c: Call) -> Value:
    """ONNX's Where by a constant condition: entries of one operand where it holds, of the other elsewhere."""
    chosen, parts = c.const(0), [c.operand(1), c.operand(2)]
    shape, batch = joint_shape(r, c, [chosen, *parts])
    r.spend(c, prod(shape))
    first, second = (np.broadcast_to(place, shape) for place in places_of(parts))
    return picked(r, c, parts, np.where(np.broadcast_to(chosen.array, shape), first, second), batch)


@handles("DepthToSpace")
def depth_to_space(r: Reader, c: Call) -> Value:
    x, size, mode = c.value(), c.attribute("blocksize"), c.attribute("mode", "DCR")
    if x.rank != 4 or x.batch not in (0, None) or x.shape[1] % size**2 or mode not in ("DCR", "CRD"):
        c.refuse(f"has blocksize {size} and mode {mode}")
    n, channels, height, width = x.shape
    index, left = x.positions(), channels // size**2
    if mode == "DCR":
        index = index.reshape(n, size, size, left, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        index = index.reshape(n, left, size, size, height, width).transpose(0, 1, 4, 2, 5, 3)
    return r.move(c, x, index.reshape(n, left, height * size, width * size), x.batch)


@handles("SpaceToDepth")
def space_to_depth(r: Reader, c: Call) -> Value:
    x, size = c.value(), c.attribute("blocksize")
    if x.rank != 4 or x.batch not in (0, None) or x.shape[2] % size or x.shape[3] % size:
        c.refuse(f"has blocksize {size}")
    n, channels, height, width = x.shape
    index = x.positions().reshape(n, channels, height // size, size, width // size, size).transpose(0, 3, 5, 1, 2, 4)
    return r.move(c, x, index.reshape(n, channels * size**2, height // size, width // size), x.batch)


@handles("Tile")
def tile(r: Reader, c: Call) -> Value:
    x, repeats = c.value(), c.integers(1) or []
    if len(repeats) != x.rank or min(repeats, default=1) < 1:
        c.refuse(f"repeats {repeats} times along {x.rank} axes")
    if x.batch is not None and repeats[x.batch] != 1:
        c.refuse_batch()
    r.spend(c, x.size * prod(repeats))
    return r.move(c, x, np.tile(x.positions(), repeats), x.batch)


@handles("Trilu")
def triangle(r: Reader, c: Call) -> Value:
    x, shift = c.value(), int(c.const(1).array.item()) if c.has(1) else 0
    if x.rank < 2 or x.batch in (x.rank - 2, x.rank - 1):
        c.refuse_batch()
    cut = np.triu if c.attribute("upper", 1) else np.tril
    return r.move(c, x, np.where(cut(np.ones(x.shape[-2:], bool), shift), x.positions(), -1), x.batch)


@handles("GatherElements")
def gather_elements(r: Reader, c: Call) -> Value:
    x, wanted = c.value(), c.const(1).array
    axis = c.axis(c.attribute("axis", 0), x.rank)
    _fixed(r, c)
    if any(m > n for i, (m, n) in enumerate(zip(wanted.shape, x.shape, strict=True)) if i != axis):
        c.refuse("picks more entries than there are")
    inner = x.positions()[tuple(slice(m) if i != axis else slice(None) for i, m in enumerate(wanted.shape))]
    return r.move(c, x, np.take_along_axis(inner, _inside(c, wanted, x.shape[axis]), axis), _batch(wanted.shape))


@handles("GatherND")
def gather_nd(r: Reader, c: Call) -> Value:
    x, wanted, shared = c.value(), c.const(1).array, c.attribute("batch_dims", 0)
    _fixed(r, c)
    depth = wanted.shape[-1]
    if wanted.shape[:shared] != x.shape[:shared] or shared + depth > x.rank:
        c.refuse(f"has indices of shape {wanted.shape} and batch_dims {shared}")
    heads = np.indices(wanted.shape[:-1])[:shared]
    steps = [_inside(c, wanted[..., i], x.shape[shared + i]) for i in range(depth)]
    index = x.positions()[(*heads, *steps)]
    return r.move(c, x, index, _batch(index.shape))


@handles("ScatterElements", "Scatter", "ScatterND")
def scatter(r: Reader, c: Call) -> Value:
    """The data with some entries replaced, the last of those that are given for one place."""
    data, wanted, updates = c.operand(0), c.const(1).array, c.operand(2)
    if c.attribute("reduction", "none") != "none":
        c.refuse("adds to entries that it names", "export the model without this reduction")
    _fixed(r, c)
    index, given = places_of([data, updates])
    if c.op == "ScatterND":
        depth = wanted.shape[-1]
        steps = tuple(_inside(c, wanted[..., i], data.shape[i]) for i in range(depth))
        fits = given.shape == (*wanted.shape[:-1], *data.shape[depth:])
    else:
        axis = c.axis(c.attribute("axis", 0), len(data.shape))
        steps = tuple(_inside(c, wanted, n) if i == axis else place
                      for i, (place, n) in enumerate(zip(np.indices(wanted.shape), data.shape, strict=True)))
        fits = given.shape == wanted.shape
    if not fits:
        c.refuse(f"has updates of shape {given.shape} for indices of shape {wanted.shape}")
    named = np.stack([np.ravel_multi_index(steps, data.shape[: len(steps)])]).ravel()
    if len(np.unique(named)) < len(named):
        c.refuse("replaces an entry twice", "give each position once")
    index[steps] = given
    return picked(r, c, [data, updates], index, _batch(index.shape))


def _inside(c: Call, wanted: np.ndarray, n: int) -> np.ndarray:
    """Positions along an axis of length n, counted from the front."""
    if ((wanted < -n) | (wanted >= n)).any():
        c.refuse(f"picks entries outside an axis of length {n}")
    return wanted.astype(np.int64) % n
