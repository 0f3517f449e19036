"""Trains the six bundled digit networks: `python -m verify.models.train_digits --out models/weights`.

Each network is trained in three ways, each a frozen value with a loss: on the images (`Plain`), on bad images that
PGD finds (`Adversarial`), and on interval bounds over all images of the ball (`IntervalBounds`). On one machine and one
version of torch the same seed gives the same weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from verify.ops.base import Interval as Box
from verify.problem import robustness
from verify.solving import solve
from verify.upper.interval import Interval, interval_boxes

from . import bundled, digits, networks

BATCH = 64
RATE = 1e-3
MEASURED = (0.05, 0.1)  # radii of the table in models/README.md


class Training(Protocol):
    """A way to train: the loss of a batch and the number of epochs that it takes."""

    @property
    def epochs(self) -> int: ...

    def loss(self, module: nn.Sequential, x: Tensor, y: Tensor, progress: float, noise: Generator) -> Tensor:
        """Scalar loss of x (batch, 1, 8, 8) with labels y (batch,); `progress` runs from 0 to 1 over the training."""
        ...


@dataclass(frozen=True)
class Plain:
    """Cross-entropy of the images as they are."""

    epochs: int = 60

    def loss(self, module: nn.Sequential, x: Tensor, y: Tensor, progress: float, noise: Generator) -> Tensor:
        return F.cross_entropy(module(x), y)


@dataclass(frozen=True)
class Adversarial:
    """Cross-entropy at the points that PGD finds (Madry et al. 2018, eq. 2.1); the radius grows over `ramp`."""

    eps: float = 0.1
    steps: int = 7
    ramp: float = 0.3
    epochs: int = 120

    def loss(self, module: nn.Sequential, x: Tensor, y: Tensor, progress: float, noise: Generator) -> Tensor:
        radius = self.eps * min(1.0, progress / self.ramp)
        return F.cross_entropy(module(pgd(module, x, y, radius, self.steps, noise)), y)


@dataclass(frozen=True)
class IntervalBounds:
    """kappa CE(logits) + (1 - kappa) CE(worst logits of the box), Gowal et al. 2018, eq. 12.

    Over the part `ramp` of the training the radius grows from 0 to eps and kappa falls from 1 to `kappa`.
    """

    eps: float = 0.1
    kappa: float = 0.5
    ramp: float = 0.5
    epochs: int = 300

    def loss(self, module: nn.Sequential, x: Tensor, y: Tensor, progress: float, noise: Generator) -> Tensor:
        share = min(1.0, progress / self.ramp)
        kappa = 1 - share * (1 - self.kappa)
        clean = F.cross_entropy(module(x), y)
        return kappa * clean + (1 - kappa) * F.cross_entropy(worst_logits(module, x, y, share * self.eps), y)


def worst_logits(module: nn.Sequential, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Lower bound of the true logit and upper bounds of the others over the clipped Linf ball; (batch, 10)."""
    graph = networks.graph(module)
    box = Box((x - eps).clamp(min=0), (x + eps).clamp(max=1))
    low, high = interval_boxes(graph.bind(dict(module.named_parameters())), box)[graph.output]
    return torch.where(F.one_hot(y, low.shape[1]).bool(), low, high)


def pgd(module: nn.Sequential, x: Tensor, y: Tensor, eps: float, steps: int, noise: Generator) -> Tensor:
    """Points of the clipped Linf ball of high cross-entropy: `steps` signed gradient steps from a random start."""
    size = 2.5 * eps / steps
    found = x + eps * (2 * torch.rand(x.shape, generator=noise) - 1)
    for _ in range(steps):
        found = found.clamp(0, 1).detach().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(module(found), y), found)[0]
        found = x + (found.detach() + size * gradient.sign() - x).clamp(-eps, eps)
    return found.clamp(0, 1).detach()


TRAININGS: dict[str, Training] = {"plain": Plain(), "adversarial": Adversarial(), "interval": IntervalBounds()}


def train(module: nn.Sequential, training: Training, x: Tensor, y: Tensor, seed: int) -> None:
    """Trains in place with Adam on x (n, 1, 8, 8), y (n,); batches and noise are drawn from `seed`."""
    noise = Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.epochs)
    for epoch in range(training.epochs):
        for index in torch.randperm(len(x), generator=noise).split(BATCH):
            optimizer.zero_grad()
            training.loss(module, x[index], y[index], epoch / training.epochs, noise).backward()
            optimizer.step()
        schedule.step()


def measure(module: nn.Sequential, x: Tensor, y: Tensor, seed: int) -> list[float]:
    """Percentages: clean accuracy, accuracy under PGD-20 and interval-verified accuracy at each radius MEASURED."""
    network = networks.graph(module).freeze(dict(module.named_parameters()))
    noise = Generator().manual_seed(seed)
    right = module(x).argmax(1) == y
    attacked = [right & (module(pgd(module, x, y, eps, 20, noise)).argmax(1) == y) for eps in MEASURED]
    verified = [solve(robustness(network, x, y, eps), Interval()).upper < 0 for eps in MEASURED]
    return [100 * float(hit.float().mean()) for hit in (right, *attacked, *verified)]


def main(argv: Sequence[str] | None = None) -> None:
    """Trains the named networks (all six by default), writes their weights and prints their rows of the table."""
    parser = argparse.ArgumentParser(description="Trains the bundled digit networks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(bundled())}; default all")
    parser.add_argument("--out", type=Path, required=True, help="folder for the .safetensors files")
    parser.add_argument("--seed", type=int, default=0, help="seed of initial weights, batches and attacks")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.names if name not in bundled()]
    if unknown:
        parser.error(f"there is no bundled network {unknown[0]!r}; choose among {', '.join(bundled())}")
    torch.set_num_threads(1)  # the order of float sums, and so the weights, depends on the number of threads
    arguments.out.mkdir(parents=True, exist_ok=True)
    x, y = digits("train")
    for name in arguments.names or bundled():
        _, net, way = name.split("-")
        module, training = getattr(networks, net)(arguments.seed), TRAININGS[way]
        start = time.perf_counter()
        train(module, training, x, y, arguments.seed)
        seconds = time.perf_counter() - start
        save_file(module.state_dict(), arguments.out / f"{name}.safetensors")
        figures = " | ".join(f"{value:.1f}" for value in measure(module, *digits("test"), arguments.seed))
        print(f"| {net} | {way} | `... {name}` | {seconds:.0f} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
