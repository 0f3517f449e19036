"""Norms, and operators that normalise by the statistics of their own input, as compositions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce as reduce_by
from math import prod

import numpy as np

from verify.ir.compose import Composer
from verify.ir.onnx_reader.elementwise import entries, joint_shape, raised
from verify.ir.onnx_reader.reader import NUMPY, Call, Reader, handles
from verify.ir.onnx_reader.values import Const, Value, ir_shape
from verify.ops import Abs, Log, Sum


def _within(r: Reader, c: Call, x: Value, axes: Sequence[int]) -> Value:
    """`x` with its batch axis among the others where it is one of these axes, of length 1."""
    if x.batch not in axes:
        return x
    if r.symbolic:
        c.refuse_batch()
    return r.lay(c, x, x.shape, None)


def _affine(r: Reader, c: Call, x: Value, scale: Const | None, offset: Const | None, front: int) -> Value:
    """x * scale + offset, whose axes start at ONNX axis `front`; to the end if that is negative."""
    for const, apply in ((scale, r.scale), (offset, r.shift)):
        if const is not None:
            tail = (1,) * (x.rank - front - len(const.shape)) if front >= 0 else ()
            wide = Const(const.name, *(a.reshape(a.shape + tail) for a in (const.array, const.several)))
            if joint_shape(r, c, (x, wide))[0] != x.shape:
                c.refuse(f"has a scale or offset of shape {const.shape}, larger than its input")
            x = apply(c, x, entries(r, c, wide, x.shape, x.batch), const.name)
    return x


def _epsilon(c: Call, default: float = 1e-5) -> float:
    return float(np.float32(c.attribute("epsilon", default)))


@handles("LayerNormalization", "RMSNormalization")
def layer_norm(r: Reader, c: Call) -> Value:
    if c.attribute("stash_type", 1) != 1:
        c.refuse("computes its mean in another type than float32", "export it with stash_type 1")
    x = c.value()
    axes, eps = range(c.axis(c.attribute("axis", -1), x.rank), x.rank), _epsilon(c)
    y = _within(r, c, x, axes)
    own = tuple(y.ir_axis(a) for a in axes)
    name = r.finite(c, y).name
    made = r.write(c, lambda w: (w.normalised if c.op == "LayerNormalization" else w.root_mean_square)(name, own, eps),
                   y.shape, y.batch)
    out = r.lay(c, made, x.shape, x.batch)
    return _affine(r, c, out, c.const(1), c.const(2) if c.has(2) else None, -1)


@handles("InstanceNormalization", "GroupNormalization")
def group_norm(r: Reader, c: Call) -> Value:
    x, eps = r.sample(c, c.value()), _epsilon(c)
    channels = x.shape[1]
    groups = channels if c.op == "InstanceNormalization" else c.attribute("num_groups")
    if c.attribute("stash_type", 1) != 1 or channels % groups:
        c.refuse(f"has {channels} channels in {groups} groups, or computes its mean in another type than float32")
    shape = ir_shape(x.shape, 0)
    made = r.write(c, lambda w: w.reshape(w.normalised(w.reshape(x.name, (groups, prod(shape) // groups)), (1,), eps),
                                          shape), x.shape, 0)
    return _affine(r, c, made, c.const(1), c.const(2), 1)


@handles("MeanVarianceNormalization")
def mean_variance(r: Reader, c: Call) -> Value:
    """(x - mean) / (deviation + 1e-9)."""
    x = c.value()
    axes = [c.axis(a, x.rank) for a in c.attribute("axes", [0, 2, 3])]
    y = _within(r, c, x, axes)
    own = tuple(y.ir_axis(a) for a in axes)
    made = r.write(c, lambda w: w.standardised(y.name, own, 1e-9), y.shape, y.batch)
    return r.lay(c, made, x.shape, x.batch)


@handles("LpNormalization")
def lp_norm(r: Reader, c: Call) -> Value:
    x, order = c.value(), c.attribute("p", 2)
    axis = c.axis(c.attribute("axis", -1), x.rank)
    y = _within(r, c, x, (axis,))
    if order not in (1, 2):
        c.refuse(f"has the order {order}, and 1 and 2 are read")
    name, own = y.name, (y.ir_axis(axis),)
    made = r.write(c, lambda w: w.quotient(name, w.spread(_norm(w, name, own, True, order), w.shape(name))),
                   y.shape, y.batch)
    return r.lay(c, made, x.shape, x.batch)


def _norm(w: Composer, x: str, axes: tuple[int, ...], keep: bool, order: int) -> str:
    """(sum of |x|^order)^(1/order) over axes, of order 1 or 2."""
    terms = w.node(Abs(), x) if order == 1 else w.power(x, Fraction(2))
    return w.power(w.node(Sum(axes, keep, False), terms), Fraction(1, order))


@handles("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd")
def reduce(r: Reader, c: Call) -> Value:
    x, keep = c.value(), bool(c.attribute("keepdims", 1))
    given, noop = c.integers(1, "axes"), c.attribute("noop_with_empty_axes", 0)
    if not given and noop:
        c.refuse("reduces no axes", "leave it out")
    if not x.size:
        c.refuse("reads a tensor without entries", "leave that part out of the model")
    axes = sorted({c.axis(a, x.rank) for a in given or range(x.rank)})
    y = _within(r, c, x, axes)
    own, name = tuple(y.ir_axis(a) for a in axes), r.finite(c, y).name
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    made = r.write(c, lambda w: _reduced(w, c.op, name, own), kept, y.batch)
    if keep:
        return r.lay(c, made, kept, x.batch)
    batch = None if y.batch is None else y.batch - sum(a < y.batch for a in axes)
    return r.lay(c, made, tuple(n for i, n in enumerate(x.shape) if i not in axes), batch)


def _reduced(w: Composer, op: str, x: str, axes: tuple[int, ...]) -> str:
    """The reduction of this name, axes kept."""
    if op in ("ReduceL1", "ReduceL2"):
        return _norm(w, x, axes, True, int(op[-1]))
    if op == "ReduceLogSumExp":
        return w.log_sum_exp(x, axes, True)
    if op == "ReduceProd":
        return reduce_by(lambda value, axis: w.product_along(value, axis, True), axes, x)
    total = w.node(Sum(axes, True, False), w.power(x, Fraction(2)) if op == "ReduceSumSquare" else x)
    return w.node(Log(), total) if op == "ReduceLogSum" else total


@handles("LRN")
def local_response(r: Reader, c: Call) -> Value:
    """x / (bias + alpha / size * sum of squares of `size` neighbouring channels)^beta."""
    x, size = r.sample(c, c.value()), c.attribute("size")
    alpha, beta, bias = (float(np.float32(c.attribute(*pair)))
                         for pair in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    near = np.arange(x.shape[1])[:, None] - (size - 1) // 2 + np.arange(size)
    places = x.positions()[0]
    index = np.moveaxis(places[near.clip(0, x.shape[1] - 1)], 1, -1)
    inside = ((near >= 0) & (near < x.shape[1])).reshape(x.shape[1], *[1] * (x.rank - 2), size)
    r.spend(c, index.size)
    squares = raised(r, c, x, Fraction(2))
    terms = r.move(c, squares, np.where(inside, index, -1)[None], 0)
    total = r.emit(c, Sum((x.rank - 1,), False, False), (terms,))
    kind = NUMPY[r.builder.dtype]
    scaled = r.divide(c, r.scale(c, total, np.array(alpha, kind), f"{c.name}.alpha"), np.array(size, kind),
                      f"{c.name}.size")
    below = raised(r, c, r.shift(c, scaled, np.array(bias, kind), f"{c.name}.bias"), Fraction(-beta))
    return r.write(c, lambda w: w.product(x.name, below.name), x.shape, 0)
