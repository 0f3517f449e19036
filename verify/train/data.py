"""The samples of a recipe on the device that trains, in an order and with changes that the seed fixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from verify.data import Dataset, load_data
from verify.errors import InputError
from verify.train.recipe import Data


@dataclass(frozen=True, eq=False)
class TrainingSamples:
    """x (n, *shape) float32 and y (n,) int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> TrainingSamples:
        return TrainingSamples(self.x.to(device), self.y.to(device))


def load_samples(data: Data, seed: int) -> tuple[TrainingSamples, TrainingSamples, dict[str, str]]:
    """(training samples, held out ones, digests of the data by name). Raises InputError where there are too few."""
    train = load_data(data.train, split="train")
    test = load_data(data.test or data.train)
    shape, other = (tuple(part.x.shape[1:]) for part in (train, test))
    if shape != other:
        raise InputError(f"{train.name} has samples of shape {shape}, but {test.name} of {other}; give data that agree")
    if train.digest == test.digest:
        raise InputError(f"{train.name} has no test part, so it would be trained and tested on; name test data with "
                         "--test or data.test")
    if (data.flip or data.crop) and len(shape) != 3:
        raise InputError(f"flip and crop are for images, but {train.name} has samples of shape {shape}; leave them out")
    order = torch.randperm(len(train.y), generator=Generator().manual_seed(seed))
    if data.validation >= len(order):
        raise InputError(f"{train.name} has {len(order)} samples, too few to hold out {data.validation}")
    held, rest = order[: data.validation], order[data.validation :].sort().values
    return _part(train, rest), _part(train, held), {"train": train.digest, "test": test.digest}


def _part(data: Dataset, index: Tensor) -> TrainingSamples:
    return TrainingSamples(data.x[index], data.y[index])


def batches(
    samples: TrainingSamples, data: Data, size: int, noise: Generator, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """One epoch of (x, y, weight) in random order, augmented; of each batch the part of process `rank` of `world`.

    The mean over processes of weight * (mean over their part) is the mean over the batch.
    """
    order = torch.randperm(len(samples), generator=noise)
    for index in order.split(size):
        moved = torch.rand((len(index), 3), generator=noise)
        mine = slice(rank, None, world)
        if len(index) < world:
            continue  # a last batch that is too small for all processes
        where = index[mine].to(samples.x.device)
        weight = len(where) * world / len(index)
        yield augmented(samples.x[where], data, moved[mine].to(samples.x.device)), samples.y[where], weight


def augmented(x: Tensor, data: Data, share: Tensor) -> Tensor:
    """Images x (batch, channels, height, width), flipped and shifted as `share` (batch, 3) in [0, 1) says."""
    if data.flip:
        x = torch.where(share[:, 0, None, None, None] < 0.5, x.flip(3), x)
    if not data.crop:
        return x
    height, width = x.shape[2:]
    shift = (share[:, 1:] * (2 * data.crop + 1)).long()
    padded = torch.nn.functional.pad(x, [data.crop] * 4, value=data.fill)
    rows = shift[:, 0, None] + torch.arange(height, device=x.device)
    columns = shift[:, 1, None] + torch.arange(width, device=x.device)
    sample = torch.arange(len(x), device=x.device)
    return padded[sample[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
