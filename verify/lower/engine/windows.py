"""Parts of images that change together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def window(shape: Sequence[int], sides: Sequence[int], noise: Generator) -> Tensor:
    """A random window of an image (channels, height, width), bool: all channels, of these sides or as much as there is.
    """
    mask, ends = torch.zeros(tuple(shape), dtype=torch.bool), []
    for n, side in zip(shape[1:], sides, strict=True):
        start = int(torch.randint(max(1, n - side + 1), (1,), generator=noise))
        ends.append(slice(start, start + side))
    mask[:, ends[0], ends[1]] = True
    return mask
