"""The gradient of a network in its input, node by node, by closed forms where operators have them.

Automatic differentiation of a whole network takes longer than its arithmetic where samples are few and layers small.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph


def with_gradient(network: BoundGraph, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor | None]]:
    """The outputs at x (batch, *input_shape), and a function that makes the gradient of a . outputs in x, of the shape
    of x, of coefficients a of the outputs' shape; None where there is none. The function is to be called once."""
    values, pulls = {network.graph.input: x.detach()}, []
    with torch.no_grad():
        for node, p in network.walk():
            values[node.name], pull = node.op.with_gradient(p, *(values[name] for name in node.inputs))
            pulls.append((node, pull))

    @torch.no_grad()
    def pulled(a: Tensor) -> Tensor | None:
        rows = {network.graph.output: a}
        for node, pull in reversed(pulls):
            if (row := rows.pop(node.name, None)) is None:
                continue
            for name, part in zip(node.inputs, pull(row), strict=True):
                if part is not None:
                    rows[name] = rows[name] + part if name in rows else part
        return rows.get(network.graph.input)

    return values[network.graph.output], pulled
