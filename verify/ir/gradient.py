"""The gradient of a network in its input, node by node, by closed forms where operators have them.

Automatic differentiation of a whole network takes longer than its arithmetic where samples are few and layers small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph, Node


class Trace(NamedTuple):
    """What a node was given and what it made; both detached of all others, and `made` differentiable in `given` where
    the node's gradient has no closed form."""

    node: Node
    given: tuple[Tensor, ...]
    made: Tensor


def with_gradient(network: BoundGraph, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor | None]]:
    """The outputs at x (batch, *input_shape), and a function that makes the gradient of a . outputs in x, of the shape
    of x, of coefficients a of the outputs' shape; None where there is none. The function is to be called once."""
    values, traces = {network.graph.input: x.detach()}, list[Trace]()
    with torch.no_grad():
        for node, p in network.walk():
            given = tuple(values[name] for name in node.inputs)
            if node.op.has_gradient:
                made = node.op.forward(p, *given)
            else:
                with torch.enable_grad():
                    given = tuple(value.detach().requires_grad_(value.is_floating_point()) for value in given)
                    made = node.op.forward(p, *given)
            values[node.name] = made.detach()
            traces.append(Trace(node, given, made))

    def pulled(a: Tensor) -> Tensor | None:
        rows = {network.graph.output: a}
        for trace in reversed(traces):
            row = rows.pop(trace.node.name, None)
            if row is None:
                continue
            for name, part in zip(trace.node.inputs, _pulled(network, trace, row), strict=True):
                if part is not None:
                    rows[name] = rows[name] + part if name in rows else part
        return rows.get(network.graph.input)

    return values[network.graph.output], pulled


@torch.no_grad()
def _pulled(network: BoundGraph, trace: Trace, row: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients of row . made in what the node was given."""
    op = trace.node.op
    if op.has_gradient:
        return op.gradient(network.of(trace.node), trace.given, trace.made, row)
    if not trace.made.requires_grad:
        return (None,) * len(trace.given)
    with torch.enable_grad():
        along = (trace.made * row).sum()  # of a scalar: with grad_outputs, autograd spends 0.4 s on importing sympy
    return torch.autograd.grad(along, trace.given, allow_unused=True)
