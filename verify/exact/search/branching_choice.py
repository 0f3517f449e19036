"""Which parts a search splits."""

from __future__ import annotations

import torch
from torch import Tensor

from verify.exact.search.frontier import Frontier
from verify.exact.search.input_split import InputSplit
from verify.exact.search.limits import Limits
from verify.exact.search.neuron_split import NeuronSplit
from verify.ir.graph import BoundGraph
from verify.ops.affine import Affine
from verify.ops.base import Nonlinear
from verify.problem import Problem
from verify.upper.duals.proof_log import SearchRecord

FEW = 16  # inputs that vary; ACAS Xu with 5 and its like close in seconds, 30 inputs of a text embedding do not in 10
NEURONS = 500  # for each such input; small networks have at most 100, a deep image network behind 16 inputs 2,800


def frontier_of(problem: Problem, cutoff: Tensor, limits: Limits, record: SearchRecord | None = None) -> Frontier:
    """The frontier of all cases of a problem, bounded once against the cutoffs (cases,): boxes are halved where few
    inputs vary before not too many neurons that depend on them, since a small box leaves few neurons that are not
    linear; else neurons are split. A record gets what it needs to be proved again."""
    varies = problem.inputs.varies
    varying, neurons = int(varies.flatten(1).sum(1).max()), dependent_neurons(problem.network, varies.any(0))
    if problem.inputs.is_box and varying <= FEW and neurons <= NEURONS * max(varying, 1):
        return InputSplit(problem, cutoff, record)
    return NeuronSplit(problem, cutoff, limits, record)


def dependent_neurons(network: BoundGraph, varies: Tensor) -> int:
    """Entries of nonlinear nodes that depend on the inputs that vary, bool (*input shape)."""
    marks, count = {network.graph.input: varies[None]}, 0
    for node, p in network.walk():
        given = [marks[name] for name in node.inputs]
        if isinstance(node.op, Affine):
            parts = [node.op.absolute(p, k, mark.to(network.dtype)) > 0 for k, mark in enumerate(given)]
            marks[node.name] = torch.stack(parts).any(0)
        elif isinstance(node.op, Nonlinear):
            marks[node.name] = node.op.reached(p, given[0])
            count += int(marks[node.name].sum())
    return count
