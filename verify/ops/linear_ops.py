"""Affine ops with weights: linear layers, convolutions, pooling averages, batch norm, scale and shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ops.affine import Affine, Weighted
from verify.ops.base import PLACE, Example, Parameters, Reach, register
from verify.ops.differentiation import Pull
from verify.ops.sparse_weights import convolution_matrix, dense_matrix
from verify.rationals import exact_array, unit_fraction

if TYPE_CHECKING:
    import scipy.sparse as sp

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


@register(lambda op: [
    Example(op(), (_random(3, 4), _random(3)), ((4,),)),
    Example(op(), (_random(2, 4),), ((3, 4),)),
])
@dataclass(frozen=True)
class Linear(Weighted):
    """x W' + b over the last axis; parameters: weight (out, in), optional bias (out,)."""

    channels = -1
    with_gradient = Affine.by_adjoint

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return F.linear(x, p[0])

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return F.linear(xs[0], *p)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return a @ p[0]

    def dense(self, p: Parameters) -> Tensor | None:
        return p[0]

    def matrix(self, p: Parameters, k: int, shape: tuple[int, ...], out_shape: tuple[int, ...]) -> sp.csr_matrix:
        return dense_matrix(p[0], prod(shape[:-1]))

    def terms(self, p: Parameters, inputs: Sequence[int], outputs: int) -> int:
        return max(p[0].shape)

    def scaled(self, weight: Tensor, factor: Tensor) -> Tensor:
        return weight * factor[:, None]

    def bias(self, p: Parameters) -> Tensor | None:
        return p[1] if len(p) > 1 else None


@register(lambda op: [
    Example(op((1,), (2,), (1,), 1), (_random(2, 3, 3), _random(2)), ((3, 6),)),
    Example(op((2, 2), (1, 1), (1, 1), 1), (_random(4, 2, 3, 3), _random(4)), ((2, 6, 5),)),
    Example(op((2, 1), (0, 1), (1, 2), 2), (_random(4, 1, 2, 2),), ((2, 6, 5),)),
    Example(op((1, 1, 1), (0, 0, 0), (1, 1, 1), 1), (_random(2, 1, 2, 2, 2), _random(2)), ((1, 3, 3, 3),)),
])
@dataclass(frozen=True)
class Conv(Weighted):
    """Cross-correlation; parameters: weight (out, in / groups, *kernel), optional bias (out,). Zero padding."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return self._apply(x, p[0], None)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return self._apply(xs[0], p[0], p[1] if len(p) > 1 else None)

    def _apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _CONV[len(self.stride)](x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        if len(self.stride) == 2:
            return transposed(a, p[0], self, self.padding, shape[1:])
        axes = zip(shape[1:], a.shape[2:], p[0].shape[2:], self.stride, self.padding, self.dilation, strict=True)
        extra = tuple(n - ((m - 1) * s - 2 * q + d * (w - 1) + 1) for n, m, w, s, q, d in axes)
        transpose = _CONV_TRANSPOSE[len(self.stride)]
        return transpose(a, p[0], None, self.stride, self.padding, extra, self.groups, self.dilation)

    def matrix(self, p: Parameters, k: int, shape: tuple[int, ...], out_shape: tuple[int, ...]) -> sp.csr_matrix:
        windows = list(zip(self.stride, self.padding, self.dilation, strict=True))
        return convolution_matrix(p[0], windows, self.groups, shape, out_shape)

    def with_gradient(self, p: Parameters, *xs: Tensor) -> tuple[Tensor, Pull]:
        """As automatic differentiation has it, whose kernel is a fifth faster here than that of `adjoint`."""
        none, facts = [0] * len(self.stride), (self.stride, self.padding, self.dilation)
        backward, wanted = torch.ops.aten.convolution_backward, (True, False, False)
        return self.forward(p, *xs), lambda a: (
            backward(a, xs[0], p[0], None, *facts, False, none, self.groups, wanted)[0],)

    def reach(self, p: Parameters) -> Reach | None:
        if len(self.stride) != 2:
            return None
        return Reach(tuple(p[0].shape[2:]), self.stride, self.padding, self.dilation)

    def spread(self, p: Parameters, k: int, a: Tensor) -> Tensor:
        size = Reach(tuple(p[0].shape[2:]), self.stride, (0, 0), self.dilation).of(tuple(a.shape[2:]))
        return transposed(a, p[0], self, (0, 0), size)

    def unit_spread(self, p: Parameters, channel: Tensor) -> Tensor | None:
        return p[0][channel] if self.groups == 1 and self.dilation == (1, 1) else None

    def unpadded(self) -> Conv:
        return replace(self, padding=(0, 0))

    def terms(self, p: Parameters, inputs: Sequence[int], outputs: int) -> int:
        return _terms(p)

    def scaled(self, weight: Tensor, factor: Tensor) -> Tensor:
        return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))

    def bias(self, p: Parameters) -> Tensor | None:
        return p[1].reshape(-1, *[1] * len(self.stride)) if len(p) > 1 else None


def _terms(p: Parameters) -> int:
    """At least the number of terms of entries of a convolution and of its transposed one."""
    return max(p[0][0].numel(), p[0][:, 0].numel())


def transposed(a: Tensor, weight: Tensor, op: Conv, start: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """Transposed 2-d convolution of maps a (n, channels, height, width), cut out at `start` of all that they reach:
    (n, inputs, *size), zero where nothing reaches.

    Where the kernel is a multiple of the stride, the library's routine is up to several times
    slower than one plain convolution for each phase of the stride, interleaved afterwards (Shi et al. 2016, sub-pixel
    convolution), unless the channels are last in memory and the inputs many.
    """
    stride, (channels, inputs, *kernel) = op.stride[0], weight.shape
    plain = op.groups == 1 and op.dilation == (1, 1) and op.stride == (stride, stride)
    last = a.is_contiguous(memory_format=torch.channels_last) and not a.is_contiguous()
    if not plain or (last and inputs > 4) or stride == 1 or any(k % stride or k == stride for k in kernel):
        out = F.conv_transpose2d(a, weight, None, op.stride, 0, 0, op.groups, op.dilation)
        return _cut(out, start, size)
    taps = [k // stride for k in kernel]
    phases = weight.reshape(channels, inputs, taps[0], stride, taps[1], stride).permute(1, 3, 5, 0, 2, 4).flip(4, 5)
    parts = F.conv2d(a, phases.reshape(inputs * stride * stride, channels, *taps), padding=(taps[0] - 1, taps[1] - 1))
    if last:  # one pass, and one in its gradient
        return _cut(F.pixel_shuffle(parts, stride), start, size)
    parts = parts.unflatten(1, (inputs, stride, stride))
    out = a.new_zeros((len(a), inputs, *size))
    for y in range(stride):
        for x in range(stride):
            (first, to), (left, across) = (_phase(r, s, stride) for r, s in zip((y, x), start, strict=True))
            place = out[:, :, to::stride, across::stride]
            part = parts[:, :, y, x, first : first + place.shape[2], left : left + place.shape[3]]
            place[:, :, : part.shape[2], : part.shape[3]] = part
    return out


def _cut(maps: Tensor, start: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """The part of maps (n, channels, height, width) of this size from `start` on, zero beyond their end."""
    missing = [max(0, s + n - reached) for s, n, reached in zip(start, size, maps.shape[2:], strict=True)]
    maps = F.pad(maps, (0, missing[1], 0, missing[0])) if any(missing) else maps
    return maps[:, :, start[0] : start[0] + size[0], start[1] : start[1] + size[1]]


def _phase(phase: int, start: int, stride: int) -> tuple[int, int]:
    """The first entry of a phase at or after `start`, and its place behind `start`."""
    first = max(0, -(-(start - phase) // stride))
    return first, first * stride + phase - start


@register(lambda op: [
    Example(op((2, 2), (1, 1), (1, 1), (1, 1), 1), (_random(2, 3, 3, 3), _random(3)), ((2, 3, 3),)),
    Example(op((2,), (0,), (0,), (1,), 1), (_random(2, 3, 2),), ((2, 4),)),
    Example(op((1, 2), (1, 0), (1, 0), (3, 1), 2), (_random(4, 1, 2, 3), _random(2)), ((4, 3, 2),)),
])
@dataclass(frozen=True)
class ConvTranspose(Weighted):
    """Transposed convolution; parameters: weight (in, out / groups, *kernel), optional bias (out,)."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        transpose = _CONV_TRANSPOSE[len(self.stride)]
        return transpose(x, p[0], None, self.stride, self.padding, self.output_padding, self.groups, self.dilation)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        out = _CONV[len(self.stride)](a, p[0], None, self.stride, self.padding, self.dilation, self.groups)
        for axis, n in enumerate(shape[1:], start=2):  # output padding beyond the stride makes it longer
            out = out.narrow(axis, 0, n)
        return out

    def terms(self, p: Parameters, inputs: Sequence[int], outputs: int) -> int:
        return _terms(p)

    def scaled(self, weight: Tensor, factor: Tensor) -> Tensor:
        spread = factor.reshape(self.groups, 1, -1, *[1] * (weight.ndim - 2))  # weight is (in, out / groups, *kernel)
        return (weight.reshape(self.groups, -1, *weight.shape[1:]) * spread).reshape(weight.shape)

    def bias(self, p: Parameters) -> Tensor | None:
        return p[1].reshape(-1, *[1] * len(self.stride)) if len(p) > 1 else None


@register(lambda op: [
    Example(op((2, 2), (2, 2), (0, 0), False, True), (), ((2, 4, 4),)),
    Example(op((3,), (2,), (1,), True, False), (), ((2, 6),)),
])
@dataclass(frozen=True)
class AvgPool(Affine):
    """Mean over windows, as torch's avg_pool."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil_mode: bool
    count_include_pad: bool
    is_monotone = True

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        pool = _AVG_POOL[len(self.kernel)]
        return pool(x, self.kernel, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def coefficient(self, entry: float) -> Fraction:
        return unit_fraction(entry)


@register(lambda op: [
    Example(op(1e-5, 2), (*(_random(3, seed=i) for i in range(3)), _random(3, seed=3).abs()), ((3, 2, 2),)),
    Example(op(1e-3, 0), (*(_random(4, seed=i) for i in range(3)), _random(4, seed=3).abs()), ((4,),)),
])
@dataclass(frozen=True)
class BatchNorm(Affine):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the first axis of a sample, `spatial` axes following.

    Parameters: weight, bias, mean, variance, each (channels,). The statistics are parameters like any other: running
    ones, or those of a given clean batch.
    """

    eps: float
    spatial: int
    mixes = False
    statistics = (2, 3)

    def reach(self, p: Parameters) -> Reach | None:
        return PLACE if self.spatial == 2 else None

    def terms(self, p: Parameters, inputs: Sequence[int], outputs: int) -> int:
        return 1

    def by_channel(self, p: Parameters, shape: tuple[int, ...], axis: int) -> tuple[Tensor, Tensor] | None:
        if axis != 0 or self.spatial != len(shape) - 1:
            return None
        factor = self.scale(p)
        return factor, p[1] - p[2] * factor

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x * self._wide(self.scale(p))

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self.linear(p, k, a)

    def absolute(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x * self._wide(self.scale(p).abs())

    def bias(self, p: Parameters) -> Tensor | None:
        return self._wide(p[1] - p[2] * self.scale(p))

    def bias_size(self, p: Parameters) -> Tensor | None:
        return self._wide(p[1].abs() + (p[2] * self.scale(p)).abs())

    def scale(self, p: Parameters) -> Tensor:
        """Factor of each channel, (channels,)."""
        return p[0] * torch.rsqrt(p[3] + self.eps)

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rational enclosure of relative width 2^-48 in the factor 1 / sqrt(variance + eps)."""
        weight, bias, mean, variance = (exact_array(t).reshape(-1, *[1] * self.spatial) for t in p)
        roots = [Fraction(float(v + Fraction(self.eps)) ** -0.5) for v in variance.flat]
        moved = (xs[0] - mean) * weight * np.array(roots, dtype=object).reshape(variance.shape)
        width = abs(moved) / (1 << 49)
        return moved - width + bias, moved + width + bias

    def _wide(self, channels: Tensor) -> Tensor:
        return channels.reshape(-1, *[1] * self.spatial)
