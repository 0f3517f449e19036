"""What randomized smoothing says of samples."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from verify.errors import InputError
from verify.problem import tensor_of
from verify.rationals import Number, rational, shown

ABSTAINS = -1


@dataclass(frozen=True, repr=False)
class SmoothedResult:
    """The smoothed classifier at the samples of a batch. Statistical: each sample's answer is wrong with probability at
    most 1 - confidence.

    Args:
        classes: (batch,) long, -1 where it abstains.
        radius: (batch,) float64: in this L2 distance the class stays; 0 where it abstains.
        hits: (batch,) long, how many of the `draws` had the class that was the most frequent of the first draws.
        draws: number of noisy inputs that the radius rests on.
        sigma, confidence: as asked.
    """

    classes: Tensor
    radius: Tensor
    hits: Tensor
    draws: int
    sigma: Fraction
    confidence: Fraction

    def robust(self, y: Tensor, eps: Number) -> Tensor:
        """Which samples have their label y (batch,) everywhere within L2 distance eps >= 0; bool (batch,)."""
        labels, least = tensor_of(y, "y").to(self.classes.device), rational(eps, "eps")
        if labels.shape != self.classes.shape or least < 0:
            raise InputError(f"labels of shape {tuple(labels.shape)} and eps {eps} were given for {len(self.classes)} "
                             "samples; give one label for each sample, and a radius of at least 0")
        reaches = torch.tensor([radius >= least for radius in self.radius.tolist()], dtype=torch.bool)
        return (self.classes == labels) & (self.classes != ABSTAINS) & reaches

    def __repr__(self) -> str:
        count, kept = len(self.classes), int((self.classes != ABSTAINS).sum())
        mean = float(self.radius.mean()) if count else 0.0
        return (f"SmoothedResult of {count} samples, statistical, each right with probability "
                f"{shown(self.confidence)}: sigma {shown(self.sigma)}, {self.draws} draws, abstains on {count - kept}, "
                f"mean radius {mean:.4g}")
