"""Curves in domains: lines that touch f at a point of a row's own choice, on whichever side the row meets.

A curve bends, so where a line of the relaxation touches it is free: a tangent of a convex piece bounds f from below,
one of a concave piece from above, wherever it touches (see `verify.ops.curve`). A row meets each neuron on one side
only, and one number says where: t = low + share (high - low), moved to where a tangent clears f at both ends of the
range. If no tangent does, or f has no such piece or several, that side keeps its usual line.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.ops.base import IntervalBounds, Lines
from verify.ops.curve import Curve
from verify.ops.tangents import Curvature, Tangent, Vertices, intercepts, size_of
from verify.upper.duals.activation import ActivationLayer
from verify.upper.duals.crossing import Crossed, Crossing, State, at_rows


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
        low, high, *rest = (at_rows(t, index) for t in (*self.part, self.least, self.most, self.exists))
        return TouchRange(self.piece, IntervalBounds(low, high), *rest)


@dataclass(frozen=True)
class Touching(Crossing):
    """A curve over ranges (rows, n) of its tracked entries: its usual lines, and where tangents may touch, below and
    above.

    `at` and `reference` are reference values of the tracked entries and of f there.
    """

    layer: ActivationLayer
    box: IntervalBounds
    at: Tensor
    reference: Tensor
    lines: Lines
    vertices: Vertices
    sides: tuple[TouchRange | None, TouchRange | None]

    @classmethod
    def of(cls, layer: ActivationLayer, box: IntervalBounds, at: Tensor, value: Tensor) -> Touching:
        """The curve of a layer over these ranges."""
        op = layer.op
        lines, inside = op.relax((), box), op.domain.part(box)
        vertices = op.vertices(inside)
        bends = Curvature.CONVEX, Curvature.CONCAVE
        below, above = (_touch_range(op, inside, vertices, bend) for bend in bends)
        return cls(layer, box, at, value, lines, vertices, (below, above))

    def take(self, index: Tensor) -> Touching:
        low, high, at, reference = (at_rows(t, index) for t in (*self.box, self.at, self.reference))
        x, y = (at_rows(t, index, 1) for t in self.vertices)
        below, above = (None if side is None else side.take(index) for side in self.sides)
        lines = Lines(*(at_rows(t, index) for t in self.lines.parts))
        return Touching(self.layer, IntervalBounds(low, high), at, reference, lines, (x, y), (below, above))

    def cross(self, a: Tensor, share: Tensor) -> Crossed:
        """Above where a row's coefficient is >= 0, else below.

        Sound because a line of any slope is, once it clears the vertices and one tangent of the only piece that bends
        to its side (see `verify.ops.curve`); trusts float rounding, and the library's f and f' to `ulps`.
        """
        flat = a.flatten(1)
        here = self.layer.pick(flat)
        below, above = (self._side(is_above, share) for is_above in (False, True))
        parts = (torch.where(here >= 0, high, low) for low, high in zip(below, above, strict=True))
        slope, intercept, touch, is_free = parts
        gap = slope * self.at + intercept - self.reference
        added = torch.linalg.vecdot(here, gap)
        # the bound falls where the line is moved towards the point at which it is attained, on either side
        rising = here.abs().neg_() * is_free
        return Crossed(self.layer.spread(flat, here * slope), added, here, (slope, gap, touch - self.at, rising))

    def value(self, state: State, x: Tensor) -> Tensor:
        slope, gap = state[:2]
        flat = x.flatten(1)
        return self.layer.spread(flat, torch.addcmul(gap, slope, self.layer.pick(flat))).reshape(x.shape)

    def gradient(self, state: State, z: Tensor) -> Tensor:
        _, _, touch, rising = state
        return (z - touch) * rising * (self.box.high - self.box.low)

    def _side(self, is_above: bool, share: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(slope, intercept, touching point, 1 where it is free) of the lines on one side."""
        side, usual = self.sides[is_above], self.lines.parts[2 * is_above : 2 * is_above + 2]
        if side is None:
            return usual[0], usual[1], self.at, torch.zeros_like(self.at)
        t = self.box.low.lerp(self.box.high, share).maximum(side.least).minimum(side.most)
        slope = self.layer.op.derivative(side.piece, t)
        tangent = Tangent(is_above, t, self.layer.op.forward((), t), slope, side.part)
        intercept = intercepts(slope, self.vertices, [tangent])[is_above]
        slack = self.layer.op.slack(size_of(slope, self.vertices, [tangent]))
        intercept = intercept + slack if is_above else intercept - slack
        is_tangent = side.exists & intercept.isfinite()
        slope, intercept = slope.where(is_tangent, usual[0]), intercept.where(is_tangent, usual[1])
        return slope, intercept, t.where(is_tangent, self.at), is_tangent.to(t)


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
