"""Which parts a search splits."""

from __future__ import annotations

from math import prod

from torch import Tensor

from verify.exact.frontier import Frontier
from verify.exact.input_split import InputSplit
from verify.exact.limits import Limits
from verify.exact.neuron_split import NeuronSplit
from verify.ops.base import Nonlinear
from verify.problem import Problem
from verify.upper.journal import Record

FEW = 16  # inputs that vary; ACAS Xu with 5 and its like close in seconds, 30 inputs of a text embedding do not in 10
NEURONS = 500  # for each such input; small networks have at most 100, a deep image network behind 16 inputs 2,800


def frontier_of(problem: Problem, cutoff: Tensor, limits: Limits, record: Record | None = None) -> Frontier:
    """The frontier of all cases of a problem, bounded once against the cutoffs (cases,): boxes are halved where few
    inputs vary before not too many neurons, since a small box leaves few neurons that are not linear; else neurons are
    split. A record gets what it needs to be proved again."""
    varying = int((problem.inputs.high > problem.inputs.low).flatten(1).sum(1).max())
    neurons = sum(prod(node.shape) for node in problem.network.graph.nodes if isinstance(node.op, Nonlinear))
    if problem.inputs.is_box and varying <= FEW and neurons <= NEURONS * max(varying, 1):
        return InputSplit(problem, cutoff, record)
    return NeuronSplit(problem, cutoff, limits, record)
