"""Rows pulled through lines and into boxes, with gradients written by hand.

They are most of what a CROWN-IBP step costs beside its convolutions, and automatic differentiation would keep and pass
over many arrays of the size of all rows. So each function here keeps its arguments alone and works through the batch
in chunks that stay in cache. Rows are (batch, rows, n), what is given once a sample (batch, n).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from verify.ops.piecewise import chord, chord_gradient

CHUNK = {"cpu": 1 << 19, "cuda": 1 << 28}  # coefficients handled at a time: in cache, or by one kernel
threshold_backward = torch.ops.aten.threshold_backward  # (g, a, 0) -> g where a > 0, else 0; masks of bools are slow

Line = tuple[Tensor, Tensor, Tensor, Tensor]  # lower slope, lower intercept, and what the upper ones have beyond them


class ThroughLines(torch.autograd.Function):
    """(a, *line) -> a * (upper slope where a > 0, else lower), and the sum of the intercepts, (batch, rows)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, *line: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(a, *line)
        out, added = torch.empty_like(a), a.new_empty(a.shape[:2])
        for part in _chunks(a):
            added[part] = _pull(a[part], _at(line, part), out[part])
        return out, added

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, *line = ctx.saved_tensors
        g, more = gradients
        into, moved = torch.empty_like(a), [torch.empty_like(t) for t in line]
        for part in _chunks(a):
            found = _push(a[part], _at(line, part), g[part], more[part], into[part])
            for whole, piece in zip(moved, ((g[part] * a[part]).sum(1), *found), strict=True):
                whole[part] = piece
        return into, *moved


class ThroughReLU(torch.autograd.Function):
    """(a, low, high, bias) -> `ThroughLines` with CROWN's lines of ReLU over [low, high], over z - bias; bias (n,).

    The lines are formed for each chunk anew: their gradients are a few products of what has the size of a sample.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, low: Tensor, high: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(a, low, high, bias)
        out, added = torch.empty_like(a), a.new_empty(a.shape[:2])
        for part in _chunks(a):
            added[part] = _pull(a[part], _relu_line(low[part], high[part], bias)[1], out[part])
        return out, added

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        a, low, high, bias = ctx.saved_tensors
        g, more = gradients
        into, lows, highs, biases = (torch.empty_like(t) for t in (a, low, high, bias))
        biases.zero_()
        for part in _chunks(a):
            parts, line = _relu_line(low[part], high[part], bias)
            start, rise, lift = _push(a[part], line, g[part], more[part], into[part])
            biases += torch.addcmul(start.mul_(line[0]), line[2], lift).sum(0)
            lows[part], highs[part] = chord_gradient(*parts, rise.addcmul_(lift, bias), lift)
        return into, lows, highs, biases


class Corner(torch.autograd.Function):
    """max of rows a over boxes low, high: a . low + max(a, 0) . (high - low), (batch, rows)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, low: Tensor, high: Tensor) -> Tensor:
        width = high - low
        ctx.save_for_backward(a, low, width)
        return dot(a, low) + dot(a.clamp(min=0), width)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, low, width = ctx.saved_tensors
        more, into, lows, highs = gradients[0], None, None, None
        if ctx.needs_input_grad[0]:
            wide = more[:, :, None]
            into = threshold_backward(wide * width[:, None], a, 0).addcmul_(wide, low[:, None])
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            highs = torch.bmm(more[:, None], a.clamp(min=0))[:, 0]
            lows = torch.bmm(more[:, None], a)[:, 0] - highs
        return into, lows, highs


def dot(rows: Tensor, values: Tensor) -> Tensor:
    """(batch, rows, n) . (batch, n) -> (batch, rows); this way round, as the other takes up to ten times as long."""
    return torch.bmm(values[:, None], rows.transpose(1, 2)).squeeze(1)


def _pull(a: Tensor, line: Line, out: Tensor) -> Tensor:
    """Writes the rows into `out` and returns the sum of the intercepts."""
    slope, start, rise, lift = line
    up = a.clamp(min=0)
    torch.mul(a, slope[:, None], out=out).addcmul_(up, rise[:, None])
    return dot(a, start) + dot(up, lift)


def _push(a: Tensor, line: Line, g: Tensor, more: Tensor, into: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The adjoint of `_pull`: writes the gradient in a to `into` and returns those in the line but for its first part;
    g is the gradient in `out`, more that in the sum."""
    slope, start, rise, lift = (part[:, None] for part in line)
    up, wide, rowed, work = a.clamp(min=0), more[:, :, None], more[:, None], torch.empty_like(a)
    torch.mul(g, rise, out=work).addcmul_(wide, lift)
    torch.addcmul(threshold_backward(work, up, 0), g, slope, out=into).addcmul_(wide, start)
    return torch.bmm(rowed, a)[:, 0], torch.mul(g, up, out=work).sum(1), torch.bmm(rowed, up)[:, 0]


def _at(line: Sequence[Tensor], part: slice) -> Line:
    """The lines of a chunk."""
    slope, start, rise, lift = (t[part] for t in line)
    return slope, start, rise, lift


def _relu_line(low: Tensor, high: Tensor, bias: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Line]:
    """What `chord_gradient` needs, and the line."""
    rise, fall, slope, intercept = chord(low, high)
    lower = (low + high).gt_(0)
    step = slope - lower
    return (rise, fall, slope), (lower, lower * bias, step, intercept.addcmul_(step, bias))


def _chunks(a: Tensor) -> Iterator[slice]:
    """Slices of the batch of bounded size."""
    each = max(1, CHUNK.get(a.device.type, 1 << 28) // max(1, a[0].numel()))
    return (slice(start, start + each) for start in range(0, len(a), each))
