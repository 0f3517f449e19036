"""Losses from points: the clean one, and those that an attack, a lower bound of the inner maximum, finds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from verify.errors import InputError
from verify.ir.graph import BoundGraph
from verify.registry import LossEntry
from verify.sets import Ball
from verify.train.attack import Attack
from verify.train.live import detached
from verify.train.losses.base import Loss, cross_entropy


@LossEntry(name="plain", place=10, help="cross-entropy at the samples")
@dataclass(frozen=True)
class Plain(Loss):
    """L(x, y): cross-entropy of the clean samples."""

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        return cross_entropy(network(x), y).mean()


@LossEntry(name="noisy", place=20, help="at random points of the sets")
@dataclass(frozen=True)
class Noisy(Loss):
    """L(x + n, y) with Gaussian noise n of deviation eps in every coordinate, clipped to the valid range: the baseline
    that no adversary chooses."""

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        moved = x + eps * torch.randn(x.shape, generator=noise, dtype=x.dtype, device=noise.device).to(x)
        return cross_entropy(network(moved if self.threat.clip is None else moved.clamp(*self.threat.clip)), y).mean()


@LossEntry(name="mixed", place=30, help="at samples and attacked points")
@dataclass(frozen=True)
class Mixed(Loss):
    """alpha L(x, y) + (1 - alpha) L(x_adv, y) (Szegedy et al. 2014; Goodfellow et al. 2015, section 6).

    By default x_adv is FGSM's point, one step from x to the maximiser of the linearised loss.
    """

    alpha: float = 0.5
    attack: Attack = Attack(steps=1, step=2.0, from_center=True)

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        bad = attacked(network, x, y, self.attack, self.threat.ball(x, eps), noise)
        return (self.alpha * cross_entropy(network(x), y) + (1 - self.alpha) * cross_entropy(network(bad), y)).mean()


@LossEntry(name="linearised", place=40, help="at the maximiser of the gradient")
@dataclass(frozen=True)
class Linearised(Loss):
    """max over delta of L(x, y) + <grad_x L(x, y), delta>, in closed form for any norm (Shaham et al. 2018, section 3).

    Without a clip the maximum adds eps times the dual norm of the gradient. It is differentiated through that gradient.
    """

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        at = x.detach().requires_grad_()
        loss = cross_entropy(network(at), y)
        gradient = torch.autograd.grad(loss.sum(), at, create_graph=True)[0]
        # at the maximiser the support function of the ball is linear, so that its derivative needs no other care
        delta = self.threat.ball(x, eps).maximiser(gradient.detach()) - x
        return (loss + (gradient * delta).flatten(1).sum(1)).mean()


@LossEntry(name="adversarial", place=50, help="at attacked points (Madry et al.)")
@dataclass(frozen=True)
class Adversarial(Loss):
    """L(x_adv, y) at the worst of several tries and the clean point (Madry et al. 2018, eq. 2.1).

    By Danskin's theorem the gradient at a maximiser is a gradient of the maximum.
    """

    attack: Attack = Attack(restarts=2)

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        still = detached(network)
        ball = self.threat.ball(x, eps)
        bad = self.attack.worst(lambda at: cross_entropy(still(at), y), ball, noise)
        return cross_entropy(network(bad), y).mean()


@LossEntry(name="trades", place=60, help="at samples, and how far attacks move the outputs")
@dataclass(frozen=True)
class Trades(Loss):
    """L(x, y) + beta KL(p(x) || p(x_adv)), x_adv maximising the same divergence (Zhang et al. 2019, section 3)."""

    beta: float = 6.0
    attack: Attack = Attack(steps=10)

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise InputError(f"TRADES has beta={self.beta}; it must be at least 0")

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        logits, still = network(x), detached(network)
        target = logits.detach()
        bad = self.attack.points(lambda at: divergence(target, still(at)), self.threat.ball(x, eps), noise)
        return (cross_entropy(logits, y) + self.beta * divergence(logits, network(bad))).mean()


def attacked(
    network: BoundGraph, x: Tensor, y: Tensor, attack: Attack, ball: Ball, noise: Generator
) -> Tensor:
    """Points of high cross-entropy, the ends of one try; (batch, *shape)."""
    still = detached(network)
    return attack.points(lambda at: cross_entropy(still(at), y), ball, noise)


def divergence(logits: Tensor, other: Tensor) -> Tensor:
    """KL(p || q) of the distributions with these logits, (batch,); of two classes where there is one logit."""
    if logits.shape[1] == 1:
        logits, other = (F.pad(z, (1, 0)) for z in (logits, other))
    p, q = logits.log_softmax(1), other.log_softmax(1)
    return (p.exp() * (p - q)).sum(1)
