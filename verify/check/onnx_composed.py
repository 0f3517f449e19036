"""ONNX operators that are made of several nodes: a softmax of rows, its logarithm, and normalisations.

    softmax        s_i = 1 / (1 + sum over j != i of exp(x_j - x_i)); of two entries sigmoid(x_i - x_j)
    its logarithm  -log(1 + sum over j != i of exp(x_j - x_i)); of two entries -softplus(x_j - x_i)
    normalisation  d (mean of d^2 + eps)^(-1/2) scale + offset, d = x - mean = (n x - sum of x) / n
"""

from __future__ import annotations

from math import prod

import numpy as np

from verify.check.onnx_graph import Call, Value, Writer

CENTERED = 1 << 10  # entries of a row whose mean is taken by a matrix


def softmax(w: Writer, c: Call, x: Value, start: int, end: int) -> Value:
    """Over the axes from `start` to before `end`, as one; or its logarithm."""
    own = w.positions(c, x)
    rows = own.reshape(prod(x.shape[:start]), -1, prod(x.shape[end:]))
    n = rows.shape[1]
    if n < 2:
        c.refuse("is a softmax of one entry")
    w.spend(c, x.size * n)
    place = np.arange(n - 1)
    others = place + (place >= np.arange(n)[:, None])  # (n, n - 1), of each entry all but itself
    other = np.moveaxis(rows[:, others], 2, 3).reshape(*x.shape, n - 1)
    logarithm = c.op == "LogSoftmax"
    if n == 2:
        first, second = (other[..., 0], own) if logarithm else (own, other[..., 0])
        found = _curve(w, c, _difference(w, c, x, first, second), "softplus" if logarithm else "sigmoid")
        return w.negate(c, found) if logarithm else found
    apart = _curve(w, c, _difference(w, c, x, other, np.broadcast_to(own[..., None], other.shape)), "exp")
    places = np.arange(apart.size).reshape(-1, n - 1)
    total = w.shift(c, w.gather(c, [apart], places, x.shape), np.array(1, w.kind))
    return w.negate(c, _curve(w, c, total, "log")) if logarithm else _curve(w, c, total, "power", "-1")


def spelled_softmax(w: Writer, c: Call, x: Value, y: Value) -> Value | None:
    """x / y as a softmax, where x is exp(z) and y its own sum over one axis, repeated along it; None where it is not
    known to be. What is subtracted from all entries of z along the axis alike cancels."""
    above = w.node(x.name)
    if above is None or above["op"] != "curve" or above["function"] != "exp" or x.rank != y.rank:
        return None
    if any(n not in (1, m) for n, m in zip(y.shape, x.shape, strict=True)):
        return None
    source, groups = _gathered(w, c, y, x.name)
    if source != x.name:
        return None
    groups = np.broadcast_to(np.sort(groups, 1).reshape(*y.shape, -1), (*x.shape, groups.shape[1]))
    own = w.positions(c, x)
    for axis, n in enumerate(x.shape):
        if n > 1 and groups.shape[-1] == n:
            line = np.moveaxis(own, axis, -1)[..., None, :]
            if np.array_equal(np.moveaxis(groups, axis, -2), np.broadcast_to(line, (*line.shape[:-2], n, n))):
                return softmax(w, c, _unshifted(w, c, Value(above["inputs"][0], x.shape), axis), axis, axis + 1)
    return None


def _unshifted(w: Writer, c: Call, z: Value, axis: int) -> Value:
    """z, or what it is the difference of to a value that is the same along the axis."""
    node = w.node(z.name)
    if node is None or node["op"] != "add" or node["signs"] != [1, -1]:
        return z
    _, places = _gathered(w, c, Value(node["inputs"][1], z.shape))
    lines = np.moveaxis(places.reshape(*z.shape, -1), axis, 0)
    return Value(node["inputs"][0], z.shape) if places.shape[1] == 1 and bool((lines == lines[:1]).all()) else z


def _gathered(w: Writer, c: Call, y: Value, until: str | None = None) -> tuple[str, np.ndarray]:
    """A value whose entries y sums, and which (entries of y, size) flat ones, -1 for none: by moves only, or back to
    the value `until`."""
    name, groups = y.name, w.positions(c, y).reshape(-1, 1)
    while name != until and (node := w.node(name)) is not None and node["op"] == "gather" and len(node["inputs"]) == 1:
        index = w.arrays[node["index"]]
        if (w.arrays[node["divisor"]] != 1).any() or (until is None and index.shape[1] > 1):
            break
        w.spend(c, len(groups), groups.shape[1], index.shape[1])
        groups = np.where(groups[..., None] < 0, -1, index[groups]).reshape(len(groups), -1)
        name = node["inputs"][0]
    return name, groups


def layer_norm(w: Writer, c: Call) -> Value:
    """Over the axes from one on, which are no batch axis; by the root mean square alone without a mean."""
    x, has_mean = c.value(), c.op == "LayerNormalization"
    axis = c.axis(c.integer("axis", -1), x.rank)
    if w.symbolic and axis == 0:
        c.refuse("normalises over samples")
    n = prod(x.shape[axis:])
    rows = w.reshape(c, x, (x.size // max(1, n), n))
    out = w.reshape(c, _normalised(w, c, rows, has_mean), x.shape)
    out = w.scale(c, out, c.const(1))
    return w.shift(c, out, c.const(2)) if has_mean and c.has(2) else out


def group_norm(w: Writer, c: Call) -> Value:
    """Over groups of channels, or over each channel, with a scale and an offset for each channel."""
    x = c.value()
    if x.rank < 3 or x.shape[0] != 1:
        c.refuse(f"wants a batch of 1, channels and places, and its input has the shape {x.shape}")
    channels = x.shape[1]
    groups = channels if c.op == "InstanceNormalization" else c.integer("num_groups", 0)
    scale, offset = c.const(1), c.const(2)
    if groups < 1 or channels % groups or not scale.shape == offset.shape == (channels,):
        c.refuse(f"has {channels} channels in {groups} groups, with {scale.size} scales and {offset.size} offsets")
    rows = w.reshape(c, x, (groups, x.size // groups))
    out = w.reshape(c, _normalised(w, c, rows, True), x.shape)
    wide = (channels, *[1] * (x.rank - 2))
    return w.shift(c, w.scale(c, out, scale.reshape(wide)), offset.reshape(wide))


def _normalised(w: Writer, c: Call, rows: Value, has_mean: bool) -> Value:
    """Rows, less their means where these are meant, over the roots of their mean squares plus epsilon."""
    n, eps = rows.shape[1], c.number("epsilon", float(np.float32(1e-5)))
    if c.integer("stash_type", 1) != 1 or c.outputs > 1 or not 2 <= n <= CENTERED:
        c.refuse(f"keeps its statistics, or normalises {n} entries in a way that is not read")
    if has_mean:
        matrix = (n * np.eye(n) - 1).astype(w.kind)
        rows = w.divide(c, w.emit(c, "linear", [rows], rows.shape, weight=matrix, bias=None), np.array(n, w.kind))
    places = np.arange(rows.size, dtype=np.int32).reshape(-1, n)
    mean = w.gather(c, [_curve(w, c, rows, "power", "2")], places, (len(places), 1), n)
    root = _curve(w, c, w.shift(c, mean, np.array(eps, w.kind)), "power", "-1/2")
    spread = w.move(c, root, np.repeat(np.arange(len(places), dtype=np.int32)[:, None], n, 1))
    return w.emit(c, "product", [rows, spread], rows.shape, pairing="entrywise")


def _difference(w: Writer, c: Call, x: Value, first: np.ndarray, second: np.ndarray) -> Value:
    """x at some places less x at others."""
    parts = [w.move(c, x, np.ascontiguousarray(index)) for index in (first, second)]
    return w.emit(c, "add", parts, first.shape, signs=[1, -1])


def _curve(w: Writer, c: Call, x: Value, function: str, *parameters: str) -> Value:
    return w.emit(c, "curve", [x], x.shape, function=function, parameters=list(parameters))
