"""Operators that only move entries: one function each from ONNX's rules to shapes or arrays of positions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from verify.ir.onnx_reader.elementwise import broadcast, entries
from verify.ir.onnx_reader.reader import NUMPY, Call, Reader, handles
from verify.ir.onnx_reader.values import SEVERAL, Const, Shape, Value, places
from verify.ops import Concat


@handles("Reshape")
def reshape(r: Reader, c: Call) -> Value:
    x, target = c.value(), c.operand(1)
    if isinstance(target, Value):
        c.refuse("takes its shape from the network's input")
    zeros = bool(c.attribute("allowzero", 0))
    shape = _resolve(x.shape, target.array, zeros)
    if shape is None:
        c.refuse(f"asks for the shape {target.array.tolist()}, which does not fit")
    return r.reshape(c, x, shape, _resolve(x.several, target.several, zeros))


def _resolve(shape: Shape, target: np.ndarray, keeps_zeros: bool) -> Shape | None:
    """The shape that a target with 0 (copied) and -1 (the rest) stands for; None where the sizes differ."""
    found = [int(n) for n in target.ravel()]
    if not keeps_zeros:
        if any(n == 0 and i >= len(shape) for i, n in enumerate(found)):
            return None
        found = [shape[i] if n == 0 else n for i, n in enumerate(found)]
    known = prod(n for n in found if n != -1)
    if found.count(-1) == 1 and known > 0 and prod(shape) % known == 0:
        found = [prod(shape) // known if n == -1 else n for n in found]
    return tuple(found) if -1 not in found and prod(found) == prod(shape) else None


@handles("Flatten")
def flatten(r: Reader, c: Call) -> Value:
    x = c.value()
    axis = c.attribute("axis", 1)
    axis = axis if axis == x.rank else c.axis(axis, x.rank)
    return r.reshape(c, x, *((prod(s[:axis]), prod(s[axis:])) for s in (x.shape, x.several)))


@handles("Squeeze")
def squeeze(r: Reader, c: Call) -> Value:
    """Without axes a symbolic batch axis stays."""
    x, given = c.value(), c.integers(1, "axes")
    reference = x.several if r.symbolic else x.shape
    axes = [i for i, n in enumerate(reference) if n == 1] if given is None else [c.axis(a, x.rank) for a in given]
    if any(x.shape[a] != 1 for a in axes):
        c.refuse(f"drops axes {axes}, not all of length 1")
    return r.reshape(c, x, *(tuple(n for i, n in enumerate(s) if i not in axes) for s in (x.shape, x.several)))


@handles("Unsqueeze")
def unsqueeze(r: Reader, c: Call) -> Value:
    x, given = c.value(), c.integers(1, "axes") or []
    return r.grow(c, x, {c.axis(a, x.rank + len(given)) for a in given})


@handles("Transpose")
def transpose(r: Reader, c: Call) -> Value:
    x = c.value()
    order = c.attribute("perm") or range(x.rank)[::-1]
    if sorted(order) != list(range(x.rank)):
        c.refuse(f"has the order of axes {list(order)}")
    return r.transpose(c, x, order)


@handles("Slice")
def slice_(r: Reader, c: Call) -> Value:
    x = c.value()
    starts, ends = c.integers(1, "starts") or [], c.integers(2, "ends") or []
    axes, steps = c.integers(3, "axes") or range(len(starts)), c.integers(4) or [1] * len(starts)
    index = x.positions()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = c.axis(axis, x.rank)
        if axis == x.batch:
            _keep_batch(r, c, start, end, step)
        index = np.take(index, places(x.shape[axis], start, end, step), axis)
    return r.move(c, x, index, x.batch)


def _keep_batch(r: Reader, c: Call, start: int, end: int, step: int) -> None:
    """A slice of the batch axis must keep all of it, whatever its length."""
    lengths = (1, SEVERAL) if r.symbolic else (1,)
    if any(not np.array_equal(places(n, start, end, step), np.arange(n)) for n in lengths):
        c.refuse_batch()


@handles("Gather")
def gather(r: Reader, c: Call) -> Value:
    x, picked = c.value(), c.const(1).array
    axis = c.axis(c.attribute("axis", 0), x.rank)
    if axis == x.batch:
        c.refuse_batch()
    n = x.shape[axis]
    if picked.size and (picked.min() < -n or picked.max() >= n):
        c.refuse(f"picks entries outside an axis of length {n}")
    batch = x.batch if x.batch is None or x.batch < axis else x.batch + picked.ndim - 1
    r.spend(c, x.size // max(n, 1) * picked.size)
    return r.move(c, x, np.take(x.positions(), picked.astype(np.int64) % n, axis), batch)


@handles("Split")
def split(r: Reader, c: Call) -> list[Value]:
    x = c.value()
    axis = c.axis(c.attribute("axis", 0), x.rank)
    if axis == x.batch:
        c.refuse_batch()
    n, parts = x.shape[axis], c.attribute("num_outputs", c.outputs)
    if not c.has(1) and c.opset < 18 and n % parts and not c.attribute("split"):
        c.refuse(f"splits an axis of length {n} into {parts} equal parts", "give the lengths of the parts")
    each = -(-n // parts)
    sizes = c.integers(1, "split") or [min(each, n - i * each) for i in range(parts)]
    if sum(sizes) != n or min(sizes) < 0 or len(sizes) != c.outputs:
        c.refuse(f"splits an axis of length {n} into {sizes}")
    edges = pairwise(np.cumsum([0, *sizes]))
    return [r.move(c, x, np.take(x.positions(), np.arange(a, b), axis), x.batch) for a, b in edges]


@handles("Concat")
def concat(r: Reader, c: Call) -> Value:
    """Constant parts are zeros put among the varying ones, and a shift."""
    parts = [c.operand(i) for i in range(len(c.inputs))]
    first = next(p for p in parts if isinstance(p, Value))
    axis = c.axis(c.attribute("axis"), first.rank)
    batch = first.batch
    if axis == batch:
        c.refuse_batch()
    values = [_with_batch(r, c, p, batch) for p in parts if isinstance(p, Value)]
    sizes = tuple(v.shape[axis] for v in values)
    inner = axis - (batch is not None and axis > batch)
    out = values[0] if len(values) == 1 else r.emit(c, Concat(inner, sizes), values, batch=batch)
    if len(values) == len(parts):
        return out
    pieces = np.split(out.positions(), np.cumsum(sizes)[:-1], axis)
    arrays = iter(pieces)
    index = [next(arrays) if isinstance(p, Value) else np.full(p.shape, -1) for p in parts]
    kind = NUMPY[r.builder.dtype]
    fills = [np.zeros(p.shape, kind) if isinstance(p, Value) else r.constant(c, p) for p in parts]
    offset = np.concatenate(fills, axis)
    moved = r.move(c, out, np.concatenate(index, axis), batch)
    return r.shift(c, moved, entries(r, c, Const("", offset, offset), moved.shape, batch), f"{c.name}.constants")


def _with_batch(r: Reader, c: Call, value: Value, batch: int | None) -> Value:
    """The value with its batch axis at `batch`, where it must be if the axis is symbolic."""
    if value.batch == batch:
        return value
    if r.symbolic or (batch is not None and value.shape[batch] != 1):
        c.refuse_batch()
    return r.lay(c, value, value.shape, batch)


@handles("Expand")
def expand(r: Reader, c: Call) -> Value:
    x, target = c.value(), c.operand(1)
    if isinstance(target, Value):
        c.refuse("takes its shape from the network's input")
    shape = tuple(np.broadcast_shapes(x.shape, tuple(int(n) for n in target.array)))
    batch = None if x.batch is None else x.batch + len(shape) - x.rank
    if batch is not None and shape[batch] != 1:
        c.refuse_batch()
    several = np.broadcast_shapes(x.several, tuple(int(n) for n in target.several))
    if several != tuple(SEVERAL if i == batch else n for i, n in enumerate(shape)):
        c.refuse_batch()
    return broadcast(r, c, x, shape, batch)


@handles("Pad")
def pad(r: Reader, c: Call) -> Value:
    """Remembers plain zero padding of spatial axes, which a convolution may take over."""
    x, mode = c.value(), c.attribute("mode", "constant")
    given = c.integers(1, "pads") or []
    axes = [c.axis(a, x.rank) for a in c.integers(3) or range(x.rank)]
    fill = c.const(2).array.item() if c.has(2) else c.attribute("value", 0.0)
    low, high = np.zeros((2, x.rank), dtype=int)
    low[axes], high[axes] = np.array(given).reshape(2, -1)
    if x.batch is not None and (low[x.batch] or high[x.batch]):
        c.refuse_batch()
    left = np.array(x.shape) + np.minimum(low, 0) + np.minimum(high, 0)
    if (left < 1).any():
        c.refuse(f"cuts off as many entries as there are (pads {given})", "cut with Slice")
    if mode == "reflect" and (np.maximum(low, high) >= left).any():
        c.refuse(f"reflects more entries than there are (pads {given})", "use smaller pads")
    r.spend(c, prod((low + high + x.shape).tolist()))
    cut = tuple(slice(max(0, -a), n - max(0, -b)) for a, b, n in zip(low, high, x.shape, strict=True))
    widths = [(max(0, a), max(0, b)) for a, b in zip(low, high, strict=True)]
    if mode != "constant":
        if mode not in ("reflect", "edge", "wrap"):
            c.refuse(f"has mode {mode}")
        return r.move(c, x, np.pad(x.positions()[cut], widths, mode=mode), x.batch)
    index = np.pad(x.positions()[cut], widths, constant_values=-1)
    out = r.move(c, x, index, x.batch)
    if fill != 0:
        offset = np.where(index < 0, fill, 0).astype(NUMPY[r.builder.dtype])
        return r.shift(c, out, entries(r, c, Const("", offset, offset), out.shape, out.batch), f"{c.name}.fill")
    if x.batch == 0 and x.rank > 2 and min(low.min(), high.min()) >= 0 and not (low[1] or high[1]):
        r.padded[out.name] = (x, low[2:], high[2:])
    return out


def shape_of(c: Call, x: Value) -> Sequence[np.ndarray]:
    """What Shape and Size say of a varying tensor, for batches of 1 and of SEVERAL."""
    if c.op == "Size":
        return [np.array(prod(s), np.int64) for s in (x.shape, x.several)]
    start, end = c.attribute("start", 0), c.attribute("end", None)
    return [np.array(s[start:end], np.int64) for s in (x.shape, x.several)]
