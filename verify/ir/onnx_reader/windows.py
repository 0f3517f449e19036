"""Reductions, and pooling with any padding: windows are arrays of positions."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np

from verify.ir.onnx_reader.reader import LARGEST, NUMPY, Call, Reader, handles
from verify.ir.onnx_reader.values import Value
from verify.ops import Abs, AvgPool, Max, Power, Sum, axis_groups


def spatial_attribute(c: Call, name: str, spatial: int, default: int = 1) -> tuple[int, ...]:
    """An attribute with one number for each spatial axis."""
    found = tuple(int(n) for n in c.attribute(name) or (default,) * spatial)
    if len(found) != spatial:
        c.refuse(f"has {len(found)} {name} for {spatial} spatial axes")
    return found


def pad_lengths(c: Call, lengths: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...],
                dilation: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Zeros before and after each spatial axis, from `pads` or `auto_pad`."""
    mode, pads = c.attribute("auto_pad", "NOTSET"), c.attribute("pads")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        c.refuse(f"has auto_pad {mode}")
    low, high = np.array(pads or [0, 0] * len(lengths)).reshape(2, -1)
    if len(low) != len(lengths) or (low < 0).any() or (high < 0).any():
        c.refuse(f"has pads {pads}")
    if prod((low + high + lengths).tolist()) > LARGEST:
        c.refuse(f"pads {list(lengths)} by {pads}, to more than {LARGEST} entries", "check its pads")
    if mode == "NOTSET":
        return low, high
    if low.any() or high.any():  # onnxruntime refuses some of these nodes and takes others by auto_pad alone
        c.refuse(f"has both auto_pad {mode} and pads {pads}", "give its pads as numbers, without auto_pad")
    if mode == "VALID":
        return low, high
    if any(d != 1 for d in dilation):  # onnxruntime refuses it, or does otherwise than ONNX says
        c.refuse(f"combines auto_pad {mode} with dilation", "give its pads as numbers")
    n, s = np.array(lengths), np.array(stride)
    total = (-(-n // s) - 1) * s + kernel - n
    if (total < -1).any():  # what onnxruntime cuts off then depends on its version, operator and element type
        c.refuse(f"has strides {stride} so much above its kernel {kernel} that auto_pad {mode} cuts the input",
                 "cut it with Slice, and give pads as numbers")
    total = np.maximum(total, 0)
    small = total // 2
    return (small, total - small) if mode == "SAME_UPPER" else (total - small, small)


def _windows(r: Reader, c: Call) -> tuple[Value, list[np.ndarray], np.ndarray, np.ndarray]:
    """The pooled value, the positions (output length, window length) along each spatial axis, and the padding."""
    x = r.sample(c, c.value())
    spatial, lengths = x.rank - 2, x.shape[2:]
    kernel, stride, dilation = (spatial_attribute(c, n, spatial) for n in ("kernel_shape", "strides", "dilations"))
    if min(*kernel, *stride, *dilation) < 1:
        c.refuse(f"has kernel {kernel}, strides {stride} and dilations {dilation}")
    low, high = pad_lengths(c, lengths, kernel, stride, dilation)
    if (low >= kernel).any() or (high >= kernel).any():
        c.refuse(f"pads by {low.tolist()} and {high.tolist()}, no less than its kernel {kernel}", "use smaller pads")
    ceil = bool(c.attribute("ceil_mode", 0))
    places = []
    for n, k, s, d, before, after in zip(lengths, kernel, stride, dilation, low, high, strict=True):
        span = n + before + after - d * (k - 1) - 1
        if span < 0:
            c.refuse(f"has a window longer than its padded input of length {n + before + after}")
        count = (-(-span // s) if ceil else span // s) + 1
        if ceil and (count - 1) * s >= n + before:
            count -= 1  # a window must start inside the input or the padding before it
        places.append(np.arange(count)[:, None] * s - before + np.arange(k) * d)
    return x, places, low, high


@handles("MaxPool")
def max_pool(r: Reader, c: Call) -> Value:
    """Padding never wins: a place outside is replaced by a member of its window."""
    c.attribute("storage_order")
    x, places, _, _ = _windows(r, c)
    r.spend(c, x.shape[1] * prod(w.size for w in places))
    index = x.positions()[0]
    for axis, (window, n) in enumerate(zip(places, x.shape[2:], strict=True), start=1):
        inside = (window >= 0) & (window < n)
        if not inside.any(1).all():
            c.refuse("has windows that lie in the padding alone")
        first = np.take_along_axis(window, inside.argmax(1)[:, None], 1)
        taken = np.take(index, np.where(inside, window, first), axis)
        index = np.moveaxis(taken, axis + 1, -1)
    groups = index.reshape(*index.shape[: x.rank - 1], -1)
    return r.emit(c, Max(), (x,), (r.index(c, groups),))


@handles("AveragePool")
def average_pool(r: Reader, c: Call) -> Value:
    """Windows that reach over the edge: zeros in front, and where windows hold different numbers of entries a
    sum, divided by them."""
    counts_padding = bool(c.attribute("count_include_pad", 0))
    x, places, low, high = _windows(r, c)
    if any(d != 1 for d in spatial_attribute(c, "dilations", x.rank - 2)):
        c.refuse("averages over dilated windows")
    kernel = tuple(w.shape[1] for w in places)
    stride = spatial_attribute(c, "strides", x.rank - 2)
    ends = [int(w.max()) + 1 for w in places]
    simple = not c.attribute("ceil_mode", 0) and (low == high).all() and (2 * low <= kernel).all()
    if simple:
        op = AvgPool(kernel, stride, tuple(int(n) for n in low), False, counts_padding)
        return r.emit(c, op, (x,))
    after = [max(0, end - n) for end, n in zip(ends, x.shape[2:], strict=True)]
    widths = [(0, 0), (0, 0), *((int(a), b) for a, b in zip(low, after, strict=True))]
    padded = r.move(c, x, np.pad(x.positions(), widths, constant_values=-1), x.batch)
    out = r.emit(c, AvgPool(kernel, stride, (0,) * len(kernel), False, True), (padded,))
    counts = np.ones((1,) * len(kernel))
    for axis, (w, n, a, b) in enumerate(zip(places, x.shape[2:], low, high, strict=True)):
        counted = ((w >= -a) & (w < n + b)) if counts_padding else ((w >= 0) & (w < n))
        counts = counts * np.expand_dims(counted.sum(1), tuple(i for i in range(len(kernel)) if i != axis))
    if (counts == 0).any():
        c.refuse("has windows that lie in the padding alone")
    if (counts == prod(kernel)).all():
        return out
    kind = NUMPY[r.builder.dtype]
    summed = r.scale(c, out, np.array(prod(kernel), kind), f"{c.name}.size")
    return r.divide(c, summed, counts.astype(kind), f"{c.name}.counts")


@handles("LpPool")
def norm_pool(r: Reader, c: Call) -> Value:
    """(sum of |x|^p)^(1/p) over windows, in which padding counts nothing."""
    p = c.attribute("p", 2)
    x, places, _, _ = _windows(r, c)
    r.spend(c, x.shape[1] * prod(w.size for w in places))
    index = x.positions()[0]
    for axis, (window, n) in enumerate(zip(places, x.shape[2:], strict=True), start=1):
        taken = np.take(index, window.clip(0, n - 1), axis)
        outside = ((window < 0) | (window >= n)).reshape((1,) * axis + window.shape + (1,) * (taken.ndim - axis - 2))
        index = np.moveaxis(np.where(outside, -1, taken), axis + 1, -1)
    powers = _power_of_size(r, c, x, p)
    gathered = r.move(c, powers, index.reshape(1, *index.shape[: x.rank - 1], -1), 0)
    total = r.emit(c, Sum((x.rank - 1,), False, False), (gathered,))
    return total if p == 1 else r.like(c, Power(Fraction(1, p)), total)


@handles("GlobalLpPool")
def global_norm_pool(r: Reader, c: Call) -> Value:
    p, x = c.attribute("p", 2), r.sample(c, c.value())
    total = _reduce(r, c, _power_of_size(r, c, x, p), tuple(range(2, x.rank)), True)
    return total if p == 1 else r.like(c, Power(Fraction(1, p)), total)


def _power_of_size(r: Reader, c: Call, x: Value, p: int) -> Value:
    """|x|^p."""
    if p < 1 or p & (p - 1):
        c.refuse(f"takes the norm of number {p}, whose root no float holds", "use 1, 2 or 4")
    if p % 2:
        x = r.like(c, Abs(), x)
    return x if p == 1 else r.like(c, Power(Fraction(p)), x)


@handles("GlobalAveragePool", "GlobalMaxPool")
def global_pool(r: Reader, c: Call) -> Value:
    x = r.sample(c, c.value())
    return _reduce(r, c, x, tuple(range(2, x.rank)), True)


@handles("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin")
def reduce(r: Reader, c: Call) -> Value:
    x, keep = c.value(), bool(c.attribute("keepdims", 1))
    given, noop = c.integers(1, "axes"), c.attribute("noop_with_empty_axes", 0)
    if not given and noop:
        return x
    axes = tuple(sorted({c.axis(a, x.rank) for a in given or range(x.rank)}))
    if c.op != "ReduceMin":
        return _reduce(r, c, x, axes, keep)
    return r.negate(c, _reduce(r, c, r.negate(c, x), axes, keep))


def _reduce(r: Reader, c: Call, x: Value, axes: tuple[int, ...], keep: bool) -> Value:
    if x.batch in axes:
        c.refuse_batch()
    if not axes:
        return x
    held = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    inner = tuple(x.ir_axis(i) for i in axes)
    if c.op in ("ReduceSum", "ReduceMean", "GlobalAveragePool", "GlobalLpPool"):
        op, parameters = Sum(inner, True, c.op not in ("ReduceSum", "GlobalLpPool")), ()
    else:
        op, parameters = Max(), (r.index(c, axis_groups(r.builder.shapes[x.name], inner, True).numpy()),)
    out = r.emit(c, op, (x,), parameters, shape=held, batch=x.batch)
    if keep:
        return out
    batch = None if x.batch is None else x.batch - sum(a < x.batch for a in axes)
    return r.lay(c, out, tuple(n for i, n in enumerate(x.shape) if i not in axes), batch)
