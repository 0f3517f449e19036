"""The levels of a grid: how many there are, and which ones a sample has."""

from __future__ import annotations

import torch
from torch import Tensor

from verify.errors import InputError

MOST = 1 << 16  # levels; an image of 16 bits has one less
NEAR = 2.0**-18  # relative, by which a sample may differ from the level that it stands for: some roundings of float32


def levels_of(levels: object) -> int:
    """The number of steps from 0 to 1. Raises InputError for what is no whole number from 1 to 65536."""
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= MOST:
        raise InputError(f"grid is {levels!r:.60} but must be a whole number from 1 to {MOST}; write 255 for images of "
                         "8 bits")
    return levels


def levels_at(x: Tensor, levels: int) -> Tensor:
    """The whole numbers k, float64, of samples k / levels. Raises InputError for a sample between them."""
    wide = x.double() * levels_of(levels)
    whole = wide.round()
    off = (wide - whole).abs() > NEAR * whole.abs().clamp(min=1)
    if bool(off.any()):
        place = tuple(off.nonzero()[0].tolist())
        raise InputError(f"an input is {float(x[place]):.6g} at position {list(place)}, which is no multiple of "
                         f"1/{levels}; round the samples to the grid, or leave the grid out")
    return whole


def value_of(whole: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """whole / levels in these floats, one correct rounding: of a divisor that is no tensor of the device, GPUs multiply
    by the reciprocal."""
    return whole.to(dtype) / torch.full((), levels, dtype=dtype, device=whole.device)
