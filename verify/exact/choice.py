"""Which parts a search splits."""

from __future__ import annotations

from torch import Tensor

from verify.exact.frontier import Frontier
from verify.exact.input_split import InputSplit
from verify.exact.neuron_split import NeuronSplit
from verify.problem import Problem

FEW = 16  # inputs that vary; ACAS Xu with 5 and its like close in seconds, 30 inputs of a text embedding do not in 10


def frontier_of(problem: Problem, cutoff: Tensor) -> Frontier:
    """The frontier of all cases of a problem, bounded once against the cutoffs (cases,): boxes are halved where few
    inputs vary, since a small box leaves few neurons that are not linear; else neurons are split."""
    varying = (problem.inputs.high > problem.inputs.low).flatten(1).sum(1)
    if problem.inputs.is_box and int(varying.max()) <= FEW:
        return InputSplit(problem, cutoff)
    return NeuronSplit(problem, cutoff)
