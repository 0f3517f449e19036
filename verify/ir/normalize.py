"""Puts the normalisation of the data into the network, so that sets and eps are in the input's own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import torch

from verify.errors import InputError
from verify.ir.graph import Network, Node
from verify.ops import Scale, Shift


def normalized(network: Network, mean: Sequence[Fraction], std: Sequence[Fraction]) -> Network:
    """The network x -> network((x - mean) / std), as a Shift and a Scale in front.

    `mean` and `std` hold one number, or one for each entry of the input's first axis (its channels). The division
    is a product with 1/std rounded to the network's dtype. Raises InputError for another count or a std that is not
    positive.
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
    keys = _fresh("normalize_mean", network), _fresh("normalize_scale", network)
    front = (
        Node(names[1], Shift(), (names[0],), (keys[0],), shape),
        Node(graph.input, Scale(), (names[1],), (keys[1],), shape),
    )
    constants = {keys[0]: _column([-m for m in mean], network), keys[1]: _column([1 / s for s in std], network)}
    unmerged = None if network.unmerged is None else normalized(network.unmerged, mean, std)
    whole = replace(graph, input=names[0], nodes=(*front, *graph.nodes))
    return Network(whole, {**constants, **network.parameters}, unmerged)


def _column(values: Sequence[Fraction], network: Network) -> torch.Tensor:
    """The values along the first axis of a sample: shape (n, 1, ..., 1), or () for a single value."""
    tensor = torch.tensor([float(v) for v in values], dtype=network.dtype, device=network.device)
    return tensor[0] if len(values) == 1 else tensor.reshape(-1, *[1] * (len(network.input_shape) - 1))


def _fresh(name: str, network: Network) -> str:
    taken = {network.graph.input, *network.graph.by_name, *network.parameters}
    while name in taken:
        name += "_"
    return name
