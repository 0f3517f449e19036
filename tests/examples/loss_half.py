"""Half of the loss at the samples, half of that of interval bounds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

from verify.ir.graph import BoundGraph
from verify.registry import LossEntry
from verify.train.losses.base import Loss, cross_entropy
from verify.train.losses.certified import IntervalLoss


@LossEntry(name="half", place=200, help="half at the samples, half of interval bounds")
@dataclass(frozen=True)
class Half(Loss):
    """(L(x, y) + L_IBP) / 2."""

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        bounded = IntervalLoss(threat=self.threat)(network, x, y, eps, noise)
        return (cross_entropy(network(x), y).mean() + bounded) / 2
