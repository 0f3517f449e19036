"""ATen operators that normalise by the statistics of their own input, in terms of the IR."""

from __future__ import annotations

from math import prod
from typing import Any

from verify.ir.aten import Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ir.aten_linear import batch_norm
from verify.ops import Scale, Shift


@aten("native_layer_norm.default")
def layer_norm(c: Context, x: Any, shape: list[int], weight: Any, bias: Any, eps: float) -> list[Any]:
    x = c.varying(x)
    axes = c.axes(x, list(range(x.rank - len(shape), x.rank)))
    y = c.written(x, c.composer.normalised(c.complete(x).name, axes, eps))
    return [_affine(c, y, weight, bias, tuple(shape)), None, None]


@aten("native_group_norm.default")
def group_norm(
    c: Context, x: Any, weight: Any, bias: Any, batch: Any, channels: int, places: Any, groups: int, eps: float
) -> list[Any]:
    x = c.leading(c.varying(x))
    rows = c.composer.reshape(c.complete(x).name, (groups, prod(x.ir) // groups))
    y = c.written(x, c.composer.reshape(c.composer.normalised(rows, (1,), eps), x.ir))
    return [_affine(c, y, weight, bias, (channels, *[1] * (len(x.ir) - 1))), None, None]


@aten("instance_norm.default")
def instance_norm(
    c: Context, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, own: bool, momentum: float, eps: float,
    cudnn: bool,
) -> TracedValue:
    """By the mean and the variance of each channel of a sample, or by those that are stored."""
    if not own:
        return batch_norm(c, x, weight, bias, mean, variance, momentum, eps)[0]
    x = c.leading(c.varying(x))
    y = c.written(x, c.composer.normalised(c.complete(x).name, tuple(range(1, len(x.ir))), eps))
    return _affine(c, y, weight, bias, (x.ir[0], *[1] * (len(x.ir) - 1)))


def _affine(c: Context, x: TracedValue, weight: Any, bias: Any, shape: tuple[int, ...]) -> TracedValue:
    """x * weight + bias, either of which may be missing, whose entries lie along the axes of this shape; the module's
    own tensors, so that bounds follow their training."""
    whole = (1,) * (len(x.ir) - len(shape)) + shape
    x = x if weight is None else c.emit(Scale(whole), x, parameters=(c.parameter(c.constant(weight), "weight"),))
    return x if bias is None else c.emit(Shift(whole), x, parameters=(c.parameter(c.constant(bias), "bias"),))
