"""What all losses share: the threat, cross-entropy in margins, and the rows that bounds are taken of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from verify.errors import InputError
from verify.ir.graph import BoundGraph
from verify.sets import Ball
from verify.sets.norms import norm_of, penalty_norm_of

SHARES = ("clean", "alpha", "share")  # fields of losses that mix two parts


@dataclass(frozen=True)
class Threat:
    """Which perturbations are allowed: a ball of the norm of this name inside the clip (low, high) or None.

    Raises InputError for a norm that counts: its radii are whole numbers, and do not grow during a training.
    """

    norm: str = "linf"
    clip: tuple[float, float] | None = (0, 1)

    def __post_init__(self) -> None:
        if norm_of(self.norm).counts:
            raise InputError(f"training takes no {self.norm} balls, whose radius is a whole number and cannot grow "
                             "from 0; take l1")

    def ball(self, x: Tensor, eps: float) -> Ball:
        """The sets around x (batch, *shape). Raises InputError where x lies outside the clip."""
        return Ball(x, eps, self.norm, self.clip)


@dataclass(frozen=True)
class Loss(ABC):
    """A loss of a batch, differentiable in the network's parameters: loss(network, x, y, eps, noise).

    A loss is a value: `IntervalLoss(clean=0.5)(network, x, y, 0.1, noise)`.

    Args:
        network: a graph bound to live parameters (`verify.train.live`), outputs (batch, classes), or (batch, 1) for two
            classes, whose one logit speaks for class 1.
        x: (batch, *input shape); y: (batch,) int64 labels.
        eps: radius of the threat's ball, >= 0.
        noise: source of all random numbers.

    Returns a scalar, the mean over the batch.
    """

    threat: Threat = field(default=Threat(), kw_only=True)

    def __post_init__(self) -> None:
        for name in SHARES:
            share = getattr(self, name, 0.0)
            if not 0 <= share <= 1:
                raise InputError(f"the loss {type(self).__name__} has {name}={share}; it must be from 0 to 1")

    @abstractmethod
    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor: ...


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each sample, (batch,); binary where there is one logit."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], y.to(logits), reduction="none")
    return F.cross_entropy(logits, y, reduction="none")


def margin_rows(y: Tensor, outputs: int, like: Tensor) -> Tensor:
    """Rows of the violation: logit j - logit y for every j != y, (batch, outputs - 1, outputs).

    For one output, whose sign decides between two classes, the one row is minus or plus it, (batch, 1, 1).
    """
    if outputs == 1:
        return (1 - 2 * y.to(like))[:, None, None]
    eye = torch.eye(outputs, dtype=like.dtype, device=like.device)
    others = torch.arange(outputs - 1, device=y.device)[None]
    others = others + (others >= y[:, None])
    return eye[others] - eye[y][:, None]


def margins_of(logits: Tensor, y: Tensor) -> Tensor:
    """The values of the `margin_rows`, (batch, rows)."""
    return torch.bmm(margin_rows(y, logits.shape[1], logits), logits[:, :, None]).squeeze(2)


def margin_loss(margins: Tensor) -> Tensor:
    """Cross-entropy in terms of margins, log(1 + sum over j != y of exp(h_j - h_y)), of each sample; (batch,).

    Monotone in every margin, so upper bounds of the margins give an upper bound of the loss (Wong and Kolter 2018,
    theorem 2).
    """
    return torch.logsumexp(F.pad(margins, (1, 0)), 1)


def weight_penalty(weights: Iterable[Tensor], norm: str) -> Tensor:
    """||theta|| over all weights together, in the norm of this name: eps1 times this is added to a loss."""
    return penalty_norm_of(norm).measure(torch.cat([w.flatten() for w in weights]))
