"""Rows of linear coefficients over one value of the graph, as backward linear bounds carry them.

A row is a linear functional of a node's value for one sample of the batch; `owner` says which sample. Rows of all
samples lie flat in one tensor, in the order of their samples, so that nothing is padded when samples need different
numbers of rows. There are two layouts with one interface: `Dense` holds a coefficient for every entry, `Window` only
those of a receptive field in a feature map, which is what keeps convolutions convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ops.affine import Affine
from verify.ops.base import PLACE, Lines, Parameters, Relaxation

MANY = 24  # samples up to which a product with all of them is cheaper than a copy for each row


@dataclass(frozen=True)
class Field:
    """Numbers for every entry of a value, one set a sample, as rows meet them; values (batch, *shape)."""

    values: Tensor
    _cut: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    @cached_property
    def flat(self) -> Tensor:
        return self.values.flatten(1)

    def dense(self, owner: Tensor) -> Tensor:
        """Each row's sample, flat; one sample is shared without a copy."""
        return self.flat if self.flat.shape[0] == 1 else self.flat[owner]

    def dot(self, a: Tensor, owner: Tensor) -> Tensor:
        """Each row of a (rows, size) with its sample; (rows,).

        Where the rows belong to few samples, one matrix product beats a copy of a sample for each row.
        """
        if not len(owner):
            return a.new_zeros(0)
        if self.flat.shape[0] == 1:
            return a @ self.flat[0]
        first, last = int(owner.min()), int(owner.max())
        if first == last:
            return a @ self.flat[first]
        if last - first < MANY and last - first < len(owner) // 2:
            return (a @ self.flat[first : last + 1].T).gather(1, (owner - first)[:, None]).squeeze(1)
        return torch.linalg.vecdot(a, self.flat[owner])

    def windows(self, rows: Window) -> Tensor:
        """Each row's window, zero outside the map: (rows, channels, *window). All windows of one geometry are cut out
        of the map once, since many rows share them."""
        key = (*rows.stride, *rows.offset, *rows.a.shape[2:], *rows.reach)
        cut = self._cut.get(key)
        if cut is None:
            before = [max(0, -o) for o in rows.offset]
            geometry = zip(rows.reach, rows.stride, rows.offset, rows.a.shape[2:], strict=True)
            ends = [(n - 1) * s + o + k for n, s, o, k in geometry]
            after = [max(0, e - n) for e, n in zip(ends, rows.extent, strict=True)]
            padded = F.pad(self.values, (before[1], after[1], before[0], after[0]))
            start = [b + o for b, o in zip(before, rows.offset, strict=True)]
            padded = padded[:, :, start[0] :, start[1] :]
            views = padded.unfold(2, rows.a.shape[2], rows.stride[0]).unfold(3, rows.a.shape[3], rows.stride[1])
            cut = views[:, :, : rows.reach[0], : rows.reach[1]].permute(0, 2, 3, 1, 4, 5).flatten(0, 2).contiguous()
            self._cut[key] = cut
        spot = rows.place[:, 0] * rows.reach[1] + rows.place[:, 1]
        if self.values.shape[0] > 1:
            spot = spot + rows.owner * (rows.reach[0] * rows.reach[1])
        return cut.index_select(0, spot)  # several times as fast as cut[spot]


@dataclass(frozen=True)
class Slopes:
    """The relaxation of a nonlinear node in the form that rows multiply by, relative to a reference point.

    Of lines, a * middle + |a| * spread is a * upper_slope for a >= 0 and a * lower_slope for a < 0. The gaps, likewise,
    are the values of the relaxation at the reference point minus that of f: bounds are of differences to the network's
    value at the reference, so biases and intercepts vanish from the walk and only the gaps of unstable neurons are
    left.
    """

    relaxation: Relaxation
    at: Tensor  # (batch, *input shape) reference value of the argument
    value: Tensor  # (batch, *shape) f at the reference
    rounding: Tensor | None = None  # (batch, *shape) what it costs rows to meet the relaxation; part of the gaps

    @property
    def lines(self) -> Lines | None:
        """The relaxation of an elementwise node; None for others."""
        return self.relaxation if isinstance(self.relaxation, Lines) else None

    @cached_property
    def middle(self) -> Field:
        return Field(self._mean(1.0))

    @cached_property
    def spread(self) -> Field:
        return Field(self._mean(-1.0))

    def _mean(self, sign: float) -> Tensor:
        assert self.lines is not None
        return torch.add(self.lines.upper_slope, self.lines.lower_slope, alpha=sign) / 2

    @cached_property
    def gap_middle(self) -> Field:
        return Field((self._gaps[0] + self._gaps[1]) / 2)

    @cached_property
    def gap_spread(self) -> Field:
        spread = (self._gaps[0] - self._gaps[1]) / 2
        return Field(spread if self.rounding is None else spread + self.rounding)

    def restricted(self, entries: Tensor) -> Slopes:
        """The same for some entries of a vector only; entries (n,) long."""
        assert self.lines is not None
        lines = Lines(*(part[:, entries] for part in self.lines.parts))
        rounding = None if self.rounding is None else self.rounding[:, entries]
        return Slopes(lines, self.at[:, entries], self.value[:, entries], rounding)

    @cached_property
    def _gaps(self) -> tuple[Tensor, Tensor]:
        one = torch.ones_like(self.value)
        return self.relaxation.at(self.at, one) - self.value, self.relaxation.at(self.at, -one) - self.value


@dataclass(frozen=True)
class Dense:
    """Coefficients a (rows, *shape) of a value of that shape; owner (rows,) long."""

    a: Tensor
    owner: Tensor

    def adjoint(self, op: Affine, p: Parameters, k: int, shape: tuple[int, ...]) -> Dense:
        """The rows pulled back through argument k (of this shape) of an affine op."""
        return Dense(op.adjoint(p, k, self.a, shape), self.owner)

    def dot(self, field: Field) -> Tensor:
        """a . field of the row's owner; (rows,)."""
        return field.dot(self.a.flatten(1), self.owner)

    def size_dot(self, field: Field) -> Tensor:
        """|a| . field of the row's owner; (rows,)."""
        return field.dot(self.a.abs().flatten(1), self.owner)

    def cross(self, slopes: Slopes) -> tuple[Dense, Tensor]:
        """The rows pulled back through a relaxation to its argument, and what its gaps add; (rows,)."""
        a = self.a.flatten(1)
        size = a.abs()
        added = slopes.gap_middle.dot(a, self.owner) + slopes.gap_spread.dot(size, self.owner)
        if slopes.lines is None:
            return Dense(slopes.relaxation.pull(self.a, self.owner), self.owner), added
        out = (a * slopes.middle.dense(self.owner)).addcmul_(size, slopes.spread.dense(self.owner))
        return Dense(out.reshape(self.a.shape), self.owner), added

    def take(self, index: Tensor) -> Dense:
        """The rows at these positions."""
        return Dense(self.a.index_select(0, index), self.owner[index])

    def __add__(self, other: Rows) -> Dense:
        """Sum with rows over the same value."""
        return Dense(self.a + other.dense().a, self.owner)

    def dense(self) -> Dense:
        return self


@dataclass(frozen=True)
class Window:
    """Coefficients a (rows, channels, height, width) of a window of a feature map (channels, *extent).

    The window of a row starts at `place * stride + offset`, place (rows, 2) being the row's own position in the map
    where it began, of extent `reach`; stride and offset are shared. `clean` says that coefficients outside the map are
    zero.
    """

    a: Tensor
    owner: Tensor
    place: Tensor
    stride: tuple[int, ...]  # two numbers each
    offset: tuple[int, ...]
    extent: tuple[int, ...]
    reach: tuple[int, ...]
    clean: bool = True

    def adjoint(self, op: Affine, p: Parameters, k: int, shape: tuple[int, ...]) -> Rows:
        reach = op.reach(p)
        if reach is None:
            return self.dense().adjoint(op, p, k, shape)
        if reach == PLACE:
            return self._with(op.spread(p, k, self.a))
        a = op.spread(p, k, self.masked().a)
        offset = tuple(o * s - q for o, s, q in zip(self.offset, reach.stride, reach.padding, strict=True))
        stride = tuple(m * s for m, s in zip(self.stride, reach.stride, strict=True))
        out = replace(self, a=a, stride=stride, offset=offset, extent=shape[1:], clean=False)
        # a window about as large as the map saves nothing
        return out.dense() if prod(a.shape[2:]) >= 0.7 * prod(shape[1:]) else out

    def dot(self, field: Field) -> Tensor:
        return torch.linalg.vecdot(self.a.flatten(1), field.windows(self).flatten(1))

    def size_dot(self, field: Field) -> Tensor:
        return self._with(self.a.abs()).dot(field)

    def cross(self, slopes: Slopes) -> tuple[Rows, Tensor]:
        if slopes.lines is None:
            return self.dense().cross(slopes)
        size = self._with(self.a.abs())
        added = self.dot(slopes.gap_middle) + size.dot(slopes.gap_spread)
        out = (self.a * slopes.middle.windows(self)).addcmul_(size.a, slopes.spread.windows(self))
        # slopes are zero outside the map, so the result is clean
        return self._with(out, clean=True), added

    def take(self, index: Tensor) -> Window:
        return replace(self, a=self.a.index_select(0, index), owner=self.owner[index], place=self.place[index])

    def __add__(self, other: Rows) -> Rows:
        if isinstance(other, Dense) or other.stride != self.stride:
            return self.dense() + other
        corner = [min(a, b) for a, b in zip(self.offset, other.offset, strict=True)]
        ends = [[o + n for o, n in zip(w.offset, w.a.shape[2:], strict=True)] for w in (self, other)]
        far = [max(a, b) for a, b in zip(*ends, strict=True)]
        a = self._grown(corner, far) + other._grown(corner, far)
        return replace(self, a=a, offset=(corner[0], corner[1]), clean=self.clean and other.clean)

    def dense(self) -> Dense:
        here = self.masked()
        height, width = self.extent
        y, x = (p.clamp(0, n - 1) for p, n in zip(self._positions(), self.extent, strict=True))
        spots = (y[:, :, None] * width + x[:, None, :]).flatten(1)
        out = torch.zeros((*self.a.shape[:2], height * width), dtype=self.a.dtype, device=self.a.device)
        out = out.scatter_add(2, spots[:, None].expand(-1, self.a.shape[1], -1), here.a.flatten(2))
        return Dense(out.reshape(*self.a.shape[:2], height, width), self.owner)

    def masked(self) -> Window:
        """The same rows without coefficients outside the map."""
        if self.clean:
            return self
        y, x = ((p >= 0) & (p < n) for p, n in zip(self._positions(), self.extent, strict=True))
        return self._with(self.a * (y[:, None, :, None] & x[:, None, None, :]), clean=True)

    def _positions(self) -> list[Tensor]:
        """Map coordinates of the window, (rows, height) and (rows, width); outside the map for padding."""
        steps = (torch.arange(n, device=self.a.device) for n in self.a.shape[2:])
        starts = (self.place[:, i, None] * self.stride[i] + self.offset[i] for i in (0, 1))
        return [start + step for start, step in zip(starts, steps, strict=True)]

    def _with(self, a: Tensor, clean: bool | None = None) -> Window:
        return replace(self, a=a, clean=self.clean if clean is None else clean)

    def _grown(self, corner: list[int], far: list[int]) -> Tensor:
        """The coefficients in the larger window [corner, far), zero where this one has none."""
        (top, left), (height, width) = self.offset, self.a.shape[2:]
        return F.pad(self.a, (left - corner[1], far[1] - left - width, top - corner[0], far[0] - top - height))


Rows = Dense | Window
