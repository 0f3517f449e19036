"""Entries whose box no row could make smaller, so that rows are spent on the others only.

A row over f(z), f a curve of one entry z, reaches the input as a multiple of the row over z that bounded z, through a
line that lies beyond f. So once the box [l, u] of z comes from rows, no row over f(z) gives less than the interval of f
over [l, u]; nor does one over what merely moves, rescales or shifts z. And a row over x - y bounds y - x as well.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph, Node
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds


class Settled:
    """The settled entries of every value of a graph so far, by name; bool (batch, *shape)."""

    def __init__(self, network: BoundGraph, exact: set[str], batch: int):
        """exact: values whose intervals are attained."""
        self.network, self.exact, self.batch = network, exact, batch
        self.entries: dict[str, Tensor] = {}
        self._all(network.graph.input, network.graph.input_shape, network.graph.input in exact)

    def _all(self, name: str, shape: tuple[int, ...], is_settled: bool) -> None:
        device = next((p.device for p in self.network.parameters.values()), None)
        self.entries[name] = torch.full((self.batch, *shape), is_settled, device=device)

    def visit(self, node: Node) -> None:
        """A node whose arguments have been visited; those that rows bound have been added."""
        op, given = node.op, [self.entries[name] for name in node.inputs]
        if node.name in self.exact:
            self._all(node.name, node.shape, True)
        elif isinstance(op, Affine) and op.picks:
            self.entries[node.name] = op.forward(self.network.of(node), *(part.float() for part in given)) > 0
        elif not op.mixes:
            self.entries[node.name] = given[0].reshape(-1, *node.shape)
        else:
            self._all(node.name, node.shape, False)

    def add(self, name: str, bounded: Tensor) -> None:
        """Entries of a value that rows have bounded."""
        self.entries[name] = self.entries[name] | bounded

    def mirrors(self, name: str) -> Tensor | None:
        """Of each flat entry of a value the one that is its negative, or itself where none is known; long. None where
        the value is no difference of two picks of another."""
        node = self.network.graph.by_name.get(name)
        if node is None or not isinstance(node.op, Affine) or node.op.summed != (1, -1):
            return None
        picked = [self._picked(source) for source in node.inputs]
        if picked[0] is None or picked[1] is None or picked[0][0] != picked[1][0]:
            return None
        first, second = picked[0][1], picked[1][1]
        size = int(torch.stack([first, second]).max()) + 1
        key, back = first * size + second, second * size + first
        order = key.argsort()
        other = order[torch.searchsorted(key[order], back).clamp(max=len(key) - 1)]
        return other.where(key[other] == back, torch.arange(len(key), device=key.device))

    def _picked(self, name: str) -> tuple[str, Tensor] | None:
        """The value whose entries this one holds, and their flat places there, counted from 1, with 0 for zeros; long.
        None where it does not hold those of one value."""
        graph = self.network.graph
        node = graph.by_name.get(name)
        if node is None or not isinstance(node.op, Affine) or not node.op.picks or len(node.inputs) != 1:
            return None
        shape = graph.shape_of(node.inputs[0])
        numbers = torch.arange(1, prod(shape) + 1, dtype=torch.float64, device=self.entries[node.inputs[0]].device)
        return node.inputs[0], node.op.forward(self.network.of(node), numbers.reshape(1, *shape)).flatten().long()


def once(wanted: Tensor, mirrors: Tensor | None) -> Tensor:
    """The wanted entries (batch, *shape) bool without those whose mirror is wanted as well and comes before them."""
    if mirrors is None:
        return wanted
    flat = wanted.flatten(1)
    is_later = mirrors < torch.arange(len(mirrors), device=mirrors.device)
    return (flat & ~(is_later & flat[:, mirrors])).reshape(wanted.shape)


def reflected(box: IntervalBounds, mirrors: Tensor | None) -> IntervalBounds:
    """A box (batch, *shape) met with what the mirrors of its entries say.

    Sound because a mirror is the negative of its entry, rounding included.
    """
    if mirrors is None:
        return box
    low, high = box.low.flatten(1), box.high.flatten(1)
    is_alone = mirrors == torch.arange(len(mirrors), device=mirrors.device)
    ends = low.where(is_alone, -high[:, mirrors]), high.where(is_alone, -low[:, mirrors])
    return box.meet(IntervalBounds(*(end.reshape(box.low.shape) for end in ends)))
