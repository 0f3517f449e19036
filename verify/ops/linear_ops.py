"""Affine ops with weights: linear layers, convolutions, pooling averages, batch norm, scale and shift."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ops.affine import Affine
from verify.ops.base import Example, Parameters, register
from verify.rationals import exact_array

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


@register(lambda: [
    Example(Linear(), (_random(3, 4), _random(3)), ((4,),)),
    Example(Linear(), (_random(2, 4),), ((3, 4),)),
])
@dataclass(frozen=True)
class Linear(Affine):
    """x W' + b over the last axis; parameters: weight (out, in), optional bias (out,)."""

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return F.linear(x, p[0])

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return a @ p[0]

    def bias(self, p: Parameters) -> Tensor | None:
        return p[1] if len(p) > 1 else None


@register(lambda: [
    Example(Conv((1,), (2,), (1,), 1), (_random(2, 3, 3), _random(2)), ((3, 6),)),
    Example(Conv((2, 2), (1, 1), (1, 1), 1), (_random(4, 2, 3, 3), _random(4)), ((2, 6, 5),)),
    Example(Conv((2, 1), (0, 1), (1, 2), 2), (_random(4, 1, 2, 2),), ((2, 6, 5),)),
    Example(Conv((1, 1, 1), (0, 0, 0), (1, 1, 1), 1), (_random(2, 1, 2, 2, 2), _random(2)), ((1, 3, 3, 3),)),
])
@dataclass(frozen=True)
class Conv(Affine):
    """Cross-correlation; parameters: weight (out, in / groups, *kernel), optional bias (out,). Zero padding."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return _CONV[len(self.stride)](x, p[0], None, self.stride, self.padding, self.dilation, self.groups)

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        reach = [(n - 1) * s - 2 * q + d * (m - 1) + 1
                 for n, s, q, d, m in zip(a.shape[2:], self.stride, self.padding, self.dilation, p[0].shape[2:], strict=True)]
        extra = tuple(n - r for n, r in zip(shape[1:], reach, strict=True))
        transpose = _CONV_TRANSPOSE[len(self.stride)]
        return transpose(a, p[0], None, self.stride, self.padding, extra, self.groups, self.dilation)

    def bias(self, p: Parameters) -> Tensor | None:
        return p[1].reshape(-1, *[1] * len(self.stride)) if len(p) > 1 else None


@register(lambda: [
    Example(ConvTranspose((2, 2), (1, 1), (1, 1), (1, 1), 1), (_random(2, 3, 3, 3), _random(3)), ((2, 3, 3),)),
    Example(ConvTranspose((2,), (0,), (0,), (1,), 1), (_random(2, 3, 2),), ((2, 4),)),
])
@dataclass(frozen=True)
class ConvTranspose(Affine):
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
        return _CONV[len(self.stride)](a, p[0], None, self.stride, self.padding, self.dilation, self.groups)

    def bias(self, p: Parameters) -> Tensor | None:
        return p[1].reshape(-1, *[1] * len(self.stride)) if len(p) > 1 else None


@register(lambda: [
    Example(AvgPool((2, 2), (2, 2), (0, 0), False, True), (), ((2, 4, 4),)),
    Example(AvgPool((3,), (2,), (1,), True, False), (), ((2, 6),)),
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


@register(lambda: [
    Example(BatchNorm(1e-5, 2), (_random(3), _random(3, seed=1), _random(3, seed=2), _random(3, seed=3).abs()), ((3, 2, 2),)),
    Example(BatchNorm(1e-3, 0), (_random(4), _random(4, seed=1), _random(4, seed=2), _random(4, seed=3).abs()), ((4,),)),
])
@dataclass(frozen=True)
class BatchNorm(Affine):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the first axis of a sample, `spatial` axes following.

    Parameters: weight, bias, mean, variance, each (channels,). The statistics are parameters like any other: running
    ones, or those of a given clean batch.
    """

    eps: float
    spatial: int

    def linear(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x * self._wide(self.scale(p))

    def adjoint(self, p: Parameters, k: int, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self.linear(p, k, a)

    def absolute(self, p: Parameters, k: int, x: Tensor) -> Tensor:
        return x * self._wide(self.scale(p).abs())

    def bias(self, p: Parameters) -> Tensor | None:
        return self._wide(p[1] - p[2] * self.scale(p))

    def scale(self, p: Parameters) -> Tensor:
        """Factor of each channel, (channels,)."""
        return p[0] * torch.rsqrt(p[3] + self.eps)

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rational enclosure of relative width 2^-48 in the factor 1 / sqrt(variance + eps)."""
        weight, bias, mean, variance = (exact_array(t) for t in p)
        low, high = np.empty(xs[0].shape, dtype=object), np.empty(xs[0].shape, dtype=object)
        for c, v in enumerate(variance):
            root = Fraction(float(v + Fraction(self.eps)) ** -0.5)
            for place, x in np.ndenumerate(xs[0][c, ...]):
                ends = [(x - mean[c]) * weight[c] * root * (1 + side * Fraction(1, 1 << 49)) + bias[c] for side in (-1, 1)]
                low[(c, *place)], high[(c, *place)] = min(ends), max(ends)
        return low, high

    def _wide(self, channels: Tensor) -> Tensor:
        return channels.reshape(-1, *[1] * self.spatial)
