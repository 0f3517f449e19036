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
NEURONS = 1000  # for each such input: the networks of published families have 5 to 700, or at least 2,800
BOXES, RANGES = 512, 64  # cases searched together where boxes are halved, and where ranges of neurons are split


def frontier_of(problem: Problem, cutoff: Tensor, limits: Limits, record: SearchRecord | None = None) -> Frontier:
    """The frontier of all cases of a problem, bounded once against the cutoffs (cases,), all split alike. A record gets
    what it needs to be proved again. Where ranges of neurons are split, a grid is searched as the box around it."""
    if bool(halves_boxes(problem).all()):
        return InputSplit(problem, cutoff, record)
    return NeuronSplit(problem, cutoff, limits, record)


def batches(problem: Problem, cases: Tensor) -> list[Tensor]:
    """These cases (n,) long in parts that are searched together, those whose boxes are halved apart from the others."""
    halved = halves_boxes(problem.select(cases))
    groups = (cases[halved], BOXES), (cases[~halved], RANGES)
    return [part for group, size in groups if len(group) for part in group.split(size)]


def halves_boxes(problem: Problem) -> Tensor:
    """The cases whose boxes are halved, since few inputs vary before not too many neurons that depend on them, and a
    small box leaves few neurons that are not linear; in the others ranges of neurons are split. Few parameters of a
    front that is not linear are halved before however many neurons: a whole image depends on each. Bool (cases,)."""
    varies = problem.inputs.varies
    count = varies.flatten(1).sum(1)
    out = (count <= FEW) & problem.inputs.is_box
    front = problem.front
    if front is not None and any(isinstance(node.op, Nonlinear) for node in front.graph.nodes):
        return out
    if bool(out.any()):
        out[out.clone()] = dependent_neurons(problem.network, varies[out]) <= NEURONS * count[out].clamp(min=1)
    return out


def dependent_neurons(network: BoundGraph, varies: Tensor) -> Tensor:
    """How many entries of nonlinear nodes depend on the inputs that vary, bool (cases, *input shape); (cases,) long."""
    marks, count = {network.graph.input: varies}, torch.zeros(len(varies), dtype=torch.long, device=varies.device)
    for node, p in network.walk():
        given = [marks[name] for name in node.inputs]
        if isinstance(node.op, Affine):
            parts = [node.op.absolute(p, k, mark.to(network.dtype)) > 0 for k, mark in enumerate(given)]
            marks[node.name] = torch.stack(parts).any(0)
        elif isinstance(node.op, Nonlinear):
            marks[node.name] = node.op.reached(p, given[0])
            count += marks[node.name].flatten(1).sum(1)
    return count
