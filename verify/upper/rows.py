"""Rows of linear coefficients over one value of the graph, as backward linear bounds carry them.

A row is a linear functional of a node's value for one sample of the batch; `owner` says which sample. Rows of all
samples lie flat in one tensor, so that nothing is padded when samples need different numbers of rows. There are two
layouts with one interface: `Dense` holds a coefficient for every entry, `Window` only those of a receptive field in a
feature map, which is what keeps convolutions convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ops.affine import Affine
from verify.ops.base import Lines, Parameters
from verify.ops.linear_ops import BatchNorm, Conv
from verify.ops.shape_ops import Add


@dataclass(frozen=True)
class Dense:
    """Coefficients a (rows, *shape) of a value of that shape; owner (rows,) long."""

    a: Tensor
    owner: Tensor

    def adjoint(self, op: Affine, p: Parameters, k: int, shape: tuple[int, ...]) -> Dense:
        """The rows pulled back through argument k (of this shape) of an affine op."""
        return Dense(op.adjoint(p, k, self.a, shape), self.owner)

    def bias(self, op: Affine, p: Parameters) -> Tensor | float:
        """a . b for the op's bias, (rows,)."""
        b = op.bias(p)
        if b is None:
            return 0.0
        return self.a.flatten(1) @ b.expand(self.a.shape[1:]).reshape(-1)

    def dot(self, value: Tensor) -> Tensor:
        """a . value of the row's owner; value (batch, *shape) -> (rows,)."""
        return _dot(self.a.flatten(1), value.flatten(1), self.owner)

    def support(self, center: Tensor, radius: Tensor) -> Tensor:
        """max of a . x over the box center +- radius, both (batch, *shape); (rows,)."""
        return self.dot(center) + _dot(self.a.abs().flatten(1), radius.flatten(1), self.owner)

    def through(self, middle: Tensor, spread: Tensor, offset: tuple[Tensor, Tensor]) -> tuple[Dense, Tensor]:
        """The rows pulled back through lines with slopes middle +- spread, and what the intercepts add; see `relaxed`."""
        size = self.a.abs()
        added = self.dot(offset[0]) + _dot(size.flatten(1), offset[1].flatten(1), self.owner)
        out = self.a * _pick(middle, self.owner)
        return Dense(out.addcmul_(size, _pick(spread, self.owner)), self.owner), added

    def plus(self, other: Rows) -> Dense:
        """Sum with rows over the same value."""
        return Dense(self.a + other.dense().a, self.owner)

    def dense(self) -> Dense:
        return self

    def scatter(self, lines: Lines, shape: tuple[int, ...]) -> tuple[Dense, Tensor]:
        """The rows pulled back through the lines of a maximum, which name the input entry that they read."""
        assert lines.lower_index is not None and lines.upper_index is not None
        positive, negative = self.a.clamp(min=0), self.a.clamp(max=0)
        added = Dense(positive, self.owner).dot(lines.upper_intercept) + Dense(negative, self.owner).dot(lines.lower_intercept)
        out = torch.zeros((self.a.shape[0], prod(shape)), dtype=self.a.dtype, device=self.a.device)
        sides = ((positive, lines.upper_slope, lines.upper_index), (negative, lines.lower_slope, lines.lower_index))
        for part, slope, index in sides:
            places = _pick(index, self.owner).flatten(1).expand(part.shape[0], -1)
            out = out.scatter_add(1, places, (part * _pick(slope, self.owner)).flatten(1))
        return Dense(out.reshape(-1, *shape), self.owner), added


@dataclass(frozen=True)
class Window:
    """Coefficients a (rows, channels, height, width) of a window of a feature map (channels, *extent).

    The window of a row starts at `place * stride + offset`, place (rows, 2) being the row's own position in the map
    where it began; stride and offset are shared. `clean` says that coefficients outside the map are zero.
    """

    a: Tensor
    owner: Tensor
    place: Tensor
    stride: tuple[int, int]
    offset: tuple[int, int]
    extent: tuple[int, int]
    clean: bool = True

    def adjoint(self, op: Affine, p: Parameters, k: int, shape: tuple[int, ...]) -> Rows:
        if isinstance(op, Add):
            return self if op.signs[k] > 0 else self._with(-self.a)
        if isinstance(op, BatchNorm) and op.spatial == 2:
            return self._with(op.linear(p, k, self.a))
        if not isinstance(op, Conv) or len(op.stride) != 2:
            return self.dense().adjoint(op, p, k, shape)
        here = self.masked()
        a = F.conv_transpose2d(here.a, p[0], None, op.stride, 0, 0, op.groups, op.dilation)
        offset = tuple(o * s - q for o, s, q in zip(self.offset, op.stride, op.padding, strict=True))
        stride = tuple(m * s for m, s in zip(self.stride, op.stride, strict=True))
        out = Window(a, self.owner, self.place, stride, offset, shape[1:], clean=False)
        # a window about as large as the map saves nothing
        return out.dense() if prod(a.shape[2:]) >= 0.7 * prod(shape[1:]) else out

    def bias(self, op: Affine, p: Parameters) -> Tensor | float:
        b = op.bias(p)
        if b is None:
            return 0.0
        if b.dim() == 3 and b.shape[1:] == (1, 1):
            return self.masked().a.sum((2, 3)) @ b.flatten()
        return self.dot(b.expand(self.a.shape[1], *self.extent)[None])

    def dot(self, value: Tensor) -> Tensor:
        return torch.linalg.vecdot(self.a.flatten(1), self._view(value).flatten(1))

    def support(self, center: Tensor, radius: Tensor) -> Tensor:
        return self.dot(center) + self._with(self.a.abs()).dot(radius)

    def through(self, middle: Tensor, spread: Tensor, offset: tuple[Tensor, Tensor]) -> tuple[Window, Tensor]:
        size = self.a.abs()
        added = self.dot(offset[0]) + self._with(size).dot(offset[1])
        out = self.a * self._view(middle)
        # slopes are zero outside the map, so the result is clean
        return self._with(out.addcmul_(size, self._view(spread)), clean=True), added

    def plus(self, other: Rows) -> Rows:
        if isinstance(other, Dense) or other.stride != self.stride:
            return self.dense().plus(other)
        corner = [min(a, b) for a, b in zip(self.offset, other.offset, strict=True)]
        ends = [[o + n for o, n in zip(w.offset, w.a.shape[2:], strict=True)] for w in (self, other)]
        far = [max(a, b) for a, b in zip(*ends, strict=True)]
        a = self._grown(corner, far) + other._grown(corner, far)
        return Window(a, self.owner, self.place, self.stride, tuple(corner), self.extent, self.clean and other.clean)

    def dense(self) -> Dense:
        rows, channels, *window = self.a.shape
        before, after = self._margins()
        height, width = (n + b + e for n, b, e in zip(self.extent, before, after, strict=True))
        top = self.place * torch.tensor(self.stride, device=self.place.device) + torch.tensor(self.offset, device=self.place.device)
        top = top + torch.tensor(before, device=self.place.device)
        y = top[:, 0, None] + torch.arange(window[0], device=top.device)
        x = top[:, 1, None] + torch.arange(window[1], device=top.device)
        spots = (y[:, :, None] * width + x[:, None, :]).reshape(rows, 1, -1).expand(-1, channels, -1)
        out = torch.zeros((rows, channels, height * width), dtype=self.a.dtype, device=self.a.device)
        out = out.scatter(2, spots, self.a.flatten(2)).reshape(rows, channels, height, width)
        out = out[:, :, before[0] : before[0] + self.extent[0], before[1] : before[1] + self.extent[1]]
        return Dense(out, self.owner)

    def scatter(self, lines: Lines, shape: tuple[int, ...]) -> tuple[Dense, Tensor]:
        return self.dense().scatter(lines, shape)

    def masked(self) -> Window:
        """The same rows without coefficients outside the map."""
        if self.clean:
            return self
        ones = torch.ones((1, 1, *self.extent), dtype=self.a.dtype, device=self.a.device)
        return self._with(self.a * self._view(ones), clean=True)

    def _with(self, a: Tensor, clean: bool | None = None) -> Window:
        kept = self.clean if clean is None else clean
        return Window(a, self.owner, self.place, self.stride, self.offset, self.extent, kept)

    def _margins(self) -> tuple[list[int], list[int]]:
        """How far windows may reach beyond the map, before its start and after its end, in each axis."""
        last = self.place.amax(0).tolist() if self.place.numel() else [0, 0]
        before = [max(0, -o) for o in self.offset]
        ends = [q * s + o + n for q, s, o, n in zip(last, self.stride, self.offset, self.a.shape[2:], strict=True)]
        return before, [max(0, e - n) for e, n in zip(ends, self.extent, strict=True)]

    def _view(self, value: Tensor) -> Tensor:
        """Every row's window of a map (batch or 1, channels, *extent), zero outside: (rows, channels, *window)."""
        before, after = self._margins()
        padded = F.pad(value, (before[1], after[1], before[0], after[0]))
        start = [b + o for b, o in zip(before, self.offset, strict=True)]
        padded = padded[:, :, start[0] :, start[1] :]
        views = padded.unfold(2, self.a.shape[2], self.stride[0]).unfold(3, self.a.shape[3], self.stride[1])
        owner = self.owner if value.shape[0] > 1 else torch.zeros_like(self.owner)
        return views[owner, :, self.place[:, 0], self.place[:, 1]]

    def _grown(self, corner: list[int], far: list[int]) -> Tensor:
        """The coefficients in the larger window [corner, far), zero where this one has none."""
        (top, left), (height, width) = self.offset, self.a.shape[2:]
        return F.pad(self.a, (left - corner[1], far[1] - left - width, top - corner[0], far[0] - top - height))


Rows = Dense | Window


def _pick(value: Tensor, owner: Tensor) -> Tensor:
    """The entry of each row's owner; one sample is shared without a copy."""
    return value if value.shape[0] == 1 else value[owner]


def _dot(a: Tensor, value: Tensor, owner: Tensor) -> Tensor:
    """a (rows, size) with each owner's value (batch, size): (rows,)."""
    return a @ value[0] if value.shape[0] == 1 else torch.linalg.vecdot(a, value[owner])
