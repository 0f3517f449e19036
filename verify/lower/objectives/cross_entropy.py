"""The cross-entropy of a classifier, for any specification."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verify.lower.objectives.base import OfDisjuncts, RowWeights
from verify.registry import ObjectiveEntry


@ObjectiveEntry(name="cross-entropy", place=20, help="log of the sum of exp of the disjuncts: a classifier's loss")
@dataclass(frozen=True)
class CrossEntropy(OfDisjuncts):
    """log of the sum over disjuncts d of exp(v_d), v_d the value of a disjunct, such as h_j - h_y.

    The cross-entropy is log(1 + exp(.)) of it, so both rise together and have gradients of one direction; this one's
    does not vanish where the network is sure of a class.
    """

    def graded(self, least: Tensor, climbed: Tensor) -> RowWeights:
        return RowWeights(climbed.logsumexp(1), climbed.softmax(1))
