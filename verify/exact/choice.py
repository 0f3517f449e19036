"""Which parts a search splits."""

from __future__ import annotations

from torch import Tensor

from verify.exact.frontier import Frontier
from verify.exact.neuron_split import NeuronSplit
from verify.problem import Problem


def frontier_of(problem: Problem, cutoff: Tensor) -> Frontier:
    """The frontier of all cases of a problem, bounded once against the cutoffs (cases,)."""
    return NeuronSplit(problem, cutoff)
