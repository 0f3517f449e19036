"""Softmax and its kin: as a last layer a head, which keeps the order of the logits, and elsewhere compositions."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch

from verify.ir.aten import Constant, Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_ops import combine, neg
from verify.ir.aten_where import JUMPS
from verify.ir.builder import End
from verify.ir.head import Head
from verify.ops import Softplus


@aten("_softmax.default", "_log_softmax.default")
def softmax(c: Context, x: TracedValue, dim: int, half_to_float: bool) -> TracedValue:
    axis, logarithm = c.axis(x, dim), str(c.node.target) == "aten._log_softmax.default"
    absent = None if logarithm else c.absent.get(x.name)
    if absent is None and x.ir[axis] == prod(x.ir):
        return replace(x, name=c.builder.end(c.node.name, End(c.complete(x).name, Head(logarithm))))
    if absent is None:
        name = c.complete(x).name
        return c.written(x, (c.composer.log_softmax if logarithm else c.composer.softmax)(name, axis))
    return c.written(x, c.composer.softmax(x.name, axis, absent.numpy()))


@aten("eq.Scalar", "ne.Scalar")
def is_infinite(c: Context, x: TracedValue, number: float) -> Constant:
    """Where a value is infinite: nowhere but at absent entries."""
    if number not in (torch.inf, -torch.inf):
        raise c.refuse(f"compares for equality, which jumps; {JUMPS}")
    absent = c.absent.get(x.name, torch.zeros(x.ir, dtype=torch.bool)) & (number < 0)
    whole = absent if x.folded else absent.unsqueeze(x.at)
    whole = whole.expand(c.full(x)) if not x.folded or c.batch == 1 else torch.cat([whole] * c.batch, x.at)
    return Constant(whole if str(c.node.target) == "aten.eq.Scalar" else ~whole)


@aten("logsumexp.default")
def log_sum_exp(c: Context, x: TracedValue, dims: list[int] | int, keepdim: bool) -> TracedValue:
    axes = c.axes(x, dims)
    at = x.at if keepdim else x.at - sum(axis < x.at for axis in axes)
    return c.written(x, c.composer.log_sum_exp(c.complete(x).name, axes, keepdim), at)


@aten("logaddexp.default")
def log_add_exp(c: Context, a: TracedValue | Constant, b: TracedValue | Constant) -> TracedValue:
    """log(exp(a) + exp(b)) as a + softplus(b - a)."""
    if not isinstance(a, TracedValue):
        a, b = b, a
    away = combine(c, b, a, -1, 1)
    return combine(c, c.emit(Softplus(), away), a, 1, 1)


@aten("log_sigmoid.default")
def log_sigmoid(c: Context, x: TracedValue) -> TracedValue:
    """-softplus(-x)."""
    return neg(c, c.emit(Softplus(), neg(c, x)))
