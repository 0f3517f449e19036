"""ONNX's pooling and reductions: each output reads a group of positions."""

from __future__ import annotations

from math import prod

import numpy as np

from verify.check.onnx_graph import Call, Shape, Value, Writer


def sample(w: Writer, c: Call) -> Value:
    """The first input of an operator that takes one batch axis in front, which must have length 1."""
    x = c.value()
    if x.rank < 2 or x.shape[0] != 1:
        c.refuse(f"wants a batch of 1 in front, and its input has the shape {x.shape}")
    return x


def pad_lengths(c: Call, lengths: Shape, kernel: Shape, stride: Shape, dilation: Shape
                ) -> tuple[np.ndarray, np.ndarray]:
    """Zeros before and after each spatial axis, from `pads` or `auto_pad`, but not from both.

    SAME is refused where strides leave so much of the map out that the padding would be -2 or less: some runtimes then
    cut the map before its first window. At -1 the first window starts at the first entry for all of them.
    """
    mode, pads = c.text("auto_pad", "NOTSET"), np.array(c.lengths("pads", 2 * len(lengths), 0)).reshape(2, -1)
    if mode != "NOTSET" and pads.any():
        c.refuse(f"has pads beside its auto_pad {mode}")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        if set(dilation) != {1}:
            c.refuse(f"combines auto_pad {mode} with dilation")
        n, s = np.array(lengths), np.array(stride)
        total = (-(-n // s) - 1) * s + kernel - n
        if total.min() < -1:
            c.refuse(f"has auto_pad {mode} and a stride for which its padding would be negative")
        total = np.maximum(total, 0)
        small = total // 2
        return (small, total - small) if mode == "SAME_UPPER" else (total - small, small)
    if mode not in ("NOTSET", "VALID"):
        c.refuse(f"has auto_pad {mode}")
    return (pads[0], pads[1]) if mode == "NOTSET" else (pads[0] * 0, pads[1] * 0)


def _groups(w: Writer, c: Call, x: Value) -> np.ndarray:
    """The positions in every window, (channels, *outputs, size); -1 outside the map."""
    axes, lengths = x.rank - 2, x.shape[2:]
    kernel, stride, dilation = (c.lengths(name, axes, 1) for name in ("kernel_shape", "strides", "dilations"))
    low, high = pad_lengths(c, lengths, kernel, stride, dilation)
    ceil = bool(c.integer("ceil_mode", 0))
    if ceil and c.text("auto_pad", "NOTSET") != "NOTSET":
        c.refuse("combines ceil_mode with auto_pad")
    if axes < 1 or 0 in (*kernel, *stride, *dilation):
        c.refuse("has no windows, or steps of 0")
    counts = []
    for n, k, s, d, before, after in zip(lengths, kernel, stride, dilation, low.tolist(), high.tolist(), strict=True):
        span = n + before + after - d * (k - 1) - 1
        count = (-(-span // s) if ceil else span // s) + 1
        # with ceil_mode a window must still start inside the input or the padding before it
        counts.append(count - 1 if ceil and (count - 1) * s >= n + before else count)
    if min(counts) < 1:
        c.refuse("has a window that is larger than its map")
    w.spend(c, x.shape[1], *counts, *kernel)
    index: list[np.ndarray | slice] = [slice(None)]
    inside = np.ones((1,) * (2 * axes), bool)
    for axis, n in enumerate(lengths):
        window = np.arange(counts[axis])[:, None] * stride[axis] - low[axis] + np.arange(kernel[axis]) * dilation[axis]
        others = [i for i in range(2 * axes) if i not in (axis, axes + axis)]
        inside = inside & np.expand_dims((window >= 0) & (window < n), others)
        index.append(np.expand_dims(window.clip(0, n - 1), others))
    taken = np.where(inside, w.positions(c, x)[0][tuple(index)], -1)
    return taken.reshape(*taken.shape[: axes + 1], -1)


def pooled(w: Writer, c: Call) -> Value:
    """MaxPool. Padding never wins: a place outside is replaced by a member of its window."""
    c.integer("storage_order", 0)
    x = sample(w, c)
    groups = _groups(w, c, x)
    member = groups.max(-1, keepdims=True)
    if member.min() < 0:
        c.refuse("has windows that lie in the padding alone")
    groups = np.where(groups < 0, member, groups).astype(np.int32)
    return w.emit(c, "max", [x], (1, *groups.shape[:-1]), groups=groups.reshape(-1, groups.shape[-1]))


def averaged(w: Writer, c: Call) -> Value:
    """AveragePool: the divisor of a window counts the padding in it, or leaves it out."""
    x = sample(w, c)
    counts_padding = bool(c.integer("count_include_pad", 0))
    if c.integer("ceil_mode", 0) or set(c.lengths("dilations", x.rank - 2, 1)) != {1}:
        c.refuse("averages over dilated windows, or over some that reach beyond the padding")
    groups = _groups(w, c, x)
    divisor = np.full(groups.shape[:-1], groups.shape[-1]) if counts_padding else (groups >= 0).sum(-1)
    if divisor.min() < 1:
        c.refuse("has windows that lie in the padding alone")
    shape = (1, *groups.shape[:-1])
    return w.gather(c, [x], groups.reshape(-1, groups.shape[-1]), shape, divisor.reshape(-1))


def reduced(w: Writer, c: Call) -> Value:
    """Sums, means, maxima and minima over axes; a global pooling is the mean, or the maximum, over all spatial ones."""
    x = c.value()
    if c.op in ("GlobalAveragePool", "GlobalMaxPool"):
        axes, keep = list(range(2, sample(w, c).rank)), True
    else:
        keep, given = bool(c.integer("keepdims", 1)), c.integers(1, "axes")
        noop = c.integer("noop_with_empty_axes", 0)
        if not given and noop:
            return x
        axes = sorted({c.axis(a, x.rank) for a in given or range(x.rank)})
    if not axes:
        return x
    others = [i for i in range(x.rank) if i not in axes]
    size = prod(x.shape[i] for i in axes)
    index = w.positions(c, x).transpose(*others, *axes).reshape(-1, size)
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape)) if keep else tuple(x.shape[i] for i in others)
    if c.op in ("ReduceMax", "GlobalMaxPool"):
        return w.emit(c, "max", [x], shape, groups=index)
    if c.op == "ReduceMin":
        return w.negate(c, w.emit(c, "max", [w.negate(c, x)], shape, groups=index))
    return w.gather(c, [x], index, shape, 1 if c.op == "ReduceSum" else size)
