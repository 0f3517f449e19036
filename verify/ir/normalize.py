"""Puts the normalisation of the data into the network, so that sets and eps are in the input's own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import torch

from verify.errors import InputError
from verify.ir.graph import Network, Node
from verify.ops import Divide, Shift


def normalized(network: Network, mean: Sequence[Fraction], std: Sequence[Fraction]) -> Network:
    """The network x -> network((x - mean) / std), as a Shift and a Divide in front.

    `mean` and `std` hold one number, or one for each entry of the input's first axis (its channels), rounded to the
    network's dtype. Raises InputError for another count or a std that is not positive.
    """
    shape = network.input_shape
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, shape[0]):
            counts = "1" if shape[0] == 1 else f"1 or {shape[0]}"
            raise InputError(
                f"--normalize has {len(values)} values of {name} for inputs of shape {shape}; give {counts}"
            )
    if any(s <= 0 for s in std):
        raise InputError("the normalisation has a deviation that is not positive; write MEAN:STD, such as 0.5:0.25")
    graph = network.graph
    names = _fresh(graph.input + "_raw", network), _fresh(graph.input + "_shifted", network)
    keys = _fresh("normalize_mean", network), _fresh("normalize_std", network)
    constants = {keys[0]: _column([-m for m in mean], network), keys[1]: _column(std, network)}
    along = [(t.numel(), *[1] * (len(shape) - 1)) for t in constants.values()]
    front = (
        Node(names[1], Shift(along[0]), (names[0],), (keys[0],), shape),
        Node(graph.input, Divide(along[1]), (names[1],), (keys[1],), shape),
    )
    unmerged = None if network.unmerged is None else normalized(network.unmerged, mean, std)
    whole = replace(graph, input=names[0], nodes=(*front, *graph.nodes))
    parameters = {**constants, **network.parameters}
    return replace(network, graph=whole, parameters=parameters, unmerged=unmerged, source=None)


def _column(values: Sequence[Fraction], network: Network) -> torch.Tensor:
    return torch.tensor([float(v) for v in values], dtype=network.dtype, device=network.device)


def _fresh(name: str, network: Network) -> str:
    taken = {network.graph.input, *network.graph.by_name, *network.parameters}
    while name in taken:
        name += "_"
    return name
