"""The loop: steps of an optimiser on a loss whose radius and weights follow the schedule.

All randomness of an epoch comes from a generator seeded by the recipe's seed and the epoch, so a training continued
from a checkpoint goes through the same numbers as one that was never interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from verify.errors import Diverged
from verify.train.data import TrainingSamples, batches
from verify.train.evaluate import accuracies
from verify.train.first_not_finite import first_not_finite
from verify.train.live import Live
from verify.train.losses import weight_penalty
from verify.train.parallel import Team
from verify.train.recipe import Recipe

CLEAN_BATCHES = 100  # of which batch-norm statistics are estimated


class Trainer:
    """A training at some point of its way.

    Args:
        recipe: what to do.
        live: the module, on the device to be used.
        samples, held: to train on, and held out, on the same device.
        team: this process among those that train together.
    """

    def __init__(self, recipe: Recipe, live: Live, samples: TrainingSamples, held: TrainingSamples, team: Team):
        self.recipe, self.live, self.samples, self.held, self.team = recipe, live, samples, held, team
        self.epoch = 0
        self.optimizer = _optimizer(recipe, list(live.weights.values()))
        keep = recipe.optimizer.average > 0
        self.average = {name: p.detach().clone() for name, p in live.weights.items()} if keep else {}

    def run_epoch(self, advance: Callable[[float], None] = lambda share: None) -> dict[str, float]:
        """Trains for one epoch; its figures: loss, radius, seconds, and accuracies of the held out samples.

        Raises Diverged, naming step and layer, where the loss or a gradient is not finite.
        """
        start, total, count = time.perf_counter(), 0.0, 0
        for group in self.optimizer.param_groups:
            group["lr"] = _rate(self.recipe, self.epoch)
        order, noise = self._noise("order"), self._noise("attack", self.team.rank, self.samples.x.device)
        team, schedule = self.team, self.recipe.schedule
        steps = math.ceil(len(self.samples) / schedule.batch)
        shared = batches(self.samples, self.recipe.data, schedule.batch, order, team.rank, team.world)
        for k, (x, y, weight) in enumerate(shared):
            total += self._step(x, y, weight, self.epoch + (k + 1) / steps, noise) * len(y)
            count += len(y)
            advance(1 / steps)
        eps = schedule.share(self.epoch + 1) * self.recipe.threat.trained
        self.epoch += 1
        figures = {"epoch": self.epoch, "loss": total / count, "eps": eps, "seconds": time.perf_counter() - start}
        return {**figures, **self.measure()}

    def measure(self) -> dict[str, float]:
        """Accuracies of the held out samples by the weights that would be kept now."""
        if not len(self.held) or not self.team.leads:
            return {}
        before = {name: t.clone() for name, t in self.live.module.state_dict().items()}
        if self.average:
            self.keep()
        threat, noise = self.recipe.threat, self._noise("measure", device=self.samples.x.device)
        found = accuracies(self.live.network(), self.held, threat.threat, float(threat.exact), noise)
        if self.average:
            self.live.module.load_state_dict(before)
        return found

    def keep(self) -> None:
        """Puts the averaged weights, if there are any, into the module and estimates its statistics on clean data."""
        with torch.no_grad():
            for name, p in self.live.weights.items():
                p.copy_(self.average.get(name, p))
        size = self.recipe.schedule.batch
        self.live.estimate(list(self.samples.x.split(size)[:CLEAN_BATCHES]))

    def state(self) -> dict[str, Any]:
        """All that a checkpoint must hold for training to continue as if it had not stopped."""
        return {
            "epoch": self.epoch, "module": self.live.module.state_dict(), "optimizer": self.optimizer.state_dict(),
            "average": self.average,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from what `state` returned."""
        self.epoch = state["epoch"]
        self.live.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = {name: t.to(self.samples.x.device) for name, t in state["average"].items()}

    def _step(self, x: Tensor, y: Tensor, weight: float, when: float, noise: Generator) -> float:
        schedule, weights = self.recipe.schedule, self.live.weights
        eps = schedule.share(when) * self.recipe.threat.trained
        self.optimizer.zero_grad()
        network = self.live.on_batch(x)
        loss = schedule.loss(self.recipe.loss, when)(network, x, y, eps, noise) * weight
        if self.recipe.penalty.factor > 0:
            loss = loss + self.recipe.penalty.factor * weight_penalty(weights.values(), self.recipe.penalty.norm)
        loss.backward()
        gradients = [p.grad for p in weights.values() if p.grad is not None]
        self.team.average(gradients)
        size = torch.nn.utils.get_total_norm(gradients)
        if not bool(torch.isfinite(loss.detach() + size)):
            where = first_not_finite(network, weights, x, self.recipe.threat.threat, eps)
            raise Diverged(
                f"step {self._number(when)} (epoch {self.epoch + 1}): the loss or its gradient is not finite, first in "
                f"the {where}; lower the rate or the norm of gradients (optimizer.clip), or lengthen the ramp"
            )
        if self.recipe.optimizer.clip:
            torch.nn.utils.clip_grads_with_norm_(weights.values(), self.recipe.optimizer.clip, size)
        self.optimizer.step()
        self._after(network)
        return float(loss.detach())

    def _after(self, network: Any) -> None:
        """Moves the averages of statistics and weights."""
        self.live.note(network)
        if self.team.world > 1:
            self.team.average(b for b in self.live.module.buffers() if b.is_floating_point())
        decay = self.recipe.optimizer.average
        with torch.no_grad():
            for name, value in self.average.items():
                value.lerp_(self.live.weights[name].detach(), 1 - decay)

    def _number(self, when: float) -> int:
        return round(when * math.ceil(len(self.samples) / self.recipe.schedule.batch))

    def _noise(self, use: str, rank: int = 0, device: torch.device | str = "cpu") -> Generator:
        """The source of random numbers of this epoch for one use."""
        uses = ("order", "attack", "measure")
        seed = ((self.recipe.seed * 100_003 + self.epoch) * len(uses) + uses.index(use)) * 1009 + rank
        return Generator(device).manual_seed(seed)


def _optimizer(recipe: Recipe, weights: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    o = recipe.optimizer
    if o.name == "sgd":
        return torch.optim.SGD(weights, o.rate, momentum=o.momentum, weight_decay=o.weight_decay)
    return torch.optim.Adam(weights, o.rate, weight_decay=o.weight_decay)


def _rate(recipe: Recipe, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0."""
    o = recipe.optimizer
    if o.cosine:
        return o.rate * (1 + math.cos(math.pi * epoch / recipe.schedule.epochs)) / 2
    return o.rate * o.factor ** sum(epoch >= m for m in o.milestones)
