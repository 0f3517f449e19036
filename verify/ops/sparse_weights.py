"""The matrices of layers with weights, written down entry by entry instead of by pushing unit vectors through them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    import scipy.sparse as sp


def dense_matrix(weight: Tensor, places: int) -> sp.csr_matrix:
    """A weight (out, in) once for each of so many places, float64 (places * out, places * in); no entry is rounded."""
    import scipy.sparse as sp  # a tenth of a second that only LP and MILP need

    one = sp.csr_matrix(_float64(weight))
    return one if places == 1 else sp.csr_matrix(sp.kron(sp.eye_array(places), one))


def convolution_matrix(
    weight: Tensor, windows: Sequence[tuple[int, int, int]], groups: int, shape: Sequence[int], out_shape: Sequence[int]
) -> sp.csr_matrix:
    """The matrix of a cross-correlation, float64 (outputs, inputs); no entry is rounded.

    Args:
        weight: (out, in / groups, *kernel).
        windows: (stride, padding, dilation) of each axis.
        groups: of channels.
        shape: (in, *axes) of the input.
        out_shape: (out, *axes) of the output.
    """
    import scipy.sparse as sp

    entries = _float64(weight)
    channels, inputs, *kernel = entries.shape
    size, out_size = prod(shape[1:]), prod(out_shape[1:])
    first = np.arange(channels) // (channels // groups) * inputs  # input channel of an output channel's first weight
    rows, columns, values = [], [], []
    for tap in product(*map(range, kernel)):
        to, of = _meets(tap, windows, shape[1:], out_shape[1:])
        full = channels, inputs, len(to)
        rows.append(np.broadcast_to((np.arange(channels) * out_size)[:, None, None] + to, full))
        source = (first[:, None] + np.arange(inputs)) * size
        columns.append(source[:, :, None] + of)
        values.append(np.broadcast_to(entries[(..., *tap)][:, :, None], full))
    flat = (np.concatenate([part.reshape(-1) for part in parts]) for parts in (values, rows, columns))
    data, row, column = flat
    kept = data != 0
    matrix = sp.csr_matrix((data[kept], (row[kept], column[kept])), shape=(channels * out_size, shape[0] * size))
    matrix.sort_indices()
    return matrix


def _meets(
    tap: Sequence[int], windows: Sequence[tuple[int, int, int]], axes: Sequence[int], out_axes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The flat places of the outputs whose weight at this tap meets an input, and those of the inputs."""
    to, of = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
    for k, (stride, padding, dilation), n, out_n in zip(tap, windows, axes, out_axes, strict=True):
        place = np.arange(out_n)
        source = place * stride - padding + k * dilation
        inside = (source >= 0) & (source < n)
        to = (to[:, None] * out_n + place[inside]).reshape(-1)
        of = (of[:, None] * n + source[inside]).reshape(-1)
    return to, of


def _float64(weight: Tensor) -> np.ndarray:
    return weight.detach().double().cpu().numpy()
