"""Rewrites that make a network cheaper to bound without changing its function; each is one small rule, IR -> IR.

Rewritten weights are computed in float64 and stored in the network's type. Rewrites serve the search: the result keeps
the network as it was read in `unmerged`, and proofs and replays speak of that one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from verify.errors import InputError
from verify.ir.graph import BoundGraph, Graph, Network, Node
from verify.ops import Add, Reshape, Scale
from verify.ops.affine import Affine, Weighted


def simplify(network: Network) -> Network:
    """The same function with fewer nodes; `unmerged` is the network given. Raises InputError for a bound graph, whose
    weights belong to a live module."""
    if not isinstance(network, Network):
        raise InputError("only a frozen network can be rewritten; call graph.freeze first, or trace the module again")
    rewritten: BoundGraph = network
    for rule in (merge_equal_arguments, merge_reshapes, drop_identities, fold_into_layers, call_together):
        rewritten = rule(rewritten)
    unmerged = network.unmerged or network
    return replace(network, graph=rewritten.graph, parameters=rewritten.parameters, unmerged=unmerged, source=None)


def call_together(net: BoundGraph) -> BoundGraph:
    """A model that is only executed takes samples together where it can."""
    return _rebuilt(net, [replace(node, op=node.op.searched) for node in net.graph.nodes], net.parameters)


def merge_equal_arguments(net: BoundGraph) -> BoundGraph:
    """Add(x, x) becomes Scale(x) by the sum of its signs, so that one argument has one term."""
    nodes, parameters = [], dict(net.parameters)
    for node in net.graph.nodes:
        if isinstance(node.op, Add) and len(set(node.inputs)) == 1:
            name = _fresh(parameters, f"{node.name}.factor")
            parameters[name] = torch.tensor(float(sum(node.op.signs)), dtype=net.dtype, device=net.device)
            node = replace(node, op=Scale((1,) * len(node.shape)), inputs=node.inputs[:1], parameters=(name,))
        nodes.append(node)
    return _rebuilt(net, nodes, parameters)


def merge_reshapes(net: BoundGraph) -> BoundGraph:
    """A Reshape of a Reshape reads the input of the first."""
    nodes: dict[str, Node] = {}
    for node in net.graph.nodes:
        before = nodes.get(node.inputs[0])
        if _is_reshape(node) and before is not None and _is_reshape(before):
            node = replace(node, op=Reshape(node.shape), inputs=before.inputs)
        nodes[node.name] = node
    return _rebuilt(net, nodes.values(), net.parameters)


def drop_identities(net: BoundGraph) -> BoundGraph:
    """Reshapes to the same shape and permutations in the same order vanish."""
    nodes, stands_for = [], {net.graph.input: net.graph.input}
    for node in net.graph.nodes:
        inputs = tuple(stands_for[name] for name in node.inputs)
        same = _is_reshape(node) and net.graph.shape_of(node.inputs[0]) == node.shape
        stands_for[node.name] = inputs[0] if same else node.name
        if not same:
            nodes.append(replace(node, inputs=inputs))
    return _rebuilt(net, nodes, net.parameters, stands_for[net.graph.output])


def fold_into_layers(net: BoundGraph) -> BoundGraph:
    """BatchNorm and entrywise ops by channel go into the Linear or Conv before them, where nothing else reads it.

    g (W x + b) + h = (g W) x + (g b + h), g and h one number a channel.
    """
    readers = Counter(name for node in net.graph.nodes for name in node.inputs)
    readers[net.graph.output] += 1
    nodes: dict[str, Node] = {}
    parameters = dict(net.parameters)
    for node in net.graph.nodes:
        layer = nodes.get(node.inputs[0])
        if layer is not None and readers[layer.name] == 1 and isinstance(layer.op, Weighted):
            folded = _fold(layer, layer.op, node, parameters)
            if folded is not None:
                del nodes[layer.name]
                node = folded
        nodes[node.name] = node
    return _rebuilt(net, nodes.values(), parameters)


def _fold(layer: Node, op: Weighted, node: Node, parameters: dict[str, Tensor]) -> Node | None:
    """`layer`, which has this op, with `node` in its weights, under the name of `node`; None where they do not fit."""
    if not isinstance(node.op, Affine):
        return None
    axis, p = op.channels % len(layer.shape), tuple(parameters[name].double() for name in node.parameters)
    channels = node.op.by_channel(p, layer.shape, axis)
    if channels is None:
        return None
    factor, offset = channels
    weight, *rest = (parameters[name] for name in layer.parameters)
    bias = rest[0].double() * factor if rest else torch.zeros_like(factor)
    new = {"weight": op.scaled(weight.double(), factor).to(weight.dtype), "bias": (bias + offset).to(weight.dtype)}
    if not all(bool(torch.isfinite(t).all()) for t in new.values()):
        return None
    names = []
    for role, value in new.items():
        names.append(_fresh(parameters, f"{node.name}.{role}"))
        parameters[names[-1]] = value
    return Node(node.name, op, layer.inputs, tuple(names), node.shape)


def _is_reshape(node: Node) -> bool:
    return isinstance(node.op, Affine) and node.op.keeps_order


def _fresh(taken: dict[str, Tensor], name: str) -> str:
    """`name`, or a numbered one where it is taken."""
    unique, count = name, 1
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    return unique


def _rebuilt(
    net: BoundGraph, nodes: Iterable[Node], parameters: dict[str, Tensor], output: str | None = None
) -> BoundGraph:
    """These nodes without those that the output does not need."""
    output = net.graph.output if output is None else output
    needed, kept = {output}, []
    for node in reversed(list(nodes)):
        if node.name in needed:
            kept.append(node)
            needed.update(node.inputs)
    return Graph(net.graph.input, net.graph.input_shape, tuple(reversed(kept)), output).bind(parameters)
