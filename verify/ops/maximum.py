"""The maximum family: each output is the largest of a group of inputs (max pooling, ReduceMax, Maximum)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from verify.errors import UnsupportedOp
from verify.ops.base import Encoder, Example, IntervalBounds, Nonlinear, Parameters, Reach, Relaxation, picked, register


@dataclass(frozen=True)
class Members(Relaxation):
    """The relaxation of a maximum: one member of the group on each side, and a slope above.

    The lower function is the entry at `lower_index` of the flattened input, the upper one `upper_slope` times that at
    `upper_index` and an intercept; all (batch, *output shape), the input of this shape.
    """

    shape: tuple[int, ...]
    lower_index: Tensor
    upper_index: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor
    lower_intercept: Tensor  # 0

    def select(self, index: Tensor) -> Members:
        parts = self.lower_index, self.upper_index, self.upper_slope, self.upper_intercept, self.lower_intercept
        return Members(self.shape, *(part[index] for part in parts))

    def linear(self, x: Tensor, is_upper: bool) -> Tensor:
        index = self.upper_index if is_upper else self.lower_index
        flat = x.flatten(-len(self.shape))
        found = flat.gather(-1, index.flatten(1).expand(*flat.shape[:-1], -1)).unflatten(-1, index.shape[1:])
        return found * self.upper_slope if is_upper else found

    def absolute(self, x: Tensor, is_upper: bool) -> Tensor:
        return self.linear(x, is_upper)

    def pull(self, a: Tensor, owner: Tensor) -> Tensor:
        up = a.clamp(min=0)
        sides = (up * picked(self.upper_slope, owner), self.upper_index), (a - up, self.lower_index)
        out = a.new_zeros((len(a), prod(self.shape)))
        for part, index in sides:
            places = picked(index, owner).flatten(1).expand(len(a), -1)
            out = out.scatter_add(1, places, part.flatten(1))
        return out.unflatten(1, self.shape)


@register(lambda op: [
    Example(op(), (torch.tensor([[0, 1, 2], [3, 3, 4], [2, 2, 2]]),), ((5,),)),
    Example(op(), (pool_groups((2, 4, 4), (2, 2), (2, 2), (0, 0)),), ((2, 4, 4),)),
    Example(op(), (pool_groups((1, 5), (3,), (1,), (1,)),), ((1, 5),)),
    Example(op(), (axis_groups((3, 2), (0,), False),), ((3, 2),)),
])
@dataclass(frozen=True)
class Max(Nonlinear):
    """max over the flattened input at groups; parameter: groups (*output shape, size) long. A shorter group repeats
    one of its members."""

    mixes = True

    def reach(self, p: Parameters) -> Reach | None:
        return None

    def forward(self, p: Parameters, *xs: Tensor) -> Tensor:
        return self._gather(p, xs[0]).amax(-1)

    def interval(self, p: Parameters, *boxes: IntervalBounds) -> IntervalBounds:
        """Sound because max is monotone in every input; trusts nothing (no rounding occurs)."""
        return IntervalBounds(self.forward(p, boxes[0].low), self.forward(p, boxes[0].high))

    def unstable(self, p: Parameters, box: IntervalBounds) -> Tensor:
        """Inputs that may be the largest of a group with no sure winner; bool (batch, *input shape)."""
        best, _, rival = self._leader(p, box)
        high = self._gather(p, box.high)
        open_groups = (rival > best).unsqueeze(-1) & (high > best.unsqueeze(-1))
        counts = torch.zeros_like(box.low).flatten(1)
        places = p[0].reshape(1, -1).expand(counts.shape[0], -1)
        return (counts.scatter_add(1, places, open_groups.flatten(1).to(counts)) > 0).reshape(box.low.shape)

    def reached(self, p: Parameters, marked: Tensor) -> Tensor:
        return self._gather(p, marked).any(-1)

    def amplified(self, p: Parameters, box: IntervalBounds, error: Tensor) -> Tensor:
        """|max a - max b| <= max |a - b|, and the slope above is at most 1."""
        return self.forward(p, error)

    def rounding(self, p: Parameters, box: IntervalBounds, unit: float) -> Tensor | float:
        return 0.0

    def relax(self, p: Parameters, box: IntervalBounds) -> Members:
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
        shape = tuple(box.low.shape[1:])
        index, below = index.squeeze(-1), groups.gather(-1, below).squeeze(-1)
        return Members(shape, below, index, slope, intercept, torch.zeros_like(intercept))

    def perturbed(self, p: Parameters, x: Tensor, error: Tensor, unit: float) -> tuple[Tensor, Tensor]:
        """|max a - max b| <= max |a - b|, and nothing is rounded."""
        return self.forward(p, x), self.forward(p, error)

    def encode(
        self, p: Parameters, model: Encoder, columns: Sequence[np.ndarray], boxes: Sequence[IntervalBounds]
    ) -> np.ndarray:
        """y >= x_i, y <= sum of w_i, w_i <= high_i z_i, w_i <= x_i - low_i (1 - z_i), sum of z_i = 1, over the members
        that can be the largest.

        w_i is x_i where member i is the largest and 0 elsewhere. With z relaxed the rows describe the convex hull of
        the graph over the box: they are the disjunctive form (Balas 1998) of "y is below some x_i"; see also Anderson
        et al. 2020 ("Strong mixed-integer programming formulations for trained neural networks"), section 2.
        """
        ends = [v[0].detach().double().cpu().numpy() for v in self.interval(p, *boxes)]
        y = model.add_columns(ends[0], ends[1])
        low, high = (v[0].detach().double().cpu().numpy().ravel() for v in boxes[0])
        groups = np.sort(p[0].reshape(y.size, -1).cpu().numpy(), axis=1)
        member = np.diff(groups, axis=1, prepend=-1) != 0  # a repeated member counts once
        member &= high[groups] >= low[groups].max(1, keepdims=True)
        single = member.sum(1) == 1
        owner, place = (member & single[:, None]).nonzero()
        zeros = np.zeros(owner.size)
        x = columns[0].ravel()
        model.add_rows([(zeros + 1, y.ravel()[owner]), (zeros - 1, x[groups[owner, place]])], zeros, zeros)
        owner, place = (member & ~single[:, None]).nonzero()
        chosen = groups[owner, place]
        _open_groups(model, y.ravel(), owner, x[chosen], low[chosen], high[chosen])
        return y

    def enclose(self, p: Parameters, *xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flat, groups = xs[0].reshape(-1), p[0].cpu().numpy()
        out = np.empty(groups.shape[:-1], dtype=object)
        for place in np.ndindex(out.shape):
            out[place] = max(flat[groups[place]])
        return out, out

    def _gather(self, p: Parameters, x: Tensor) -> Tensor:
        """Members of each group, (batch, *output shape, size)."""
        return x.flatten(1)[:, p[0].reshape(-1)].reshape(x.shape[0], *p[0].shape)

    def _leader(self, p: Parameters, box: IntervalBounds) -> tuple[Tensor, Tensor, Tensor]:
        """(largest lower bound, its member, largest upper bound of the other members)."""
        low, high = self._gather(p, box.low), self._gather(p, box.high)
        groups = p[0].expand(low.shape)
        best, where = low.max(-1, keepdim=True)
        index = groups.gather(-1, where)
        rival = torch.where(groups == index, -torch.inf, high).amax(-1)
        return best.squeeze(-1), index.squeeze(-1), rival


def _open_groups(
    model: Encoder, y: np.ndarray, owner: np.ndarray, x: np.ndarray, low: np.ndarray, high: np.ndarray
) -> None:
    """Rows of `Max.encode` for the members x (n,) of undecided groups; owner (n,) ascending, places in y."""
    import scipy.sparse as sp

    if not owner.size:
        return
    one, free = np.ones(owner.size), np.full(owner.size, np.inf)
    w = model.add_columns(np.minimum(low, 0), np.maximum(high, 0))
    z = model.add_columns(0 * one, one, integer=True)
    outs, group = np.unique(owner, return_inverse=True)
    total = sp.csr_matrix((one, (group, np.arange(owner.size))), shape=(outs.size, owner.size))
    count = np.ones(outs.size)
    model.add_rows([(one, y[owner]), (-one, x)], 0 * one, free)
    model.add_rows([(count, y[outs]), (-total, w)], -np.inf * count, 0 * count)
    model.add_rows([(one, w), (-high, z)], -free, 0 * one)
    model.add_rows([(one, w), (-one, x), (-low, z)], -free, -low)
    model.add_rows([(total, z)], count, count)


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
        count = pool_length(length, d * (k - 1) + 1, s, q, ceil_mode)
        index = torch.arange(count)[:, None] * s - q + torch.arange(k)[None] * d  # (count, k)
        valid = (index >= 0) & (index < length)
        moved = out.movedim(axis, -1)[..., index.clamp(0, length - 1)]
        out = torch.where(valid, moved, fill).movedim(-2, axis)
    flat = out.reshape(*out.shape[: len(shape)], -1)
    member = flat.amax(-1, keepdim=True)
    if bool((member < 0).any()):
        raise UnsupportedOp(f"max pooling of shape {shape} has a window in the padding alone; its output is -inf there")
    return torch.where(flat >= 0, flat, member)


def pool_length(length: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> int:
    """Number of windows along an axis, as torch counts them: with `ceil_mode` the last one may reach beyond the
    padding, but starts before it."""
    span = length + 2 * padding - kernel
    count = -(-span // stride) + 1 if ceil_mode else span // stride + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= length + padding else count


def axis_groups(shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Tensor:
    """Groups of a maximum over `axes` (batch excluded): (*output shape, product of the reduced lengths)."""
    kept = [i for i in range(len(shape)) if i not in axes]
    places = torch.arange(int(np.prod(shape))).reshape(shape).permute(*kept, *axes)
    size = int(np.prod([shape[i] for i in axes]))
    out = tuple(1 if i in axes else n for i, n in enumerate(shape)) if keepdim else tuple(shape[i] for i in kept)
    return places.reshape(*out, size)

