"""Figures during training: clean, attacked and verified accuracy of held out samples."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from verify.errors import UnsupportedMethod
from verify.ir.graph import BoundGraph
from verify.train.attack import Attack
from verify.train.data import TrainingSamples
from verify.train.losses.adversarial import attacked
from verify.train.losses.base import Threat, margin_rows, margins_of
from verify.train.losses.certified import boxes_over, interval_margins
from verify.upper.linear_bounds.crown_ibp import crown_ibp_bounds

ATTACK = Attack(steps=10)
BATCH = 256


def accuracies(
    network: BoundGraph, samples: TrainingSamples, threat: Threat, eps: float, noise: Generator
) -> dict[str, float]:
    """Shares of the samples that are classified correctly, also at an attacked point, and for all points as bounds say.

    The bound is the smaller of interval bounds and CROWN-IBP, cheap enough for every epoch; the certification at the
    end uses tighter ones. Empty where there are no samples.
    """
    if not len(samples):
        return {}
    counts = torch.zeros(3, dtype=torch.long)
    for part in torch.arange(len(samples)).split(BATCH):
        x, y = samples.x[part], samples.y[part]
        ball = threat.ball(x, eps)
        bad = attacked(network, x, y, ATTACK, ball, noise)
        with torch.no_grad():
            clean = right(network(x), y)
            held = clean & right(network(bad), y)
            verified = held & (upper_margins(network, x, y, threat, eps).amax(1) < 0)
        counts += torch.stack([mask.sum() for mask in (clean, held, verified)]).cpu()
    clean, held, verified = (counts / len(samples)).tolist()
    return {"clean": clean, "attacked": held, "verified": verified}


def right(logits: Tensor, y: Tensor) -> Tensor:
    """Where the class is predicted without a tie; (batch,) bool."""
    return margins_of(logits, y).amax(1) < 0


def upper_margins(network: BoundGraph, x: Tensor, y: Tensor, threat: Threat, eps: float) -> Tensor:
    """Upper bounds of the margins over the threat's balls, (batch, rows).

    Sound because both bounds are; trusts float rounding.
    """
    ball = threat.ball(x, eps)
    boxes = boxes_over(network, ball)
    bounds = interval_margins(network, boxes, y)
    try:
        rows = margin_rows(y, network.outputs, x).unflatten(2, network.output_shape)
        return bounds.minimum(crown_ibp_bounds(network, ball, boxes, rows))
    except UnsupportedMethod:
        return bounds
