"""Losses from bounds: what an upper bound of the inner maximum says, alone or mixed with what an attack finds.

All of them bound the margins h_j - h_y over a set and take the cross-entropy of the bounds, which bounds the worst
cross-entropy (`margin_loss`). They differ in the bound, in the set, and in how they mix.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from verify.errors import InputError
from verify.ir.graph import BoundGraph
from verify.ops.base import IntervalBounds
from verify.registry import LossEntry
from verify.sets import InputSet
from verify.sets.norms import BoxNorm, norm_of
from verify.train.attack import Attack
from verify.train.losses.adversarial import attacked
from verify.train.losses.base import Loss, cross_entropy, margin_loss, margin_rows, margins_of
from verify.train.losses.regularizer import Regularizer
from verify.upper.interval import interval_boxes
from verify.upper.linear_bounds.crown_ibp import affine_end_bounds, affine_end_boxes, crown_ibp_bounds


def boxes_over(network: BoundGraph, inputs: InputSet | IntervalBounds) -> dict[str, IntervalBounds]:
    """Interval bounds of every value over a batch of sets."""
    return interval_boxes(network, IntervalBounds(inputs.low, inputs.high))


def interval_margins(network: BoundGraph, boxes: dict[str, IntervalBounds], y: Tensor) -> Tensor:
    """Upper bounds of the margins by interval arithmetic, the last affine layers merged with them; (batch, rows).

    Sound because `affine_end_bounds` is; trusts float rounding.
    """
    return affine_end_bounds(network, boxes, _rows_of_classes(network, boxes), y)


def _rows_of_classes(network: BoundGraph, boxes: dict[str, IntervalBounds]) -> Tensor:
    """The `margin_rows` of every class, (classes, rows, *output shape)."""
    like = boxes[network.graph.input].low
    classes = torch.arange(max(2, network.outputs), device=like.device)
    return margin_rows(classes, network.outputs, like).unflatten(2, network.output_shape)


@LossEntry(name="interval", place=70, help="interval bounds (IBP)")
@dataclass(frozen=True)
class IntervalLoss(Loss):
    """clean L(x, y) + (1 - clean) L_IBP, L_IBP of interval bounds (Gowal et al. 2018, eq. 12), plus the regularizer of
    Shi et al. 2021, which keeps early layers tight and their neurons balanced."""

    clean: float = 0.0
    regularizer: Regularizer = Regularizer()

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        boxes = boxes_over(network, self.threat.ball(x, eps))
        loss = margin_loss(interval_margins(network, boxes, y))
        return mixed(self.clean, network, x, y, loss) + self.regularizer(network, boxes)


@LossEntry(name="crown-ibp", place=80, help="linear bounds over interval boxes")
@dataclass(frozen=True)
class CrownIBP(Loss):
    """Margins bounded by `share` of a backward pass over interval boxes and the rest of interval bounds, mixed with the
    clean loss as in `IntervalLoss` (Zhang et al. 2020, section 3)."""

    clean: float = 0.0
    share: float = 1.0
    regularizer: Regularizer = Regularizer()

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        ball = self.threat.ball(x, eps)
        boxes = boxes_over(network, ball)
        margins = torch.zeros((), dtype=x.dtype, device=x.device)
        if self.share < 1:
            margins = margins + (1 - self.share) * interval_margins(network, boxes, y)
        if self.share > 0:
            rows = margin_rows(y, network.outputs, x).unflatten(2, network.output_shape)
            margins = margins + self.share * crown_ibp_bounds(network, ball, boxes, rows)
        return mixed(self.clean, network, x, y, margin_loss(margins)) + self.regularizer(network, boxes)


@LossEntry(name="fused-crown-ibp", place=90, help="a linear bound of the loss itself")
@dataclass(frozen=True)
class FusedCrownIBP(Loss):
    """CROWN-IBP with loss fusion (Xu et al. 2020, section 3.3): one backward row a sample instead of one a class.

    The loss is log(1 + S) with S the sum of exp(margin). Over the interval [l, u] of a margin the chord of exp lies
    above it, so S is at most one linear function of the outputs, which a single row bounds. Where that is worse than
    the interval bound of S itself, the latter is taken.
    """

    clean: float = 0.0
    regularizer: Regularizer = Regularizer()

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        ball = self.threat.ball(x, eps)
        boxes = boxes_over(network, ball)
        rows = margin_rows(y, network.outputs, x).unflatten(2, network.output_shape)
        low, high = affine_end_boxes(network, boxes, _rows_of_classes(network, boxes), y)
        top = high.amax(1, keepdim=True).clamp(min=0).detach()  # everything is divided by exp(top), against overflow
        slope, intercept = _chord_of_exp(low, high, top)
        row = torch.einsum("br,br...->b...", slope, rows)[:, None]
        total = (crown_ibp_bounds(network, ball, boxes, row) + intercept.sum(1, keepdim=True)).squeeze(1)
        total = total.minimum(torch.exp(high - top).sum(1)).clamp(min=torch.finfo(x.dtype).tiny)
        loss = top.squeeze(1) + torch.log(torch.exp(-top).squeeze(1) + total)
        return mixed(self.clean, network, x, y, loss) + self.regularizer(network, boxes)


def _chord_of_exp(low: Tensor, high: Tensor, top: Tensor) -> tuple[Tensor, Tensor]:
    """Slope and intercept of the line through the ends of exp(z - top) over [low, high]; each the shape of low."""
    width = high - low
    narrow = width < 1e-4  # the tangent at the middle instead, raised to the chord's height at the ends
    middle, half = (low + high) / 2, (width / 2).where(narrow, 0)  # exp of a wide one would be infinite
    wide = width.where(~narrow, 1)
    slope = torch.where(narrow, torch.exp(middle - top), (torch.exp(high - top) - torch.exp(low - top)) / wide)
    chord = torch.exp(high - top) - slope * high
    return slope, torch.where(narrow, torch.exp(middle - top) * (torch.exp(half) - half - middle), chord)


@LossEntry(name="sabr", place=110, help="interval bounds of a small box around an attacked point")
@dataclass(frozen=True)
class SABR(Loss):
    """Interval bounds over a small box inside the ball, around an attacked point (Mueller et al. 2023, section 3).

    The box has the radius `shrink` * eps, and its center is attacked in the ball of radius (1 - shrink) eps, so that
    it stays inside the ball; it is cut by the clip.
    """

    shrink: float = 0.1
    attack: Attack = Attack(steps=8)
    regularizer: Regularizer = Regularizer()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.shrink <= 1:
            raise InputError(f"SABR has shrink={self.shrink}; it must be above 0 and at most 1")

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        if not isinstance(norm_of(self.threat.norm), BoxNorm):
            raise InputError(f"SABR is made for linf balls, not {self.threat.norm}; take the loss interval")
        center = attacked(network, x, y, self.attack, self.threat.ball(x, (1 - self.shrink) * eps), noise)
        boxes = boxes_over(network, self.threat.ball(center, self.shrink * eps))
        return margin_loss(interval_margins(network, boxes, y)).mean() + self.regularizer(network, boxes)


@dataclass(frozen=True)
class Expressive(Loss):
    """Losses that go from the attacked to the bounded one as alpha goes from 0 to 1 (De Palma et al. 2024,
    "Expressive losses").

    Args:
        alpha: weight of the bound.
        attack: of the lower bound; its ball has the radius `reach` * eps (the paper attacks a larger one at small eps).
    """

    alpha: float = 0.5
    attack: Attack = Attack(steps=1, step=2.5)
    reach: float = 1.0
    regularizer: Regularizer = Regularizer()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reach >= 0:
            raise InputError(f"the loss {type(self).__name__} has reach={self.reach}; it must be at least 0")

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        bad = attacked(network, x, y, self.attack, self.threat.ball(x, self.reach * eps), noise)
        boxes = boxes_over(network, self.threat.ball(x, eps))
        loss = self.combine(network(bad), interval_margins(network, boxes, y), y)
        return loss.mean() + self.regularizer(network, boxes)

    @abstractmethod
    def combine(self, logits: Tensor, margins: Tensor, y: Tensor) -> Tensor:
        """The loss of each sample from attacked logits (batch, classes) and bounds of the margins (batch, rows)."""


@LossEntry(name="mtl-ibp", place=120, help="attacked and bounded losses, added")
@dataclass(frozen=True)
class MTL(Expressive):
    """(1 - alpha) L(x_adv, y) + alpha L_IBP: MTL-IBP, De Palma et al. 2024, section 4.2."""

    def combine(self, logits: Tensor, margins: Tensor, y: Tensor) -> Tensor:
        return (1 - self.alpha) * cross_entropy(logits, y) + self.alpha * margin_loss(margins)


@LossEntry(name="cc-ibp", place=130, help="attacked and bounded margins, added")
@dataclass(frozen=True)
class CC(Expressive):
    """L of (1 - alpha) attacked margins + alpha bounded ones: CC-IBP, De Palma et al. 2024, section 4.1."""

    def combine(self, logits: Tensor, margins: Tensor, y: Tensor) -> Tensor:
        return margin_loss((1 - self.alpha) * margins_of(logits, y) + self.alpha * margins)


@LossEntry(name="exp-ibp", place=140, help="attacked and bounded losses, multiplied")
@dataclass(frozen=True)
class ExpIBP(Expressive):
    """L(x_adv, y)^(1 - alpha) L_IBP^alpha: Exp-IBP, De Palma et al. 2024, section 4.3."""

    def combine(self, logits: Tensor, margins: Tensor, y: Tensor) -> Tensor:
        tiny = torch.finfo(logits.dtype).tiny
        lower, upper = (z.clamp(min=tiny).log() for z in (cross_entropy(logits, y), margin_loss(margins)))
        return torch.exp((1 - self.alpha) * lower + self.alpha * upper)


def mixed(clean: float, network: BoundGraph, x: Tensor, y: Tensor, loss: Tensor) -> Tensor:
    """clean L(x, y) + (1 - clean) loss, the mean over the batch; the clean pass is left out at 0."""
    if clean == 0:
        return loss.mean()
    return (clean * cross_entropy(network(x), y) + (1 - clean) * loss).mean()
