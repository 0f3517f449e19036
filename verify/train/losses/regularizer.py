"""The regularizer of short certified training: tight boxes and balanced neurons from the start (Shi et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.errors import InputError
from verify.ir.graph import BoundGraph
from verify.ops.base import RECTIFIER, IntervalBounds


@dataclass(frozen=True)
class Regularizer:
    """weight * (R_tight + R_balance) of Shi et al. 2021, section 4, over the m ReLU layers.

    R_tight = 1 / (tolerance m) sum of max(0, tolerance - E[input width] / E[width of layer i]): boxes should not grow.
    R_balance = 1 / (tolerance m) sum of max(0, tolerance - a_i) + max(0, tolerance - b_i): the mean centers of active
    and of inactive neurons should have a ratio a_i, and their variances b_i, not far below 1 (the smaller over the
    larger).

    Args:
        weight: 0 for none; the paper starts at 0.5 and lowers it to 0 while eps grows.
        tolerance: as above, in (0, 1].
    """

    weight: float = 0.0
    tolerance: float = 0.5

    def __post_init__(self) -> None:
        if not self.weight >= 0 or not 0 < self.tolerance <= 1:
            raise InputError(f"the regularizer has weight={self.weight}, tolerance={self.tolerance}; the weight must "
                             "be at least 0, the tolerance above 0 and at most 1")

    def __call__(self, network: BoundGraph, boxes: dict[str, IntervalBounds]) -> Tensor | float:
        layers = [boxes[node.inputs[0]] for node in network.graph.nodes if node.op.hinge == RECTIFIER]
        if self.weight == 0 or not layers:
            return 0.0
        source = boxes[network.graph.input]
        width = (source.high - source.low).mean()
        total = torch.zeros_like(width)
        for low, high in layers:
            center, mean_width = (low + high) / 2, (high - low).mean()
            tight = width / mean_width.clamp(min=torch.finfo(low.dtype).tiny)
            total = total + (self.tolerance - tight).clamp(min=0)
            for ratio in _balance(low, high, center):
                total = total + (self.tolerance - ratio).clamp(min=0)
        return self.weight * total / (self.tolerance * len(layers))


def _balance(low: Tensor, high: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """Ratios, at most 1, of the summed centers and of the summed squared deviations of active and inactive neurons."""
    active, inactive = low > 0, high < 0
    deviation = (center - center.mean()) ** 2
    sums = [(part * mask).sum() for part, mask in ((center, active), (-center, inactive))]
    squares = [(deviation * mask).sum() for mask in (active, inactive)]
    return _ratio(*sums), _ratio(*squares)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """The smaller over the larger of two numbers >= 0; 1 where both are 0."""
    larger = torch.maximum(a, b)
    return torch.where(larger > 0, torch.minimum(a, b) / larger.clamp(min=torch.finfo(a.dtype).tiny), 1)
