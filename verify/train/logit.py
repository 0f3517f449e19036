"""The logit that losses see of a network with one output: what stands before a sigmoid at its end, less a threshold.

Two classes are told apart by one number p above a threshold t. Where p = sigmoid(h), losses take h - log(t / (1 - t)),
else p - t: class 1 is predicted where that is positive, and its binary cross-entropy is that of the logit, whose
gradient does not vanish where the sigmoid is flat.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from verify.errors import InputError
from verify.goals import default_threshold
from verify.ir.graph import BoundGraph, Graph, Node
from verify.ops.affine import Affine
from verify.ops.shape_ops import Shift
from verify.ops.smooth import Sigmoid
from verify.rationals import rational, shown


def logit_of(network: BoundGraph, threshold: str | None) -> tuple[Graph, dict[str, Tensor]]:
    """The graph that losses see of a network that is trained, and the constants that it has besides the network's.

    threshold: above which the one output means class 1; by default that of `verify.goals.default_threshold`. Raises
    InputError where the network has several outputs, or one that a threshold does not fit.
    """
    graph = network.graph
    if network.outputs > 1 and threshold is None:
        return graph, {}
    if network.outputs > 1:
        raise InputError(f"a threshold tells two classes apart by one output, but the network has {network.outputs}; "
                         "leave it out")
    level = default_threshold(network) if threshold is None else rational(threshold, "threshold")
    last = _last(graph)
    size = float(level)
    if last is not None and isinstance(last.op, Sigmoid):
        graph, size = _without(graph, last), _logit(level)
    if size == 0:
        return graph, {}
    name, like = f"{graph.output}.threshold", next(iter(network.parameters.values()))
    constant = torch.full((1,) * len(graph.output_shape), -size, dtype=network.dtype, device=like.device)
    above = Node(name, Shift(tuple(constant.shape)), (graph.output,), (name,), graph.output_shape)
    return replace(graph, nodes=(*graph.nodes, above), output=name), {name: constant}


def _last(graph: Graph) -> Node | None:
    """The node whose value the output is, up to moves."""
    node = graph.by_name.get(graph.output)
    while node is not None and isinstance(node.op, Affine) and node.op.picks:
        node = graph.by_name.get(node.inputs[0]) if len(node.inputs) == 1 else None
    return node


def _without(graph: Graph, left_out: Node) -> Graph:
    """The graph in which what reads a node of one argument reads the argument."""
    source = left_out.inputs[0]
    nodes = tuple(replace(node, inputs=tuple(source if name == left_out.name else name for name in node.inputs))
                  for node in graph.nodes if node is not left_out)
    return replace(graph, nodes=nodes, output=source if graph.output == left_out.name else graph.output)


def _logit(level: Fraction) -> float:
    if not 0 < level < 1:
        raise InputError(f"the threshold {shown(level)} is none of a sigmoid, whose values lie between 0 and 1")
    return math.log(level / (1 - level))
