"""Backward linear bounds: rows over a node are pulled back to the input through one line on each side of each neuron.

With lines lower <= f <= upper over the box, a coefficient a >= 0 takes the upper line and a < 0 the lower one, so the
row's value never shrinks on its way to the input, where the set's support function ends it
(Zhang et al. 2018, CROWN, theorem 3.2; Singh et al. 2019, DeepPoly; Xu et al. 2020, on general graphs).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph, Node
from verify.ops.affine import Affine
from verify.ops.base import Interval, Lines
from verify.ops.linear_ops import Conv, Linear
from verify.sets import InputSet
from verify.upper.rows import Dense, Rows, Window

CHUNK = 1 << 19  # floats of one layer's coefficients at a time: small enough to stay in cache, large enough for BLAS


@dataclass(frozen=True)
class Slopes:
    """Lines of an elementwise op in the form that rows multiply by: slopes middle +- spread, intercepts likewise.

    a * middle + |a| * spread is a * upper_slope for a >= 0 and a * lower_slope for a < 0.
    """

    lines: Lines

    @cached_property
    def middle(self) -> Tensor:
        return (self.lines.upper_slope + self.lines.lower_slope) / 2

    @cached_property
    def spread(self) -> Tensor:
        return (self.lines.upper_slope - self.lines.lower_slope) / 2

    @cached_property
    def offset(self) -> tuple[Tensor, Tensor]:
        upper, lower = self.lines.upper_intercept, self.lines.lower_intercept
        return (upper + lower) / 2, (upper - lower) / 2


class Backward:
    """Pulls rows back through a graph whose nonlinear nodes have lines; lines are added as layers become known."""

    def __init__(self, network: BoundGraph, inputs: InputSet):
        self.network = network
        self.inputs = inputs
        self.slopes: dict[str, Slopes] = {}
        self.center, self.radius = (inputs.low + inputs.high) / 2, (inputs.high - inputs.low) / 2

    def relax(self, name: str, lines: Lines) -> None:
        """Sets the lines of a nonlinear node."""
        self.slopes[name] = Slopes(lines)

    def extremes(self, name: str, owner: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """(low, high) of single entries of a value: owner (n,) and flat index (n,) long -> two tensors (n,)."""
        shape = self.network.graph.shape_of(name)
        size = max(1, max(self._sizes(name)))
        step = max(1, CHUNK // (2 * size))
        lows, highs = [], []
        for part in range(0, len(owner), step):
            span = slice(part, part + step)
            rows, added = self._units(name, owner[span], index[span], shape)
            both = self._pull(*rows, added)
            count = len(both) // 2
            highs.append(both[:count])
            lows.append(-both[count:])
        return torch.cat(lows), torch.cat(highs)

    def maximum(self, name: str, a: Tensor, owner: Tensor) -> Tensor:
        """Upper bounds of a . value for rows a (rows, *shape) with owner (rows,) long; (rows,).

        Sound because each line bounds its neuron over its box and the support function bounds the rest; trusts float
        rounding.
        """
        step = max(1, CHUNK // max(1, max(self._sizes(name))))
        parts = [self._pull(name, Dense(a[i : i + step], owner[i : i + step]), 0.0) for i in range(0, len(a), step)]
        return torch.cat(parts) if parts else a.new_zeros(0)

    def _sizes(self, name: str) -> list[int]:
        graph = self.network.graph
        return [int(torch.Size(graph.shape_of(node.name)).numel()) for node in graph.nodes] + [
            int(torch.Size(graph.input_shape).numel())
        ]

    def _units(self, name: str, owner: Tensor, index: Tensor, shape: tuple[int, ...]) -> tuple[tuple[str, Rows], Tensor | float]:
        """Rows e_i and -e_i (the second half) over a value, already pulled through it where that is a mere look-up."""
        owner = torch.cat([owner, owner])
        node = self.network.graph.by_name.get(name)
        kind = self.network.dtype
        if node is not None and isinstance(node.op, Linear) and len(shape) == 1:
            p = self.network.of(node)
            weights = p[0][index]
            added: Tensor | float = 0.0
            if len(p) > 1:
                added = torch.cat([p[1][index], -p[1][index]])
            return (node.inputs[0], Dense(torch.cat([weights, -weights]), owner)), added
        sign = torch.ones(len(owner), dtype=kind, device=owner.device)
        sign[len(index) :] = -1
        index = torch.cat([index, index])
        if node is not None and isinstance(node.op, Conv) and len(shape) == 3:
            area = shape[1] * shape[2]
            a = torch.zeros((len(owner), shape[0], 1, 1), dtype=kind, device=owner.device)
            a[torch.arange(len(owner)), index // area, 0, 0] = sign
            place = torch.stack([index % area // shape[2], index % shape[2]], 1)
            return (name, Window(a, owner, place, (1, 1), (0, 0), shape[1:])), 0.0
        a = torch.zeros((len(owner), int(torch.Size(shape).numel())), dtype=kind, device=owner.device)
        a[torch.arange(len(owner)), index] = sign
        return (name, Dense(a.reshape(-1, *shape), owner)), 0.0

    def _pull(self, name: str, rows: Rows, added: Tensor | float) -> Tensor:
        """Upper bounds of rows over the value `name`, plus `added`; (rows,)."""
        pending: dict[str, Rows] = {name: rows}
        graph = self.network.graph
        for node in self._upstream(name):
            here = pending.pop(node.name, None)
            if here is None:
                continue
            for source, pulled, more in self._step(node, here):
                added = added + more
                pending[source] = pending[source].plus(pulled) if source in pending else pulled
        last = pending.get(graph.input)
        if last is None:  # the value does not depend on the input
            return torch.zeros(len(rows.owner), dtype=rows.a.dtype, device=rows.a.device) + added
        if self.inputs.is_box:
            return last.support(self.center, self.radius) + added
        a = last.dense().a
        return _owned_support(self.inputs, a, last.owner) + added

    def _step(self, node: Node, rows: Rows) -> list[tuple[str, Rows, Tensor | float]]:
        """(argument, rows over it, what the node adds to the bound) for each argument of a node."""
        graph, p = self.network.graph, self.network.of(node)
        if isinstance(node.op, Affine):
            out: list[tuple[str, Rows, Tensor | float]] = []
            more = rows.bias(node.op, p)
            for k, source in enumerate(node.inputs):
                out.append((source, rows.adjoint(node.op, p, k, graph.shape_of(source)), more))
                more = 0.0
            return out
        slopes, source = self.slopes[node.name], node.inputs[0]
        if slopes.lines.lower_index is not None:
            pulled, more = rows.scatter(slopes.lines, graph.shape_of(source))
        else:
            pulled, more = rows.through(slopes.middle, slopes.spread, slopes.offset)
        return [(source, pulled, more)]

    def _upstream(self, name: str) -> list[Node]:
        """The nodes from `name` back to the input, in reverse topological order."""
        nodes = self.network.graph.nodes
        at = next((i for i, node in enumerate(nodes) if node.name == name), -1)
        return list(reversed(nodes[: at + 1]))


def _owned_support(inputs: InputSet, a: Tensor, owner: Tensor) -> Tensor:
    """Support function of each row's own set; a (rows, *shape), owner (rows,) -> (rows,)."""
    return inputs.select(owner).support(a.unsqueeze(1)).squeeze(1)

