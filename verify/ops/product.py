"""The product family: bilinear functions of two varying values, which are read side by side as one.

An op states how entries pair up: the bilinear map x * y and its two adjoints. Everything else follows. Over a box,
x = c + dx with |dx| <= r and y = e + dy with |dy| <= s, each product of two entries lies between McCormick's planes
(1976), two on each side. In the middle between the two of a side they are

    c * y + e * x - c * e  -  r * s    <=    x * y    <=    c * y + e * x - c * e  +  r * s,

since x * y - (c * y + e * x - c * e) = dx * dy. A share t in [-1, 1] of an output's products leads from there to the
planes themselves, t = 1 and t = -1:

    above   (c + t r) * y + (e - t s) * x - c * e + r * s - t (r * e - c * s)
    below   (c - t r) * y + (e - t s) * x - c * e - r * s + t (r * e + c * s)

Each is a convex combination of two planes that hold, so any share is sound; at (c, e) all are equally tight. A row of
coefficients over a matrix product crosses these by matrix products with c, e, r and s: no tensor of all products of two
entries is formed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.ops.base import (
    Encoder,
    IntervalBounds,
    Nonlinear,
    Parameters,
    Reach,
    Relaxation,
    picked,
)

Shape = tuple[int, ...]
COVER = 4  # times gamma: products of rounded numbers, of two sizes each, and their sums


class Product(Nonlinear):
    """x * y, bilinear, of values of the shapes `left` and `right`, flattened and side by side in one vector."""

    mixes = True
    is_exact = False

    @property
    @abstractmethod
    def left(self) -> Shape:
        """The shape of x."""

    @property
    @abstractmethod
    def right(self) -> Shape:
        """The shape of y."""

    @property
    @abstractmethod
    def terms(self) -> int:
        """At least the number of products in each entry of x * y and of both adjoints."""

    @abstractmethod
    def times(self, x: Any, y: Any) -> Any:
        """x * y of tensors or object arrays (..., *left) and (..., *right) -> (..., *shape)."""

    @abstractmethod
    def times_left(self, a: Tensor, y: Tensor) -> Tensor:
        """The x-coefficients of rows a (..., *shape) of x * y, for y (..., *right); (..., *left)."""

    @abstractmethod
    def times_right(self, a: Tensor, x: Tensor) -> Tensor:
        """The y-coefficients of rows a (..., *shape) of x * y, for x (..., *left); (..., *right)."""

    @abstractmethod
    def pairs(self) -> np.ndarray:
        """(products, 3) long: flat entries of x * y, of x and of y that it is the sum of products of."""

    def fits(self, given: Sequence[Shape], shape: Shape) -> bool:
        return list(given) == [(prod(self.left) + prod(self.right),)]

    def reach(self, p: Parameters) -> Reach | None:
        return None

    def split(self, v: Any) -> tuple[Any, Any]:
        """x and y of their joined vector (..., entries)."""
        n, lead = prod(self.left), v.shape[:-1]
        return v[..., :n].reshape(*lead, *self.left), v[..., n:].reshape(*lead, *self.right)

    def join(self, x: Tensor, y: Tensor) -> Tensor:
        """The joined vector of x and y, `split` undone."""
        return torch.cat([x.flatten(-len(self.left)), y.flatten(-len(self.right))], -1)

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return self.times(*self.split(xs[0]))

    @abstractmethod
    def corners(self, low: tuple[Tensor, Tensor], high: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The least and the largest value of x * y over boxes, ends (x, y) low and high; (batch, *shape) each."""

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Infinite where products of 0 and infinity are no numbers.

        Sound because each product of two entries is extreme at a corner; trusts float rounding.
        """
        low, high = self.corners(*map(self.split, boxes[0]))
        return IntervalBounds(low.nan_to_num(-torch.inf, torch.inf, -torch.inf),
                              high.nan_to_num(torch.inf, torch.inf, -torch.inf))

    def relax(self, p: Parameters, box: IntervalBounds) -> ProductPlanes:
        """The planes in the middle. Sound because |dx * dy| <= r * s; trusts float rounding."""
        return ProductPlanes.between(self, Halves.of(self, box))

    def nearer(
        self, p: Parameters, box: IntervalBounds, relaxation: Relaxation, at: Tensor, step: float
    ) -> ProductPlanes:
        """Shares that far from those given to those of the plane that is tighter at a point. Sound because all are."""
        assert isinstance(relaxation, ProductPlanes)
        halves = relaxation.halves
        dx, dy = (part - center for part, center in zip(self.split(at), (halves.c, halves.e), strict=True))
        first, second = self.times(halves.r, dy), self.times(dx, halves.s)
        below, above = torch.sign(-first - second), torch.sign(second - first)
        return ProductPlanes.between(self, halves, *(end * step if old is None else old.lerp(end, step) for old, end in
                                              zip(relaxation.shares, (below, above), strict=True)))

    def unstable(self, p: Parameters, box: IntervalBounds) -> Tensor:
        """Entries that vary and meet one that varies."""
        x, y = (part.to(box.low) for part in self.split(box.is_wide))
        one = torch.ones_like(self.times(x, y))
        return self.join(x * self.times_left(one, y), y * self.times_right(one, x)) > 0

    def reached(self, p: Parameters, marked: Tensor) -> Tensor:
        x, y = (part.to(torch.float32) for part in self.split(marked))
        return self.times(x, torch.ones_like(y)) + self.times(torch.ones_like(x), y) > 0

    def amplified(self, p: Parameters, box: IntervalBounds, error: Tensor) -> Tensor:
        """|(x + dx) * (y + dy) - x * y| <= |x| * |dy| + |dx| * |y| + |dx| * |dy|; slopes of planes lie in the box."""
        (x, y), (dx, dy) = self.split(box.low.abs().maximum(box.high.abs())), self.split(error)
        return self.times(x + dx, dy) + self.times(dx, y)

    def rounding(self, p: Parameters, box: IntervalBounds, unit: float) -> Tensor | float:
        """Of sums of products, and of forming planes and rows that meet them: all are sums of so many numbers, of the
        size of products of the largest |x| and |y|."""
        x, y = self.split(box.low.abs().maximum(box.high.abs()))
        return self.times(x, y) * self._share(unit)

    def perturbed(self, p: Parameters, x: Tensor, error: Tensor, unit: float) -> tuple[Tensor, Tensor]:
        left, right = self.split(x.abs())
        own = self.times(left, right) * self._share(unit)
        return self.forward(p, x), self.amplified(p, IntervalBounds(x, x), error) * (1 + self._share(unit)) + own

    def _share(self, unit: float) -> float:
        n = COVER * (self.terms + 8) * unit
        return n / (1 - n)

    def encode(
        self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[IntervalBounds]
    ) -> np.ndarray:
        """A column for each product of two entries with McCormick's four planes, and sums of these; a MILP refuses this
        op by `is_exact`."""
        import scipy.sparse as sp

        box = IntervalBounds(*(v.detach().double().cpu() for v in boxes[0]))
        out = self.interval(p, box)
        z = model.add_columns(out.low[0].numpy(), out.high[0].numpy())
        where, left, right = self.pairs().T
        n = prod(self.left)
        x, y = columns[0].ravel()[left], columns[0].ravel()[n + right]
        (low, high), one = (v[0].numpy() for v in box), np.ones(len(where))
        (a, b), (c, d) = (low[left], high[left]), (low[n + right], high[n + right])
        corners = np.stack([a * c, a * d, b * c, b * d])
        w = model.add_columns(corners.min(0), corners.max(0))
        for s, t, is_upper in ((a, c, False), (b, d, False), (b, c, True), (a, d, True)):
            limits = (-np.inf * one, -s * t) if is_upper else (-s * t, np.inf * one)
            model.add_rows([(one, w), (-s, y), (-t, x)], *limits)
        total = sp.csr_matrix((one, (where, np.arange(len(where)))), shape=(z.size, len(where)))
        model.add_rows([(np.ones(z.size), z.ravel()), (-total, w)], np.zeros(z.size), np.zeros(z.size))
        return z

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exact = self.times(*self.split(xs[0]))
        return exact, exact


@dataclass(frozen=True)
class Halves:
    """Centers c, e and radii r, s of a box of x and y; (batch, *left) and (batch, *right)."""

    c: Tensor
    e: Tensor
    r: Tensor
    s: Tensor

    @classmethod
    def of(cls, op: Product, box: IntervalBounds) -> Halves:
        """Those of a box of the joined vector, (batch, entries)."""
        return cls(*op.split((box.low + box.high) / 2), *op.split((box.high - box.low) / 2))

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(c, e, r, s)."""
        return self.c, self.e, self.r, self.s

    def select(self, index: Tensor) -> Halves:
        """Those of the samples at these positions."""
        return Halves(self.c[index], self.e[index], self.r[index], self.s[index])


@dataclass(frozen=True)
class ProductPlanes(Relaxation):
    """The relaxation of a product: the planes at a share of the way between McCormick's, on each side; None for the
    middle. Shares and intercepts (batch, *output shape)."""

    op: Product
    halves: Halves
    lower_intercept: Tensor
    upper_intercept: Tensor
    shares: tuple[Tensor | None, Tensor | None] = (None, None)  # below, above

    @classmethod
    def between(
        cls, op: Product, halves: Halves, below: Tensor | None = None, above: Tensor | None = None
    ) -> ProductPlanes:
        """The planes of these shares."""
        c, e, r, s = halves.c, halves.e, halves.r, halves.s
        middle, spread = op.times(c, e), op.times(r, s)
        lower, upper = -middle - spread, spread - middle
        if below is not None and above is not None:
            first, second = op.times(r, e), op.times(c, s)
            lower, upper = lower + below * (first + second), upper - above * (first - second)
        return cls(op, halves, lower, upper, (below, above))

    @property
    def terms(self) -> int:
        return 4 * self.op.terms

    def select(self, index: Tensor) -> ProductPlanes:
        shares = tuple(None if share is None else share[index] for share in self.shares)
        intercepts = self.lower_intercept[index], self.upper_intercept[index]
        return replace(self, halves=self.halves.select(index), lower_intercept=intercepts[0],
                       upper_intercept=intercepts[1], shares=shares)

    def linear(self, x: Tensor, is_upper: bool) -> Tensor:
        op, halves, (x, y) = self.op, self.halves, self.op.split(x)
        total, share = op.times(halves.c, y) + op.times(x, halves.e), self.shares[is_upper]
        if share is None:
            return total
        first, second = op.times(halves.r, y), op.times(x, halves.s)
        return total + share * (first - second if is_upper else -first - second)

    def absolute(self, x: Tensor, is_upper: bool) -> Tensor:
        op, halves, (x, y) = self.op, self.halves, self.op.split(x)
        return op.times(halves.c.abs() + halves.r, y) + op.times(x, halves.e.abs() + halves.s)

    def pull(self, a: Tensor, owner: Tensor) -> Tensor:
        op, halves = self.op, self.halves
        left = op.times_left(a, picked(halves.e, owner))
        right = op.times_right(a, picked(halves.c, owner))
        below, above = self.shares
        if below is not None and above is not None:
            up = a.clamp(min=0)
            up, down = up * picked(above, owner), (a - up) * picked(below, owner)
            left = left - op.times_left(up + down, picked(halves.s, owner))
            right = right + op.times_right(up - down, picked(halves.r, owner))
        return op.join(left, right)
