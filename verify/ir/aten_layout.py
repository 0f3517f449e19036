"""Where the batch lies in a traced tensor, and how its samples are laid out in the IR, which has no batch.

A traced tensor of N samples that depends on the input carries them along one axis, at any place. In the IR stands one
sample: the same axes in the same order, without that axis. Two layouts,

    apart    traced shape (*ir[:at], N, *ir[at:])               axis `at` is the batch
    folded   traced shape (*ir[:at], N * ir[at], *ir[at + 1:])  the samples lie block by block along axis `at`

suffice for what exporters write: reshapes, transpositions and stacked products never mix samples as long as the result
has one of the two. With N = 1 a folded value is simply one without a batch axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TracedValue:
    """A traced tensor that depends on the input: the IR value of this name, of per-sample shape `ir`."""

    name: str
    ir: Shape
    at: int = 0
    folded: bool = False

    @property
    def rank(self) -> int:
        """Number of axes of the traced tensor."""
        return len(self.ir) + (not self.folded)

    @property
    def lead(self) -> bool:
        """Whether axis 0 is the batch."""
        return self.at == 0 and not self.folded

    def is_bare(self, batch: int) -> bool:
        """Whether the traced tensor has no batch axis at all."""
        return self.folded and batch == 1

    def full(self, batch: int) -> Shape:
        """The shape in the traced program, batch axis included."""
        before, after = self.ir[: self.at], self.ir[self.at :]
        if not self.folded:
            return (*before, batch, *after)
        return (*before, batch * after[0], *after[1:]) if after else before


def reshaped(x: TracedValue, batch: int, shape: Shape) -> TracedValue | None:
    """`x` read as another traced shape: the same name with the per-sample shape and layout that it then has, or None
    where samples would mix."""
    if x.is_bare(batch):
        return bare(x, shape)
    before = prod(x.ir[: x.at])
    places = [q for q, n in enumerate(shape) if prod(shape[:q]) == before and n % batch == 0]
    if batch == 1:  # an axis of length 1, where possible at the place of before
        places = sorted((q for q in places if shape[q] == 1), key=lambda q: q != x.at)
    if not places:
        return bare(x, shape) if batch == 1 else None
    q = places[0]
    length = shape[q] // batch
    folded = length != 1
    return TracedValue(x.name, (*shape[:q], *((length,) if folded else ()), *shape[q + 1 :]), q, folded)


def bare(x: TracedValue, shape: Shape) -> TracedValue:
    """A value of one sample by its traced shape: a first axis of length 1 before others is the batch."""
    if len(shape) >= 2 and shape[0] == 1:
        return TracedValue(x.name, shape[1:])
    return TracedValue(x.name, shape, folded=True)


def sized(x: TracedValue, tensor: Tensor, batch: int, wanted: int) -> Tensor:
    """A constant that stands beside `x` in a traced program, for a batch of another size: the part of the first sample,
    repeated, where it has entries for each."""
    axis = tensor.ndim - x.rank + x.at
    if x.is_bare(batch) or axis < 0 or tensor.shape[axis] != x.full(batch)[x.at]:
        return tensor
    first = tensor.unflatten(axis, (batch, -1)).narrow(axis, 0, 1)
    return first.expand(*first.shape[:axis], wanted, *first.shape[axis + 1 :]).flatten(axis, axis + 1)


def batched(x: TracedValue, places: Tensor, samples: int, step: int) -> Tensor:
    """Entry numbers (*x.ir) as a traced tensor of `samples`, those of each sample `step` after those of the one before;
    negative ones, which stand for constants, stay."""
    parts = [torch.where(places >= 0, places + k * step, places) for k in range(samples)]
    return torch.cat(parts, x.at) if x.folded else torch.stack(parts, x.at)


def split_samples(places: Tensor, step: int, at: int) -> tuple[Tensor, int, bool] | None:
    """(per-sample entry numbers, at, folded) of a traced tensor of two samples made from `batched` ones; None where
    they are mixed. The batch axis is looked for at `at` first."""
    for q in sorted(range(places.ndim), key=lambda q: q != at):
        if places.shape[q] % 2 == 0:
            first, second = places.chunk(2, q)
            if torch.equal(second, torch.where(first >= 0, first + step, first)):
                folded = first.shape[q] != 1
                return first if folded else first.squeeze(q), q, folded
    return None
