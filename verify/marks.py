"""Marks: short numbers that tell tensors and values apart, to notice that two answers are of different problems.

They are no digests: what is equal has equal marks, in any batch, on any device and in any process, and what differs has
different ones but by an unlikely chance.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

BLOCK = 1 << 22  # numbers that are marked at once
SPREAD = -7046029254386353131  # odd, with bits at random (splitmix64; Steele et al. 2014)


def marks_of(*values: Tensor) -> Tensor:
    """Marks of the entries of tensors (n, ...) together, (n,) int64: sums of their bits as float64 times odd numbers,
    modulo 2^64 and so the same in any order."""
    flat = [part[:, None].flatten(1) for part in values]
    keys = torch.arange(1, sum(part.shape[1] for part in flat) + 1, device=flat[0].device) * SPREAD
    keys = (keys ^ (keys >> 31)) * SPREAD | 1
    found = []
    for parts in zip(*(part.split(max(1, BLOCK // max(1, len(keys)))) for part in flat), strict=True):
        numbers = torch.cat([part.double() for part in parts], 1)
        found.append((numbers.add_(0.0).view(torch.int64) * keys).sum(1))  # -0 + 0 is 0
    return torch.cat(found)


def mark_of(value: object) -> int:
    """The mark of a value that its `repr` tells from others."""
    return zlib.crc32(repr(value).encode())
