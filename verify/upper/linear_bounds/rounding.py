"""What rounding may take from a bound in float64, so that a bound that is returned holds in real arithmetic.

Backward bounds carry rows a over differences z - r of a value, z that of the network as it was read at a point of the
set and r a float reference. With sizes M >= |z|, |r| and steepness s of a nonlinear op, one step with a row costs at
most

    |a| . (3 gamma_n (|A| M + |b|))        at y = A x + b, |b| before anything in it cancels,
    |a| . (3 gamma_1 (s M + |f|))          at y = f(x), and the rounding of f,
    |a| . (gamma_n M)                      for a sum of n products of the row with numbers of the value's size,

gamma_n = n u / (1 - n u) for sums of n terms in any order (Higham 2002, eq. 3.1 and 3.5): in the row, of which the
error meets |z - r| <= 2 M, and in the reference. Since a row over x is at most |A|' |a|, what affine nodes cost may be
charged to the rows over what is made of them, and from there to those over the next nonlinear value. So two numbers an
entry say it all, whatever the row, its lines and its multipliers: the `start` of a value where rows may begin, and the
`field` of a nonlinear node, both multiplied by the size of the rows that are met there. No product of norms of many
layers is formed, since the rows are those that there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor

from verify.ir.evaluate import CONSTANTS, UNIT
from verify.ir.graph import BoundGraph, Network, Node
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds, Nonlinear, Parameters, Relaxation

COVER = 4.0  # the 3 above, and the rounding of these numbers themselves
TINY = 2.0**-900  # more than what underflows of an entry add up to where no size is beyond 2^512; there the terms are
FLOOR = 2.0**-500  # infinite, and the same of a row
SUPPORT = 4.0  # times a slack is what the support function of a set that is no box costs


def gamma(terms: int) -> float:
    """COVER times the relative error of a sum of so many products, and of what its numbers are made of."""
    n = (terms + CONSTANTS) * UNIT
    return COVER * n / (1 - n)


@dataclass(frozen=True)
class Rounding:
    """The terms of a network over a batch of sets, filled along the graph; all (batch, *shape) float64.

    Args:
        network: merged or as it was read, in float64.
        sizes: of every value seen so far, at least |z| over the set and |r|.
        errors: what affine nodes cost since the last nonlinear ones; no entry for zero.
        fields: of every nonlinear node.
    """

    network: Network
    sizes: dict[str, Tensor] = field(default_factory=dict)
    errors: dict[str, Tensor] = field(default_factory=dict)
    fields: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, network: BoundGraph, inputs: IntervalBounds) -> Rounding | None:
        """The terms over these boxes of inputs, with the input seen; None for what is not a network in float64: of its
        bounds nothing is claimed."""
        if not isinstance(network, Network) or network.dtype != torch.float64:
            return None
        rounding = cls(network)
        rounding.sizes[network.graph.input] = _size(inputs)
        return rounding

    def see(self, node: Node, boxes: dict[str, IntervalBounds], reference: Tensor | None = None) -> IntervalBounds:
        """The box of a node's value from those of its arguments by interval arithmetic, rounded outward.

        reference: (batch, *shape) what rows over the value are relative to, if it need not lie in the box.
        Sound because an interval is a few sums of numbers of the sizes above, and where no coefficient is negative each
        end is a sum of the arguments' ends; trusts the library as `bounded_value` does.
        """
        op, p, name = node.op, self.network.of(node), node.name
        low, high = op.interval(p, *(boxes[source] for source in node.inputs))
        if isinstance(op, Affine) and op.is_move:
            own = 0.0
            if any(source in self.errors for source in node.inputs):
                past = (self.errors.get(source, torch.zeros_like(self.sizes[source])) for source in node.inputs)
                self.errors[name] = op.forward(p, *past)
        elif isinstance(op, Affine):
            sizes = [self.sizes[source] for source in node.inputs]
            own = self.errors[name] = self.affine(node, sizes, [self.errors.get(source) for source in node.inputs])
        else:
            assert isinstance(op, Nonlinear)
            own = op.rounding(p, boxes[node.inputs[0]], UNIT)
        if isinstance(op, Nonlinear) and op.encloses:
            box = IntervalBounds(low, high)
        elif isinstance(op, Affine) and op.is_monotone and not op.is_move:
            box = self._by_ends(node, op, p, [boxes[source] for source in node.inputs], (low, high))
        else:
            box = IntervalBounds(low - own, high + own)
        self.sizes[name] = _size(box, reference)
        if isinstance(op, Nonlinear):
            self.fields[name] = self._nonlinear(node, op, p, boxes[node.inputs[0]], own)
        return box

    def affine(self, node: Node, sizes: Sequence[Tensor], errors: Sequence[Tensor | None], terms: int = 0) -> Tensor:
        """What an affine node of arguments of these sizes costs, and what it makes of what they have cost; for sums of
        so many terms, at least."""
        op, p = node.op, self.network.of(node)
        assert isinstance(op, Affine)
        own = op.terms(p, [prod(size.shape[1:]) for size in sizes], prod(node.shape))
        share = gamma(max(terms, own) + len(self.nodes))
        total = torch.full((1,) * (1 + len(node.shape)), TINY, dtype=sizes[0].dtype, device=sizes[0].device)
        constant = self.network.constants.get(node.name)
        total = total if constant is None else torch.add(total, constant, alpha=share)
        for k, (size, error) in enumerate(zip(sizes, errors, strict=True)):
            total = total + op.absolute(p, k, size * share if error is None else torch.add(error, size, alpha=share))
        return total

    def start(self, name: str) -> Tensor:
        """What a row that begins, or ends, at this value costs there."""
        ends = self.slack(name)
        return ends + self.errors[name] if name in self.errors else ends

    def slack(self, name: str) -> Tensor:
        """The cost of sums over the entries of a value."""
        return self.sizes[name] * gamma(self.sizes[name][0].numel() + len(self.nodes))

    def end(self) -> Tensor:
        """What rows over the output cost that are merged with the affine nodes at the end."""
        ends, found = {self.network.graph.output}, dict[str, Tensor]()
        for node in reversed(self.nodes):
            if node.name in ends and isinstance(node.op, Affine):
                ends.update(node.inputs)
        terms = max(self.sizes[name][0].numel() for name in ends)
        for node in self.nodes:
            if node.name in ends and isinstance(node.op, Affine):
                sizes = [self.sizes[source] for source in node.inputs]
                found[node.name] = self.affine(node, sizes, [found.get(source) for source in node.inputs], terms)
        output = self.slack(self.network.graph.output)
        return output + found[self.network.graph.output] if found else output

    def select(self, index: Tensor) -> Rounding:
        """The terms of the samples at these positions."""
        def picked(part: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: t[index] for name, t in part.items()}

        return Rounding(self.network, picked(self.sizes), picked(self.errors), picked(self.fields))

    @property
    def ends(self) -> Rounding:
        """The terms that rows from the output to the input meet."""
        names = {self.network.graph.input, self.network.graph.output}
        sizes, errors = ({k: t for k, t in part.items() if k in names} for part in (self.sizes, self.errors))
        return Rounding(self.network, sizes, errors, self.fields)

    def kept(self, entries: dict[str, Tensor]) -> Rounding:
        """The terms of these entries (n,) long of some vectors, and of all other values."""
        def cut(part: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: t[:, entries[name]] if name in entries else t for name, t in part.items()}

        return Rounding(self.network, cut(self.sizes), cut(self.errors), cut(self.fields))

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.network.graph.nodes

    def _by_ends(
        self, node: Node, op: Affine, p: Parameters, boxes: Sequence[IntervalBounds], ends: tuple[Tensor, Tensor]
    ) -> IntervalBounds:
        """The box of a node without negative coefficients whose ends are computed as these. An end errs by a share of
        its own terms, however large the other end is, and no sum of terms that are not negative is: so a sum of
        exponentials keeps its sign, and 1 more than it has a reciprocal."""
        low, high = ends
        low = low - self.affine(node, [box.low.abs() for box in boxes], [None] * len(boxes))
        high = high + self.affine(node, [box.high.abs() for box in boxes], [None] * len(boxes))
        offset = op.bias(p)
        falls = torch.zeros_like(low, dtype=torch.bool) if offset is None else (offset < 0).expand_as(low)
        for k, box in enumerate(boxes):
            falls = falls | (op.linear(p, k, (box.low < 0).to(box.low)) > 0)
        return IntervalBounds(low.where(falls, low.clamp(min=0.0)), high)

    def _nonlinear(self, node: Node, op: Nonlinear, p: Parameters, box: IntervalBounds, own: Tensor | float) -> Tensor:
        source = node.inputs[0]
        size, error = self.sizes[source], self.errors.get(source)
        sums = gamma(prod(node.shape) + len(self.nodes))
        before = size * sums + TINY if error is None else torch.add(error, size, alpha=sums)
        return op.amplified(p, box, before).add_(self.sizes[node.name], alpha=sums).add_(own)


def cost_of(relaxation: Relaxation, size: Tensor) -> Tensor:
    """What forming a few sums of a relaxation at numbers of this size costs, (batch, *output shape)."""
    slopes = relaxation.absolute(size, False) + relaxation.absolute(size, True)
    return (slopes + relaxation.lower_intercept.abs() + relaxation.upper_intercept.abs()) * gamma(relaxation.terms - 1)


def _size(box: IntervalBounds, reference: Tensor | None = None) -> Tensor:
    size = box.low.abs().maximum(box.high.abs())
    size = size if reference is None else size.maximum(reference.abs())
    return torch.addcmul(size, size, size, value=TINY)  # infinite beyond 2^512
