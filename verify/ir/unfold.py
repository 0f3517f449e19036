"""Maxima as differences and ReLUs, for searches that split neurons: max(a, b) = a + ReLU(b - a).

The function is the same and the relaxation looser, so bounds are taken from the network as it is; but every piece of
it can be split.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from verify.ir.graph import BoundGraph, Network, Node
from verify.ir.rewrite import simplify
from verify.ops import Add, Max, ReLU, Select


def has_maxima(network: BoundGraph) -> bool:
    """Whether some node is a maximum."""
    return any(map(_is_maximum, network.graph.nodes))


def unfold_maxima(network: Network) -> Network:
    """The same function with a tree of pairwise maxima for each maximum; `unmerged` keeps that form in full."""
    source = network.unmerged or network
    nodes: list[Node] = []
    parameters = dict(source.parameters)
    for node in source.graph.nodes:
        if not _is_maximum(node):
            nodes.append(node)
            continue
        nodes.extend(_tree(node, parameters))
    graph = replace(source.graph, nodes=tuple(nodes))
    return simplify(graph.freeze({name: parameters[name] for name in graph.parameter_names}))


def _is_maximum(node: Node) -> bool:
    return isinstance(node.op, Max)


def _tree(node: Node, parameters: dict[str, torch.Tensor]) -> list[Node]:
    """The nodes that replace a maximum; the last one bears its name. Adds the indices of its members."""
    groups = parameters[node.parameters[0]]
    out: list[Node] = []

    def add(name: str, op: Add | ReLU | Select, inputs: tuple[str, ...], names: tuple[str, ...] = ()) -> str:
        out.append(Node(f"{node.name}.{name}", op, inputs, names, node.shape))
        return out[-1].name

    members = []
    for k in range(groups.shape[-1]):
        index = f"{node.name}.member{k}"
        parameters[index] = groups[..., k].contiguous()
        members.append(add(f"member{k}", Select(), node.inputs, (index,)))
    level = 0
    while len(members) > 1:
        winners = members[len(members) - len(members) % 2 :]
        for k, (a, b) in enumerate(zip(members[0:-1:2], members[1::2], strict=True)):
            rise = add(f"rise{level}_{k}", Add((1, -1)), (b, a))
            winners.insert(k, add(f"max{level}_{k}", Add((1, 1)), (a, add(f"hinge{level}_{k}", ReLU(), (rise,)))))
        members, level = winners, level + 1
    out[-1] = replace(out[-1], name=node.name)
    return out
