"""Curves in domains: lines that touch f at a point of a row's own choice, on whichever side the row meets.

A curve bends, so where a line of the relaxation touches it is free: a tangent of a convex piece bounds f from below,
one of a concave piece from above, wherever it touches (see `verify.ops.curve`). A row meets each neuron on one side
only, and one number says where: t = low + share (high - low), moved to where a tangent clears f at both ends of the
range. If no tangent does, or f has no such piece or several, that side keeps its usual line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from verify.ops.base import IntervalBounds, Lines
from verify.ops.curve import Curve
from verify.ops.tangents import Curvature, Tangent, Vertices, intercepts, size_of


class Met(NamedTuple):
    """The lines that rows meet, relative to the reference, all (rows, n): slopes, heights above f at the reference, the
    points where they touch f, and 1 where these are free, else 0."""

    slope: Tensor
    gap: Tensor
    touch: Tensor
    is_free: Tensor


@dataclass(frozen=True)
class TouchRange:
    """Where the tangents of one piece touch that clear f over a range, and where there are any (bool); (rows, n)."""

    piece: int
    part: IntervalBounds
    least: Tensor
    most: Tensor
    exists: Tensor

    def take(self, index: Tensor) -> TouchRange:
        """The rows at these positions."""
        part = IntervalBounds(self.part.low[index], self.part.high[index])
        return TouchRange(self.piece, part, self.least[index], self.most[index], self.exists[index])


@dataclass(frozen=True)
class Touching:
    """A curve over ranges (rows, n) of its columns: its usual lines, and where tangents may touch, below and above.

    `at` and `value` are reference values of columns and of f there.
    """

    op: Curve
    box: IntervalBounds
    at: Tensor
    value: Tensor
    lines: Lines
    vertices: Vertices
    sides: tuple[TouchRange | None, TouchRange | None]

    @classmethod
    def of(cls, op: Curve, box: IntervalBounds, at: Tensor, value: Tensor) -> Touching:
        """The curve over these ranges."""
        lines, inside = op.relax((), box), op.domain.part(box)
        vertices = op.vertices(inside)
        bends = Curvature.CONVEX, Curvature.CONCAVE
        below, above = (_touch_range(op, inside, vertices, bend) for bend in bends)
        at, value = (reference.expand_as(box.low) for reference in (at, value))  # one for all rows or one for each
        return cls(op, box, at, value, lines, vertices, (below, above))

    def take(self, index: Tensor) -> Touching:
        """The rows at these positions."""
        box = IntervalBounds(self.box.low[index], self.box.high[index])
        vertices = self.vertices[0][:, index], self.vertices[1][:, index]
        below, above = (None if side is None else side.take(index) for side in self.sides)
        return Touching(self.op, box, self.at[index], self.value[index], self.lines.select(index), vertices,
                        (below, above))

    def meet(self, a: Tensor, share: Tensor) -> Met:
        """The lines that rows with these coefficients (rows, n) of f meet: above where a >= 0, else below.

        Sound because a line of any slope is, once it clears the vertices and one tangent of the only piece that bends
        to its side (see `verify.ops.curve`); trusts float rounding, and the library's f and f' to `ulps`.
        """
        up = a >= 0
        below, above = (self._side(is_above, share) for is_above in (False, True))
        slope, intercept, touch, is_free = (torch.where(up, high, low) for low, high in zip(below, above, strict=True))
        return Met(slope, slope * self.at + intercept - self.value, touch - self.at, is_free)

    def _side(self, is_above: bool, share: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(slope, intercept, touching point, 1 where it is free) of the lines on one side."""
        side, usual = self.sides[is_above], self.lines.parts[2 * is_above : 2 * is_above + 2]
        if side is None:
            return *usual, self.at, torch.zeros_like(self.at)
        t = self.box.low.lerp(self.box.high, share).maximum(side.least).minimum(side.most)
        slope = self.op.derivative(side.piece, t)
        tangent = Tangent(is_above, t, self.op.forward((), t), slope, side.part)
        intercept = intercepts(slope, self.vertices, [tangent])[is_above]
        slack = self.op.slack(size_of(slope, self.vertices, [tangent]))
        intercept = intercept + slack if is_above else intercept - slack
        is_tangent = side.exists & intercept.isfinite()
        found = torch.where(is_tangent, slope, usual[0]), torch.where(is_tangent, intercept, usual[1])
        return *found, t, is_tangent.to(t)


def _touch_range(op: Curve, box: IntervalBounds, vertices: Vertices, bend: Curvature) -> TouchRange | None:
    """The range of the only piece that bends so; None where there is no such piece, or where others are as well."""
    pieces = [piece for piece in op.curved if op.curvature[piece] == bend]
    if len(pieces) != 1 or op.jumps:
        return None
    (piece,) = pieces
    part, least, most = op.touch_range(piece, box, vertices)
    clears = least <= most
    for k in range(2):
        x, y = (values[k] for values in vertices)
        for t in (least, most):
            height = torch.addcmul(op.forward((), t), op.derivative(piece, t), x - t) - y
            rough = op.slack(y.abs() + (op.derivative(piece, t) * (x - t)).abs())
            clears &= (height >= -rough) if bend == Curvature.CONCAVE else (height <= rough)
    return TouchRange(piece, part, least, most, clears & box.is_wide)
