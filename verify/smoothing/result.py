"""What randomized smoothing says of samples."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

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
        """Which samples have their label y (batch,) everywhere within L2 distance eps; bool (batch,)."""
        right = self.classes == y.to(self.classes.device)
        return right & (self.radius >= float(rational(eps, "eps"))) & (self.radius > 0)

    def __repr__(self) -> str:
        count, kept = len(self.classes), int((self.classes != ABSTAINS).sum())
        mean = float(self.radius.mean()) if count else 0.0
        return (f"SmoothedResult of {count} samples, statistical, each right with probability "
                f"{shown(self.confidence)}: sigma {shown(self.sigma)}, {self.draws} draws, abstains on {count - kept}, "
                f"mean radius {mean:.4g}")
