"""The backward walk of domains: every row crosses nonlinear nodes with slopes, shares and multipliers of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from verify.ir.graph import Node
from verify.ops.affine import Affine
from verify.ops.base import Op, Parameters
from verify.upper.duals.activation import ActivationLayer
from verify.upper.duals.crossing import State
from verify.upper.duals.factors import Layer
from verify.upper.linear_bounds.rows import Dense
from verify.upper.linear_bounds.walk import Walk

if TYPE_CHECKING:
    from verify.upper.duals.dual import RelaxedDomains


class Substitution(Walk[Tensor]):
    """Rows (rows, *shape) of domains on their way to the input, each with its own slopes and multipliers."""

    def __init__(self, relaxed: RelaxedDomains, bound: Tensor, slope: Tensor, multiplier: Tensor | None):
        """bound (rows,): what is added to."""
        super().__init__(relaxed.dual.network)
        self.relaxed, self.bound, self.slope, self.multiplier = relaxed, bound, slope, multiplier
        self.gap = torch.addcmul(relaxed.base, slope, relaxed.breakpoint, value=-1)  # of the free lines
        # coefficients of f at the tracked entries, and their parts that meet free lines; zero where rows do not come
        self.a, self.free = torch.zeros_like(slope), torch.zeros_like(slope)
        self.mixing: dict[str, Tensor] = {}
        self.states: dict[str, State] = {}

    def affine(self, node: Node, op: Affine, p: Parameters, rows: Tensor) -> Iterable[tuple[str, Tensor]]:
        return [(s, op.adjoint(p, k, rows, self.network.graph.shape_of(s))) for k, s in enumerate(node.inputs)]

    def cross(self, node: Node, op: Op, p: Parameters, rows: Tensor) -> Iterable[tuple[str, Tensor]]:
        relaxed, dual = self.relaxed, self.relaxed.dual
        if dual.rounding is not None:
            self.bound = self.bound + relaxed.met(rows, dual.rounding.fields[node.name])
        if node.name not in dual.mixing:
            return [(node.inputs[0], self._at_layer(dual.layers[node.name], node.name, rows))]
        self.mixing[node.name] = rows
        pulled, more = Dense(rows, relaxed.owner).cross(dual.mixing[node.name])
        self.bound = self.bound + more
        return [(node.inputs[0], pulled.a)]

    def _at_layer(self, layer: Layer, name: str, rows: Tensor) -> Tensor:
        """The rows over the argument of a node with tracked entries."""
        span, shape = layer.span, self.network.graph.shape_of(layer.source)
        if name not in self.relaxed.crossings:
            assert isinstance(layer, ActivationLayer)
            return self._at_hinges(layer, rows).reshape(-1, *shape)
        found = self.relaxed.crossings[name].cross(rows, self.slope[:, span])
        self.a[:, span], self.states[name] = found.weight, found.state
        self.bound = self.bound + found.added
        new = found.rows
        if self.multiplier is not None:
            new = new.index_add(1, layer.tracked, self.multiplier[:, span])
        return new.reshape(-1, *shape)

    def _at_hinges(self, layer: ActivationLayer, rows: Tensor) -> Tensor:
        """The rows over the argument of hinges, flat."""
        relaxed, span, flat = self.relaxed, layer.span, rows.flatten(1)
        self.a[:, span] = here = layer.pick(flat)
        # clamps and products: selections by a condition are many times slower
        self.free[:, span] = bent = here.clamp(min=0) if layer.convex is False else here.clamp(max=0)
        straight = here - bent
        self.bound = self.bound + torch.linalg.vecdot(bent, self.gap[:, span])
        self.bound = self.bound + torch.linalg.vecdot(straight, relaxed.gap[:, span])
        new = (straight * relaxed.slope[:, span]).addcmul_(bent, self.slope[:, span])
        new = new if self.multiplier is None else new.add_(self.multiplier[:, span])
        return layer.spread(flat, new)
