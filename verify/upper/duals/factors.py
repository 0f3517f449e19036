"""Products in domains: ranges of the factors, and a share of each left factor between the planes of McCormick.

With centers c, e and radii r, s of a row's ranges of x and y, and a share t in [-1, 1] of each entry of x, the planes
of `verify.ops.product` are, on both sides at once,

    a . (x * y)  <=  a . (c * y + (e x - t s x)) + |a| . (t r * y) + what is constant in x and y,

so that a row crosses them by three products with matrices, and its derivative by the shares takes two more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.ops.base import IntervalBounds, Parameters, picked
from verify.ops.product import Halves, Product
from verify.upper.duals.activation import ActivationLayer
from verify.upper.duals.crossing import Crossed, Crossing, State, at_rows


@dataclass(frozen=True)
class FactorLayer:
    """A product: the flat entries of its factors that are tracked, since they vary and meet one that does.

    `box` and `at` are the ranges and the reference values (batch, entries) of all entries.
    """

    op: Product
    source: str
    tracked: Tensor
    span: slice
    box: IntervalBounds
    at: Tensor
    breakpoint: None = None
    free: tuple[float, float] = (0.0, 1.0)

    @property
    def convex(self) -> None:
        """A product has no free side."""

    def pick(self, flat: Tensor) -> Tensor:
        """The tracked entries of values (rows, entries); (rows, n)."""
        return flat.index_select(1, self.tracked)

    def usual_slope(self, box: IntervalBounds) -> Tensor:
        """The middle between the planes."""
        return torch.full_like(box.low, 0.5)

    def unstable(self, box: IntervalBounds) -> Tensor:
        """Which tracked entries vary; bool (rows, n)."""
        return box.is_wide

    def costs(self, box: IntervalBounds, weight: Tensor, z: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """What halving the range of each tracked entry may take off the rows' bounds, twice; (rows, n)."""
        cost = weight * (box.high - box.low) / 2
        return cost, cost

    def crossing(self, box: IntervalBounds, owner: Tensor) -> Factors:
        """The node over ranges (rows, n) of its tracked entries."""
        low, high, here = (picked(part, owner).expand(len(owner), -1) for part in (*self.box, self.at))
        low, high = (full.index_copy(1, self.tracked, end) for full, end in zip((low, high), box, strict=True))
        halves = Halves.of(self.op, IntervalBounds(low, high))
        x, y = self.op.split(here)
        return Factors(self, halves, x - halves.c, y - halves.e)


@dataclass(frozen=True)
class Factors(Crossing):
    """A product over ranges of its factors; dx and dy are the reference less the centers, (rows, *factor shape)."""

    layer: FactorLayer
    halves: Halves
    dx: Tensor
    dy: Tensor

    def take(self, index: Tensor) -> Factors:
        halves = Halves(*(at_rows(part, index) for part in self.halves.parts))
        return Factors(self.layer, halves, at_rows(self.dx, index), at_rows(self.dy, index))

    def cross(self, a: Tensor, share: Tensor) -> Crossed:
        """Sound because planes of any share are (see `verify.ops.product`); trusts float rounding."""
        op, (c, e, r, s), dx, dy = self.layer.op, self.halves.parts, self.dx, self.dy
        t, size = self._left(2 * share - 1, r), a.abs()
        met, over = op.times_left(a, s), op.times_left(size, s)
        x = op.times_left(a, e) - t * met
        y = op.times_right(a, c) + op.times_right(size, t * r)
        spread = op.times(r, s) + op.times(t * r, dy)
        added = (size * spread - a * op.times(dx, dy)).flatten(1).sum(1) - (t * dx * met).flatten(1).sum(1)
        weight = op.join(over, op.times_right(size, r))
        return Crossed(op.join(x, y), added, self.layer.pick(weight), (a, t))

    def value(self, state: State, x: Tensor) -> Tensor:
        op, (c, e, r, s), (a, t) = self.layer.op, self.halves.parts, state
        x, y = op.split(x.flatten(1))
        middle = op.times(c, y) + op.times(x, e) - op.times(t * (x + self.dx), s) - op.times(self.dx, self.dy)
        return middle + a.sign() * (op.times(r, s) + op.times(t * r, y + self.dy))

    def gradient(self, state: State, z: Tensor) -> Tensor:
        op, (_, _, r, s), (a, _) = self.layer.op, self.halves.parts, state
        moved = torch.zeros((len(z), *self.layer.at.shape[1:]), dtype=z.dtype, device=z.device)
        x, y = op.split(moved.index_copy_(1, self.layer.tracked, z))
        x, y = x + self.dx, y + self.dy
        left = 2 * (r * op.times_left(a.abs(), y) - x * op.times_left(a, s))
        return self.layer.pick(op.join(left, torch.zeros_like(y)))

    def _left(self, tracked: Tensor, like: Tensor) -> Tensor:
        """Numbers of the tracked entries of x at the entries of x, 0 at others; those of y are left out."""
        full = torch.zeros((len(tracked), *self.layer.at.shape[1:]), dtype=tracked.dtype, device=tracked.device)
        return self.layer.op.split(full.index_copy_(1, self.layer.tracked, tracked))[0].reshape(like.shape)


Layer = ActivationLayer | FactorLayer  # a nonlinear node with tracked entries


def factor_layer(
    op: Product, p: Parameters, source: str, box: IntervalBounds, at: Tensor, start: int, tracked: Tensor | None = None
) -> FactorLayer:
    """A product with its tracked entries: those that are unstable on some sample's box (batch, entries), or the
    given."""
    if tracked is None:
        tracked = op.unstable(p, box).any(0).nonzero().flatten()
    return FactorLayer(op, source, tracked, slice(start, start + len(tracked)), box, at)
