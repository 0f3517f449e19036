"""ONNX operators that only move entries: each one function from an array to arrays.

The array holds a constant's values or a value's positions, so constants are folded by the same code; `none` stands for
zero, 0 in the first and -1 in the second.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod

import numpy as np

from verify.check.onnx_graph import WHOLE, Call, Operand, Shape, Value, Writer

Move = Callable[[Writer, Call, np.ndarray, int], list[np.ndarray]]


def _reshape(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    zeros = bool(c.integer("allowzero", 0))
    target = c.integers(1) or []
    if not zeros and any(n == 0 and i >= x.ndim for i, n in enumerate(target)):
        c.refuse(f"copies more lengths than the {x.ndim} that there are")
    target = [x.shape[i] if n == 0 and not zeros else n for i, n in enumerate(target)]
    known = prod(n for n in target if n != -1)
    if min(target, default=0) < -1 or target.count(-1) > 1 or known < 0 or (known == 0 and -1 in target):
        c.refuse(f"asks for the shape {target[:16]}")
    shape = tuple(x.size // known if n == -1 else n for n in target)
    if prod(shape) != x.size:
        c.refuse(f"asks for the shape {target[:16]} of {x.size} entries")
    return [x.reshape(shape)]


def _flatten(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    axis = c.integer("axis", 1)
    axis = axis if axis == x.ndim else c.axis(axis, x.ndim)
    return [x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))]


def _squeeze(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    given = c.integers(1, "axes")
    if given is None:
        if w.symbolic:
            c.refuse("drops whatever axes have length 1, the batch axis perhaps among them")
        return [x.squeeze()]
    return [x.squeeze(tuple(c.axis(a, x.ndim) for a in given))]


def _unsqueeze(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    given = c.integers(1, "axes") or []
    return [np.expand_dims(x, [c.axis(a, x.ndim + len(given)) for a in given])]


def _transpose(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    order = c.listed("perm")
    return [x.transpose(range(x.ndim)[::-1] if order is None else order)]


def _slice(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    starts, ends = c.integers(1, "starts") or [], c.integers(2, "ends") or []
    axes, steps = c.integers(3, "axes"), c.integers(4) or [1] * len(starts)
    axes = [c.axis(a, x.ndim) for a in (range(len(starts)) if axes is None else axes)]
    if len(set(axes)) < len(axes) or 0 in steps:
        c.refuse("slices an axis twice, or in steps of 0")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = x.shape[axis]
        least, most = (0, n) if step > 0 else (-1, n - 1)
        start, end = (min(max(p + n if p < 0 else p, least), most) for p in (start, end))
        x = np.take(x, np.arange(max(start, 0), end, step), axis)
    return [x]


def _gather(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    picked, axis = c.const(1), c.axis(c.integer("axis", 0), x.ndim)
    n = x.shape[axis]
    if picked.dtype not in WHOLE or n == 0 or (picked.size and not -n <= picked.min() <= picked.max() < n):
        c.refuse(f"picks entries outside an axis of length {n}")
    w.spend(c, picked.size, x.size // n)
    return [np.asarray(np.take(x, picked % n, axis))]


def _split(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    axis = c.axis(c.integer("axis", 0), x.ndim)
    n, parts = x.shape[axis], c.integer("num_outputs", c.outputs)
    if c.opset < 18 and n % max(parts, 1) and not (c.has(1) or c.listed("split")):
        c.refuse(f"splits an axis of length {n} into {parts} equal parts")
    each = -(-n // max(parts, 1))
    sizes = c.integers(1, "split") or [min(each, n - i * each) for i in range(min(parts, n))]
    if min(sizes, default=-1) < 0 or sum(sizes) != n or len(sizes) != c.outputs:
        c.refuse(f"splits an axis of length {n} into {sizes[:16]}")
    return [np.take(x, np.arange(a, b), axis) for a, b in pairwise(np.cumsum([0, *sizes]).tolist())]


def _pad(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    low, high = pad_widths(c, x.ndim)
    w.spend(c, *(n + a + b for n, a, b in zip(x.shape, low, high, strict=True)))
    return [np.pad(x, list(zip(low, high, strict=True)), constant_values=none)]


def _expand(w: Writer, c: Call, x: np.ndarray, none: int) -> list[np.ndarray]:
    target = tuple(c.integers(1) or ())
    if min(target, default=0) < 0:
        c.refuse(f"asks for the shape {target[:8]}")
    shape = np.broadcast_shapes(x.shape, target)
    w.spend(c, *shape)
    return [np.broadcast_to(x, shape)]


def pad_widths(c: Call, rank: int) -> tuple[list[int], list[int]]:
    """Zeros before and after each axis of a Pad."""
    given, axes = c.integers(1, "pads") or [], c.integers(3)
    axes = [c.axis(a, rank) for a in (range(rank) if axes is None else axes)]
    fill = float(c.const(2).item()) if c.has(2) else c.number("value", 0.0)
    if c.text("mode", "constant") != "constant" or fill != 0 or min(given, default=0) < 0:
        c.refuse("pads with something else than zeros, or cuts")
    low, high = [0] * rank, [0] * rank
    if len(given) != 2 * len(axes) or len(set(axes)) < len(axes):
        c.refuse(f"has {len(given)} pads for {len(axes)} axes")
    for place, axis in enumerate(axes):
        low[axis], high[axis] = given[place], given[len(axes) + place]
    return low, high


MOVES: dict[str, Move] = {
    "Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze, "Transpose": _transpose,
    "Slice": _slice, "Gather": _gather, "Split": _split, "Pad": _pad, "Expand": _expand,
}


def moved(w: Writer, c: Call) -> list[Operand]:
    """The outputs of a node that MOVES lists."""
    x = c.operand(0)
    if isinstance(x, np.ndarray):
        return list(MOVES[c.op](w, c, x, 0))
    out = [w.move(c, x, index) for index in MOVES[c.op](w, c, w.positions(c, x), -1)]
    if c.op == "Pad" and x.rank > 2 and x.shape[0] == 1:
        low, high = (np.array(widths) for widths in pad_widths(c, x.rank))
        if not (low[:2].any() or high[:2].any()):
            w.padded[out[0].name] = (x, low[2:], high[2:])
    return list(out)


def concatenated(w: Writer, c: Call) -> Operand:
    """Constants among values are zeros, and a sum with them afterwards."""
    parts = [c.operand(i) for i in range(len(c.inputs))]
    axis = c.axis(c.integer("axis", 0), len(parts[0].shape))
    w.spend(c, sum(prod(part.shape) for part in parts))
    if len({part.dtype for part in parts if isinstance(part, np.ndarray)}) > 1:
        c.refuse("joins constants of different types")
    if not any(isinstance(part, Value) for part in parts):
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)], axis)
    values, index, start = [], [], 0
    for part in parts:
        if isinstance(part, Value):
            values.append(part)
            index.append(w.positions(c, part) + start)
            start += part.size
        else:
            index.append(np.full(part.shape, -1))
    places = np.concatenate(index, axis)
    if len(values) == len(parts) == 1:
        return values[0]
    out = w.gather(c, values, places.reshape(-1, 1), places.shape)
    fills = [np.zeros(p.shape, w.kind) if isinstance(p, Value) else w.floats(c, p) for p in parts]
    return w.shift(c, out, np.concatenate(fills, axis))


def broadcast(w: Writer, c: Call, value: Value, shape: Shape) -> Value:
    """The value repeated to this shape."""
    w.spend(c, *shape)
    return w.move(c, value, np.broadcast_to(w.positions(c, value), shape))
