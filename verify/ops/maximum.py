"""The maximum family: each output is the largest of a group of inputs (max pooling, ReduceMax, Maximum)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from verify.errors import UnsupportedOp
from verify.ops.base import Encoder, Example, Interval, Lines, Op, Parameters, register


@register(lambda op: [
    Example(op(), (torch.tensor([[0, 1, 2], [3, 3, 4]]),), ((5,),)),
    Example(op(), (pool_groups((2, 4, 4), (2, 2), (2, 2), (0, 0)),), ((2, 4, 4),)),
    Example(op(), (pool_groups((1, 5), (3,), (1,), (1,)),), ((1, 5),)),
    Example(op(), (axis_groups((3, 2), (0,), False),), ((3, 2),)),
])
@dataclass(frozen=True)
class Max(Op):
    """max over the flattened input at groups; parameter: groups (*output shape, size) long. A shorter group repeats
    one of its members."""

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return self._gather(p, xs[0]).amax(-1)

    def interval(self, p: Parameters, *boxes: Interval) -> Interval:
        """Sound because max is monotone in every input; trusts nothing (no rounding occurs)."""
        return Interval(self.forward(p, boxes[0].low), self.forward(p, boxes[0].high))

    def contested(self, p: Parameters, box: Interval) -> Tensor:
        """Inputs that may be the largest of a group with no sure winner; bool (batch, *input shape)."""
        best, _, rival = self._leader(p, box)
        high = self._gather(p, box.high)
        open_groups = (rival > best).unsqueeze(-1) & (high > best.unsqueeze(-1))
        counts = torch.zeros_like(box.low).flatten(1)
        places = p[0].reshape(1, -1).expand(counts.shape[0], -1)
        return (counts.scatter_add(1, places, open_groups.flatten(1).to(counts)) > 0).reshape(box.low.shape)

    def relax(self, p: Parameters, box: Interval) -> Lines:
        """Below: the member with the largest lower bound. Above: with i the member of largest upper bound and M the
        largest upper bound of the others, max <= max(x_i, M), whose chord over [low_i, high_i] bounds it; where
        low_i >= M it is x_i itself, and the constant M where high_i <= M.

        Sound because a maximum is at least each member, and at most the maximum of one member and a bound of the
        rest; the chord of a convex function lies above it; trusts float rounding.
        """
        low, high = self._gather(p, box.low), self._gather(p, box.high)
        groups = p[0].expand(low.shape)
        below = low.argmax(-1, keepdim=True)
        top = high.argmax(-1, keepdim=True)
        index = groups.gather(-1, top)
        low_i, high_i = low.gather(-1, top).squeeze(-1), high.gather(-1, top).squeeze(-1)
        # copies of the leader itself (a repeated member) are no rivals
        rival = torch.where(groups == index, -torch.inf, high).amax(-1)
        alone = low_i >= rival
        rival = torch.where(alone, low_i, rival)  # keeps -inf, a group of one, out of the arithmetic and its gradient
        width = (high_i - low_i).clamp(min=torch.finfo(low.dtype).tiny)
        slope = torch.where(alone, 1.0, ((high_i - rival) / width).clamp(0, 1))
        ends = [value.maximum(rival) - slope * value for value in (low_i, high_i)]
        intercept = torch.where(alone, 0.0, ends[0].maximum(ends[1]))
        return Lines(
            torch.ones_like(slope), torch.zeros_like(slope), slope, intercept,
            groups.gather(-1, below).squeeze(-1), index.squeeze(-1),
        )

    def encode(
        self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[Interval]
    ) -> np.ndarray:
        """y >= x_i, and y <= x_i + (U_i - low_i)(1 - z_i) with sum z = 1 over the members that can be the largest,
        U_i the largest upper bound of the others (Tjeng, Xiao and Tedrake 2019, section 3.1)."""
        box = self.interval(p, *boxes)
        shape = tuple(box.low.shape[1:])
        ends = [v[0].detach().double().cpu().numpy() for v in box]
        y = model.add_columns(ends[0], ends[1])
        low, high = (v[0].detach().double().cpu().numpy().ravel() for v in boxes[0])
        x = columns[0].ravel()
        groups = p[0].reshape(y.size, -1).cpu().numpy()
        for out, group in zip(y.ravel(), groups, strict=True):
            group = np.unique(group)
            group = group[high[group] >= low[group].max()]
            one, ys = np.ones(group.size), np.full(group.size, out)
            if group.size == 1:
                model.add_rows([(one, ys), (-one, x[group])], np.zeros(1), np.zeros(1))
                continue
            model.add_rows([(one, ys), (-one, x[group])], 0 * one, np.inf * one)
            z = model.add_columns(0 * one, one, integer=True)
            rest = np.array([np.delete(high[group], i).max() for i in range(group.size)])
            room = np.maximum(rest - low[group], 0)
            model.add_rows([(one, ys), (-one, x[group]), (room, z)], -np.inf * one, room)
            model.add_rows([(sp.csr_matrix(one[None]), z)], np.ones(1), np.ones(1))
        return y.reshape(shape)

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat, groups = xs[0].reshape(-1), p[0].cpu().numpy()
        out = np.empty(groups.shape[:-1], dtype=object)
        for place in np.ndindex(out.shape):
            out[place] = max(flat[groups[place]])
        return out, out

    def _gather(self, p: Parameters, x: Tensor) -> Tensor:
        """Members of each group, (batch, *output shape, size)."""
        return x.flatten(1)[:, p[0].reshape(-1)].reshape(x.shape[0], *p[0].shape)

    def _leader(self, p: Parameters, box: Interval) -> tuple[Tensor, Tensor, Tensor]:
        """(largest lower bound, its member, largest upper bound of the other members)."""
        low, high = self._gather(p, box.low), self._gather(p, box.high)
        groups = p[0].expand(low.shape)
        best, where = low.max(-1, keepdim=True)
        index = groups.gather(-1, where)
        rival = torch.where(groups == index, -torch.inf, high).amax(-1)
        return best.squeeze(-1), index.squeeze(-1), rival


def pool_groups(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...],
    dilation: tuple[int, ...] | None = None, ceil_mode: bool = False,
) -> Tensor:
    """Groups of a max pooling over the trailing axes of (channels, *spatial); padding never wins.

    Returns (channels, *output, prod(kernel)) long; a place outside the input is replaced by a member inside. Raises
    UnsupportedOp where a window lies in the padding alone.
    """
    dilation = dilation or (1,) * len(kernel)
    places = torch.arange(int(np.prod(shape))).reshape(shape)
    fill = -1
    out = places
    for axis, (k, s, q, d) in enumerate(zip(kernel, stride, padding, dilation, strict=True), start=1):
        length = shape[axis]
        span = length + 2 * q - d * (k - 1) - 1
        count = -(-span // s) + 1 if ceil_mode else span // s + 1
        if ceil_mode and (count - 1) * s >= length + q:
            count -= 1
        index = torch.arange(count)[:, None] * s - q + torch.arange(k)[None] * d  # (count, k)
        valid = (index >= 0) & (index < length)
        moved = out.movedim(axis, -1)[..., index.clamp(0, length - 1)]
        out = torch.where(valid, moved, fill).movedim(-2, axis)
    flat = out.reshape(*out.shape[: len(shape)], -1)
    member = flat.amax(-1, keepdim=True)
    if bool((member < 0).any()):
        raise UnsupportedOp(f"max pooling of shape {shape} has a window in the padding alone; its output is -inf there")
    return torch.where(flat >= 0, flat, member)


def axis_groups(shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Tensor:
    """Groups of a maximum over `axes` (batch excluded): (*output shape, product of the reduced lengths)."""
    kept = [i for i in range(len(shape)) if i not in axes]
    places = torch.arange(int(np.prod(shape))).reshape(shape).permute(*kept, *axes)
    size = int(np.prod([shape[i] for i in axes]))
    out = tuple(1 if i in axes else n for i, n in enumerate(shape)) if keepdim else tuple(shape[i] for i in kept)
    return places.reshape(*out, size)

