"""How operators of ONNX that move values, and those over windows, are evaluated by torch for their gradients."""

from __future__ import annotations

from math import ceil, floor, prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ir.opaque.gradients import Given, NodeSettings, Untranslated, at, rule

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAXIMA = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEANS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
RESIZES = {"nearest": ("nearest",) * 3, "linear": ("linear", "bilinear", "trilinear")}  # by the number of axes


@rule("Shape")
def _shape(given: Given, how: NodeSettings) -> Tensor:
    return torch.tensor(at(given, 0).shape[how.get("start", 0) : how.get("end")], dtype=torch.int64)


@rule("Reshape")
def _reshape(given: Given, how: NodeSettings) -> Tensor:
    x, shape = at(given, 0), how.listed(given, 1, "shape") or []
    kept = not how.get("allowzero", 0)
    return x.reshape([x.shape[k] if n == 0 and kept else n for k, n in enumerate(shape)])


@rule("Flatten")
def _flatten(given: Given, how: NodeSettings) -> Tensor:
    x = at(given, 0)
    axis = how.get("axis", 1)
    return x.reshape(prod(x.shape[:axis]), -1)


@rule("Squeeze")
def _squeeze(given: Given, how: NodeSettings) -> Tensor:
    axes = how.listed(given, 1, "axes")
    return at(given, 0).squeeze() if axes is None else at(given, 0).squeeze(tuple(axes))


@rule("Unsqueeze")
def _unsqueeze(given: Given, how: NodeSettings) -> Tensor:
    x, axes = at(given, 0), how.listed(given, 1, "axes") or []
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


@rule("Transpose")
def _transpose(given: Given, how: NodeSettings) -> Tensor:
    x = at(given, 0)
    return x.permute(how.get("perm") or list(range(x.ndim))[::-1])


@rule("Concat")
def _concat(given: Given, how: NodeSettings) -> Tensor:
    return torch.cat([at(given, k) for k in range(len(given))], how.get("axis"))


@rule("Split")
def _split(given: Given, how: NodeSettings) -> list[Tensor]:
    x, axis, lengths = at(given, 0), how.get("axis", 0), how.listed(given, 1, "split")
    if lengths is None:
        raise Untranslated("Split without lengths")
    return [*x.split(lengths, axis)]


@rule("Slice")
def _slice(given: Given, how: NodeSettings) -> Tensor:
    x = at(given, 0)
    starts, ends = how.listed(given, 1, "starts") or [], how.listed(given, 2, "ends") or []
    axes = how.listed(given, 3, "axes") or list(range(len(starts)))
    steps = how.listed(given, 4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(x.shape[axis])[slice(start, end if end > -(1 << 62) else None, step)]
        x = x.index_select(axis, torch.tensor([*places], dtype=torch.int64))
    return x


@rule("Gather")
def _gather(given: Given, how: NodeSettings) -> Tensor:
    x, index = at(given, 0), at(given, 1).long()
    axis = how.get("axis", 0) % x.ndim
    found = x.index_select(axis, index.reshape(-1) % x.shape[axis])
    return found.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


@rule("GatherElements")
def _gather_elements(given: Given, how: NodeSettings) -> Tensor:
    x, axis = at(given, 0), how.get("axis", 0)
    return x.gather(axis, at(given, 1) % x.shape[axis])


@rule("GatherND")
def _gather_nd(given: Given, how: NodeSettings) -> Tensor:
    if how.get("batch_dims", 0):
        raise Untranslated("GatherND with batch_dims")
    return at(given, 0)[tuple(at(given, 1).unbind(-1))]


@rule("ScatterND")
def _scatter_nd(given: Given, how: NodeSettings) -> Tensor:
    if how.get("reduction", "none") != "none":
        raise Untranslated("ScatterND with a reduction")
    return at(given, 0).index_put(tuple(at(given, 1).unbind(-1)), at(given, 2))


@rule("ScatterElements")
def _scatter_elements(given: Given, how: NodeSettings) -> Tensor:
    x, axis = at(given, 0), how.get("axis", 0)
    if how.get("reduction", "none") != "none":
        raise Untranslated("ScatterElements with a reduction")
    return x.scatter(axis, at(given, 1) % x.shape[axis], at(given, 2))


@rule("Expand")
def _expand(given: Given, how: NodeSettings) -> Tensor:
    x, shape = at(given, 0), at(given, 1).tolist()
    return x.expand(np.broadcast_shapes(x.shape, tuple(shape)))  # torch's own imports sympy for seconds


@rule("Tile")
def _tile(given: Given, how: NodeSettings) -> Tensor:
    return at(given, 0).repeat(at(given, 1).tolist())


@rule("Where")
def _where(given: Given, how: NodeSettings) -> Tensor:
    return torch.where(at(given, 0), at(given, 1), at(given, 2))


@rule("OneHot")
def _one_hot(given: Given, how: NodeSettings) -> Tensor:
    if how.get("axis", -1) != -1:
        raise Untranslated("OneHot along another axis")
    low, high = at(given, 2)
    return low + (high - low) * F.one_hot(at(given, 0).long(), int(at(given, 1))).to(high)


@rule("Pad")
def _pad(given: Given, how: NodeSettings) -> Tensor:
    x, ends = at(given, 0), how.listed(given, 1, "pads") or []
    if how.get("mode", "constant") != "constant" or len(ends) != 2 * x.ndim:
        raise Untranslated("Pad of another mode")
    value = float(given[2]) if len(given) > 2 and given[2] is not None else how.get("value", 0.0)
    return F.pad(x, [n for k in reversed(range(x.ndim)) for n in (ends[k], ends[k + x.ndim])], value=value)


def _padded(x: Tensor, how: NodeSettings, size: list[int], value: float) -> Tensor:
    """The argument of a window with its padding around it."""
    stride, dilation = (how.get(name) or [1] * len(size) for name in ("strides", "dilations"))
    ends = how.get("pads") or [0] * (2 * len(size))
    rule_of_ends = how.get("auto_pad", "NOTSET")
    if rule_of_ends in ("SAME_UPPER", "SAME_LOWER"):
        total = [max(0, (ceil(n / s) - 1) * s + d * (k - 1) + 1 - n)
                 for n, s, d, k in zip(x.shape[2:], stride, dilation, size, strict=True)]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        ends = [*less, *more] if rule_of_ends == "SAME_UPPER" else [*more, *less]
    pairs = list(zip(ends[: len(size)], ends[len(size) :], strict=True))
    return F.pad(x, [n for pair in reversed(pairs) for n in pair], value=value) if any(ends) else x


@rule("Conv")
def _conv(given: Given, how: NodeSettings) -> Tensor:
    x, weight = at(given, 0), at(given, 1)
    size, bias = list(weight.shape[2:]), given[2] if len(given) > 2 else None
    ones = [1] * len(size)
    return CONVOLUTIONS[len(size)](_padded(x, how, size, 0.0), weight, bias, how.get("strides", ones), 0,
                                   how.get("dilations", ones), how.get("group", 1))


@rule("ConvTranspose")
def _conv_transpose(given: Given, how: NodeSettings) -> Tensor:
    x, weight = at(given, 0), at(given, 1)
    rank, bias = weight.ndim - 2, given[2] if len(given) > 2 else None
    ends, ones = how.get("pads", [0] * 2 * rank), [1] * rank
    if ends[:rank] != ends[rank:] or how.get("auto_pad", "NOTSET") != "NOTSET" or how.get("output_shape"):
        raise Untranslated("ConvTranspose with uneven padding")
    return TRANSPOSED[rank](x, weight, bias, how.get("strides", ones), ends[:rank],
                            how.get("output_padding", [0] * rank), how.get("group", 1), how.get("dilations", ones))


@rule("MaxPool")
def _max_pool(given: Given, how: NodeSettings) -> Tensor:
    size = how.get("kernel_shape")
    if how.get("ceil_mode", 0):
        raise Untranslated("MaxPool with ceil_mode")
    ones = [1] * len(size)
    return MAXIMA[len(size)](_padded(at(given, 0), how, size, -torch.inf), size, how.get("strides", ones), 0,
                             how.get("dilations", ones))


@rule("AveragePool")
def _average_pool(given: Given, how: NodeSettings) -> Tensor:
    size, ends = how.get("kernel_shape"), how.get("pads") or []
    if how.get("ceil_mode", 0) or (any(ends) and not how.get("count_include_pad", 0)):
        raise Untranslated("AveragePool with uneven windows")
    return MEANS[len(size)](_padded(at(given, 0), how, size, 0.0), size, how.get("strides", [1] * len(size)))


@rule("GlobalAveragePool")
def _global_average(given: Given, how: NodeSettings) -> Tensor:
    return at(given, 0).mean([*range(2, at(given, 0).ndim)], keepdim=True)


@rule("GlobalMaxPool")
def _global_max(given: Given, how: NodeSettings) -> Tensor:
    return at(given, 0).amax([*range(2, at(given, 0).ndim)], keepdim=True)


@rule("BatchNormalization")
def _batch_norm(given: Given, how: NodeSettings) -> Tensor:
    scale, shift, mean, variance = (at(given, k) for k in range(1, 5))
    return F.batch_norm(at(given, 0), mean, variance, scale, shift, eps=how.get("epsilon", 1e-5))


@rule("LayerNormalization")
def _layer_norm(given: Given, how: NodeSettings) -> Tensor:
    x = at(given, 0)
    shift = given[2] if len(given) > 2 else None
    return F.layer_norm(x, x.shape[how.get("axis", -1) % x.ndim :], at(given, 1), shift, how.get("epsilon", 1e-5))


@rule("Resize", "Upsample")
def _resize(given: Given, how: NodeSettings) -> Tensor:
    """By torch's own modes, near enough to tell where to look."""
    x = at(given, 0)
    scales = given[-1] if len(given) < 4 else given[2]
    sizes = at(given, 3).tolist() if len(given) > 3 and given[3] is not None else None
    if sizes is None and scales is not None:
        sizes = [floor(n * s) for n, s in zip(x.shape, scales.tolist(), strict=True)]
    mode = how.get("mode", "nearest")
    if sizes is None or sizes[:2] != list(x.shape[:2]) or mode not in RESIZES:
        raise Untranslated("Resize of another kind")
    return F.interpolate(x, sizes[2:], mode=RESIZES[mode][x.ndim - 3])
