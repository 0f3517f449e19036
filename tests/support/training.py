"""What the tests of training share: small modules, batches, and gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from verify.errors import Diverged
from verify.ir.graph import BoundGraph
from verify.registry import NORMS
from verify.sets.norms import norm_of
from verify.train import run
from verify.train.data import load_samples
from verify.train.live import Live, detached
from verify.train.loop import Trainer
from verify.train.losses import Threat
from verify.train.parallel import Team
from verify.train.recipe import Recipe, recipe_of

THREATS = [Threat(norm, clip) for norm in NORMS if not norm_of(norm).counts for clip in (None, (0, 1))]


class Skip(nn.Module):
    """Two branches with batch norm, added."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.BatchNorm2d(2), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(2, 3, 3, 1, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))
        self.head = nn.Linear(2 * 2 * 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.relu(self.body(x) + x).flatten(1))


MODULES: dict[str, Callable[[], nn.Module]] = {  # for images (1, 6, 6)
    "normed": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 6), nn.BatchNorm1d(6),
        nn.ReLU(), nn.Linear(6, 4),
    ),
    "residual": Skip,
    "one": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5), nn.ReLU(), nn.Linear(5, 1),
    ),
    "pooled": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(12, 6), nn.ReLU(),
        nn.Linear(6, 4),
    ),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 4)),
}


NORMED: dict[str, Any] = {"model": {"network": "tests.support.training:factory", "options": {}}}


def made(name: str, seed: int = 0) -> nn.Module:
    """One of MODULES in float64, with statistics that are not the initial ones."""
    noise = Generator().manual_seed(seed)
    module = MODULES[name]().double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=noise, dtype=p.dtype) / max(1, p[0].numel()) ** 0.5)
        for key, buffer in module.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=noise, dtype=buffer.dtype) + 0.5 * key.endswith("var"))
    return module


def images(count: int, classes: int, seed: int = 0, kind: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """x (count, 1, 6, 6) in [0, 1] and labels."""
    noise = Generator().manual_seed(seed)
    x = torch.rand((count, 1, 6, 6), generator=noise, dtype=kind)
    return x, torch.randint(0, max(2, classes), (count,), generator=noise)


def case(name: str, count: int = 5, seed: int = 0) -> tuple[Live, Tensor, Tensor]:
    """(live module, x, y) of one of MODULES; not to be changed, since tests share what takes long to trace."""
    return shared(name, seed), *images(count, 1 if name == "one" else 4, seed)


@cache
def shared(name: str, seed: int) -> Live:
    return Live(made(name, seed), images(1, 4)[0])


def bound(net: str) -> tuple[BoundGraph, Tensor, Tensor]:
    """(network with the statistics of its batch, x, y), without gradients."""
    live, x, y = case(net)
    return detached(live.on_batch(x)), x, y


def noise(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def check_gradients(value: Callable[[], Tensor], weights: Mapping[str, Tensor], directions: int = 3) -> None:
    """Compares derivatives along random directions in all weights together with central differences."""
    gradients = torch.autograd.grad(value(), list(weights.values()), allow_unused=True)
    source, step = noise(5), 1e-6
    start = [p.detach().clone() for p in weights.values()]
    for _ in range(directions):
        along = [torch.randn(p.shape, generator=source, dtype=p.dtype) for p in start]
        ends = []
        for sign in (1, -1, 0):
            with torch.no_grad():
                for p, at, way in zip(weights.values(), start, along, strict=True):
                    p.copy_(at + sign * step * way)
            ends.append(float(value().detach()) if sign else 0.0)
        expected = (ends[0] - ends[1]) / (2 * step)
        found = sum(float((g * way).sum()) for g, way in zip(gradients, along, strict=True) if g is not None)
        assert abs(found - expected) <= 1e-5 + 1e-5 * abs(expected), (found, expected)


def factory() -> tuple[nn.Module, Tensor]:
    """A network with batch norm for the digits, as a recipe names it: tests.support.training:factory."""
    module = nn.Sequential(
        nn.Conv2d(1, 4, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 12), nn.BatchNorm1d(12),
        nn.ReLU(), nn.Linear(12, 10),
    )
    return module, torch.zeros(1, 1, 8, 8)


def tables(**changes: dict[str, Any]) -> dict[str, Any]:
    """A recipe for the digits of a second or less, as nested tables, with the changes merged into each table."""
    base: dict[str, dict[str, Any]] = {
        "model": {"network": "dense", "options": {"widths": [12]}},
        "data": {"train": "digits"},
        "threat": {"eps": "0.05"},
        "loss": {"name": "interval"},
        "schedule": {"epochs": 2, "batch": 64, "ramp": 1},
        "certify": {"methods": "interval", "limit": 20},
    }
    return {key: {**base.get(key, {}), **changes.get(key, {})} for key in {**base, **changes}}


def recipe(**changes: dict[str, Any]) -> Recipe:
    return recipe_of(tables(**changes), "test.toml")


def digits_file(path: Path, count: int, split: str = "train") -> str:
    """The first digits of a split as an .npz file."""
    from verify.models import digits

    x, y = digits(split)
    np.savez(path, x=x[:count].numpy(), y=y[:count].numpy())
    return str(path)


def digits_table(folder: Path) -> dict[str, Any]:
    """A table [data] with 96 digits to train on and 20 to test on, in files of this folder."""
    return {"train": digits_file(folder / "train.npz", 96), "test": digits_file(folder / "test.npz", 20, "test")}


def trainer(given: Recipe) -> tuple[Trainer, nn.Module]:
    """A training at its start, and its module."""
    samples, held, _ = load_samples(given.data, given.seed)
    module, example = run.build(given, samples)
    return Trainer(given, Live(module, example), samples, held, Team()), module


def failing(team: Team, device: str, how: str) -> None:
    """Work of several processes that fails in the last one."""
    if team.rank == team.world - 1:
        raise Diverged(f"rank {team.rank} of {team.world} {how}")
