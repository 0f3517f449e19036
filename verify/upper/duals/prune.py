"""Leaves out neurons that are off on all sets: a layer of 256 with 20 undecided and 10 active ones is one of 30."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph, Graph, Node
from verify.ops.base import IntervalBounds, Nonlinear, Parameters


def live_entries(network: BoundGraph, boxes: dict[str, IntervalBounds]) -> dict[str, Tensor]:
    """The entries (n,) long of linear layers that are worth keeping, by the layer's name; at least one each.

    Left out are those whose activation is constantly zero on the boxes (of every nonlinear node's argument), in chains
    of a linear layer, an activation and linear layers that read nothing else.
    """
    graph, readers, live = network.graph, defaultdict(list), {}
    for node in graph.nodes:
        for name in node.inputs:
            readers[name].append(node)
    for node in graph.nodes:
        layer = graph.by_name.get(node.inputs[0])
        if layer is None or not isinstance(node.op, Nonlinear) or graph.output in (layer.name, node.name):
            continue
        if len(readers[layer.name]) == 1 and all(_is_matrix(network, n) for n in [layer, *readers[node.name]]):
            same, slope = node.op.linear_on(network.of(node), boxes[layer.name])
            dead = same & (slope == 0) & (node.op.forward((), boxes[layer.name].low[0]) == 0)
            dead[0] &= not bool(dead.all())
            live[layer.name] = (~dead).nonzero().flatten()
    return live


def pruned(
    network: BoundGraph, boxes: dict[str, IntervalBounds], live: dict[str, Tensor]
) -> tuple[BoundGraph, dict[str, IntervalBounds]]:
    """A network that equals the given one on the boxes, and its boxes, with these entries of linear layers alone."""
    kept = kept_entries(network, live)
    nodes, parameters = [], {}
    for node, p in network.walk():
        p = _restricted(p, live.get(node.name), kept.get(node.inputs[0]) if _is_matrix(network, node) else None)
        names = tuple(f"{node.name}:{k}" for k in range(len(p)))
        parameters.update(zip(names, p, strict=True))
        shape = (len(kept[node.name]),) if node.name in kept else node.shape
        nodes.append(Node(node.name, node.op, node.inputs, names, shape))
    graph = Graph(network.graph.input, network.graph.input_shape, tuple(nodes), network.graph.output)
    shrunk = {name: IntervalBounds(*(end[:, index] for end in boxes[name])) for name, index in live.items()}
    return graph.bind(parameters), boxes | shrunk


def kept_entries(network: BoundGraph, live: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries of all values that lose some: those layers and their activations."""
    return {node.name: live[node.inputs[0]] for node in network.graph.nodes if node.inputs[0] in live} | live


def _is_matrix(network: BoundGraph, node: Node) -> bool:
    return network.matrix(node) is not None


def _restricted(p: Parameters, out: Tensor | None, into: Tensor | None) -> Parameters:
    """Weight and bias of a layer for some of its outputs and inputs, None being all."""
    if out is not None:
        p = tuple(part[out] for part in p)
    return p if into is None else (torch.index_select(p[0], 1, into), *p[1:])
