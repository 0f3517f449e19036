"""Fronts with few parameters: where linear bounds stop on their way back, and which boxes they leave to forward ones.

Every pixel depends on every parameter, by tens of thousands of terms, and all of them are functions of a few numbers.
So forward forms of what a front makes lose little, and cost next to nothing; backward rows through a front, one for
each neuron of the network behind it, would cost many times what the network does.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph, Network
from verify.ops.base import Nonlinear
from verify.upper.linear_bounds.forward import Form
from verify.upper.linear_bounds.rounding import Rounding, gamma


class FrontNodes(NamedTuple):
    """The nodes of a front by name, and the last of them, through which all that follows depends on the others."""

    names: frozenset[str]
    last: str


class Rest(NamedTuple):
    """A value at which rows stop: |value - reference - middle - columns . t| <= radius for t in [-1, 1]^columns.

    Args:
        name: of the value.
        middle, radius: (batch, *shape); the radius has what rounding may take from rows that end here.
        columns: (columns, batch, *shape).
    """

    name: str
    middle: Tensor
    radius: Tensor
    columns: Tensor

    @classmethod
    def of(cls, name: str, form: Form, reference: Tensor, rounding: Rounding | None) -> Rest:
        """Of a value of this form, with rows relative to this reference.

        Sound because the form is; trusts float rounding, which in float64 is part of the radius: sums of as many
        products as the value has entries, of the sizes of the value and of its form.
        """
        radius = torch.zeros_like(form.middle) if form.error is None else form.error
        if rounding is not None:
            sums = gamma(form.middle[0].numel() + len(form.columns) + len(rounding.nodes))
            radius = radius + rounding.start(name) + form.size * sums
        return cls(name, form.middle - reference, radius, form.columns)

    def entries(self, kept: Tensor | None) -> Rest:
        """The same of these entries (n,) of a vector, which are all that rows keep; None for all."""
        if kept is None:
            return self
        return Rest(self.name, self.middle[:, kept], self.radius[:, kept], self.columns[:, :, kept])


def front_nodes(network: BoundGraph) -> FrontNodes | None:
    """Those of a network with a front that is not linear; None where there is none, or what follows it reads more than
    one of them."""
    front = network.front if isinstance(network, Network) else None
    if front is None or not any(isinstance(node.op, Nonlinear) for node in front.graph.nodes):
        return None
    names = {node.name for node in front.graph.nodes}
    here = [node.name for node in network.graph.nodes if node.name in names]
    read = {name for node in network.graph.nodes if node.name not in names for name in node.inputs}
    if not here or read & {network.graph.input, *here[:-1]}:
        return None
    return FrontNodes(frozenset(here), here[-1])
