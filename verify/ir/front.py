"""Fronts: what makes a network's input of the variables of a set, such as the normalisation of the data.

A front is a network itself, best written with symbolic values (see `verify.ir.symbolic`). Methods search on the front
and the network as one; certificates state the front and compare what follows it with the model file, replays give the
front's result to the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch

from verify.errors import InputError
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network, Source
from verify.ir.rewrite import simplify
from verify.ir.symbolic import SymbolicValue, over_one, variable
from verify.rationals import exact_array


@dataclass(frozen=True, eq=False)
class Behind:
    """What a network was read from, as a source of the network with a front: the front is computed in float64, its
    result rounded to the front's type once, and given to the source."""

    front: Network
    source: Source

    def __str__(self) -> str:
        return str(self.source)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs, flat, at one point x, flat."""
        return self.outputs(x[None])[0]

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """See `Source`."""
        return self.source.outputs(made(self.front, x))

    def tensors(self, x: np.ndarray) -> list[tuple[str, list[np.ndarray]]]:
        """See `Source`; those of the model behind the front."""
        return self.source.tensors(made(self.front, x[None])[0])


def made(front: Network, x: np.ndarray) -> np.ndarray:
    """What a front makes of points (points, variables), in float64 and rounded to its type once; (points, inputs)."""
    points = torch.from_numpy(x.astype(np.float64)).reshape(-1, *front.input_shape)
    return front.to("cpu").double()(points).to(front.dtype).flatten(1).numpy()


def behind(network: Network, front: Network) -> Network:
    """The network x -> network(front(x)), which keeps the front and what the network was read from.

    Raises InputError where the front's result is not an input of the network, and for a front with a last layer that is
    a head.
    """
    if not isinstance(front, Network):
        remedy = "; write front.network()" if isinstance(front, SymbolicValue) else ""
        raise InputError(f"a front is a network of the variables, not a {type(front).__name__}{remedy}")
    if front.head is not None or front.output_shape != network.input_shape or front.dtype != network.dtype:
        raise InputError(f"the front gives {front.dtype} of shape {front.output_shape}"
                         f"{'' if front.head is None else f' from a {front.head}'}, but the network takes "
                         f"{network.dtype} of shape {network.input_shape}; mend the front")
    front = front.unmerged or front
    if network.unmerged is not None:
        return simplify(behind(network.unmerged, front))
    builder = GraphBuilder(front.graph.input, front.input_shape, network.dtype)
    whole = builder.finish(builder.inline(network.logits, builder.inline(front, builder.input)))
    own = [node for part in (front, network.front) if part is not None for node in part.graph.nodes]
    if not own:
        return network
    first = whole.graph.nodes[: len(own)]
    stated = replace(whole.graph, nodes=first, output=first[-1].name).freeze(whole.parameters)
    source = None if network.source is None else Behind(front, network.source)
    whole = replace(whole, source=source, head=network.head, bare=network.bare, front=stated)
    return whole.to(network.device)


def normalized(network: Network, mean: Sequence[Fraction], std: Sequence[Fraction]) -> Network:
    """The network behind the front x -> (x - mean) / std, so that sets and eps are in the input's own units.

    `mean` and `std` hold one number, or one for each entry of the input's first axis (its channels). They are the
    rationals that they are, unless the network's floats are too short for the quotient; then they are rounded to these.
    Raises InputError for another count or a std that is not positive.
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
    center, scale = (np.array([*values], object).reshape(-1, *[1] * (len(shape) - 1)) for values in (mean, std))
    if over_one(1 / scale, center / scale, network.dtype) is None:
        floats = (torch.from_numpy(values.astype(np.float64)).to(network.dtype) for values in (center, scale))
        center, scale = map(exact_array, floats)
    x = variable(shape, network.dtype)
    return behind(network, ((x - center) / scale).network())
