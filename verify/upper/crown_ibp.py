"""Linear bounds over interval boxes, differentiable in the weights (Zhang et al. 2020, CROWN-IBP).

Every layer has its box from interval arithmetic, and only rows over the output are pulled back through lines of those
boxes: one walk instead of one for every layer, which is what a training step can afford. `verify.upper.backward` is
the same bound for certification, where every neuron is bounded again and nothing is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from verify.errors import UnsupportedMethod
from verify.ir.graph import BoundGraph, Node
from verify.ops.affine import Affine
from verify.ops.base import Interval as Box
from verify.ops.base import Lines, Nonlinear, Parameters
from verify.sets import InputSet

Crossed = tuple[Tensor, Tensor]  # rows over the argument of a nonlinear node, and what its intercepts add
Relax = Callable[[Nonlinear, Parameters, Box], Lines]

CHUNK = {"cpu": 1 << 18, "cuda": 1 << 28}  # coefficients handled at a time: in cache, or by one kernel


def affine_end_bounds(network: BoundGraph, boxes: dict[str, Box], rows: Tensor) -> Tensor:
    """Upper bounds of rows over the output, merged with the affine layers that the network ends with.

    rows: (batch, rows, *output shape), boxes of every value -> (batch, rows). The merging ("elision of the last layer",
    Gowal et al. 2018, section 3) lets what the rows share cancel.
    Sound because a linear function on a box is maximal at a corner; trusts float rounding.
    """
    total, ends = _pull(network, rows)
    return total + sum(_corner(a, boxes[name]) for name, a in ends.items())


def adaptive(op: Nonlinear, p: Parameters, box: Box) -> Lines:
    """The op's own lines, for ReLU those of CROWN."""
    return op.relax(p, box)


def crown_ibp_bounds(
    network: BoundGraph, inputs: InputSet, boxes: dict[str, Box], rows: Tensor, relax: Relax = adaptive
) -> Tensor:
    """Upper bounds of rows over the output by one backward pass over lines of the given boxes.

    rows: (batch, rows, *output shape), boxes of every value that a nonlinear op reads -> (batch, rows).
    Sound because each line bounds its neuron over its box, a coefficient >= 0 takes the upper line, another one the
    lower (CROWN, theorem 3.2), and the support function of the inputs bounds the rest; trusts float rounding.
    """
    def cross(node: Node, a: Tensor) -> Crossed:
        if not isinstance(node.op, Nonlinear):
            raise UnsupportedMethod(f"node {node.name} has no linear bounds; train with interval bounds")
        lines = relax(node.op, network.of(node), boxes[node.inputs[0]])
        return through_lines(a, lines, network.graph.shape_of(node.inputs[0]))

    total, ends = _pull(network, rows, cross)
    source = network.graph.input
    for name, a in ends.items():
        total = total + (_corner(a, boxes[source]) if inputs.is_box or name != source else inputs.support(a))
    return total


def _pull(
    network: BoundGraph, rows: Tensor, cross: Callable[[Node, Tensor], Crossed] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """What biases and intercepts add up to, (batch, rows), and the coefficients that are left, by name of the value:
    over the input, and without `cross` over nonlinear nodes."""
    pending, ends = {network.graph.output: rows}, {}
    total = rows.new_zeros(rows.shape[:2])
    for node in reversed(network.graph.nodes):
        a = pending.pop(node.name, None)
        if a is None:
            continue
        if isinstance(node.op, Affine):
            parts, added = _through_affine(network, node, node.op, a)
            for name, part in zip(node.inputs, parts, strict=True):
                pending[name] = pending[name] + part if name in pending else part
            total = total if added is None else total + added
        elif cross is None:
            ends[node.name] = a
        else:
            part, added = cross(node, a)
            name = node.inputs[0]
            pending[name] = pending[name] + part if name in pending else part
            total = total + added
    return total, {**ends, **pending}


def _through_affine(network: BoundGraph, node: Node, op: Affine, a: Tensor) -> tuple[list[Tensor], Tensor | None]:
    """The rows over each argument, and what the bias adds."""
    p, flat, out = network.of(node), a.flatten(0, 1), []
    for k, name in enumerate(node.inputs):
        out.append(op.adjoint(p, k, flat, network.graph.shape_of(name)).unflatten(0, a.shape[:2]))
    bias = op.bias(p)
    if bias is None:
        return out, None
    if bias.dim() > 1 and bias.numel() == bias.shape[0]:  # one number a channel
        return out, a.flatten(3).sum(3) @ bias.flatten()
    return out, a.flatten(2) @ bias.expand(node.shape).reshape(-1)


def through_lines(a: Tensor, lines: Lines, shape: tuple[int, ...]) -> Crossed:
    """Rows a (batch, rows, *output shape) pulled through lines to the argument of this shape, and what intercepts add,
    (batch, rows)."""
    if lines.lower_index is None or lines.upper_index is None:
        return _Lines.apply(a, *lines.parts)
    up, out = a.clamp(min=0), a.new_zeros((*a.shape[:2], prod(shape)))
    added = a.new_zeros(a.shape[:2])
    for part, slope, intercept, index in (
        (up, lines.upper_slope, lines.upper_intercept, lines.upper_index),
        (a - up, lines.lower_slope, lines.lower_intercept, lines.lower_index),
    ):
        place = index.flatten(1)[:, None].expand(-1, a.shape[1], -1)
        out = out.scatter_add(2, place, (part * slope[:, None]).flatten(2))
        added = added + _dot(part, intercept)
    return out.unflatten(2, shape), added


def _corner(a: Tensor, box: Box) -> Tensor:
    """max of rows a (batch, rows, *shape) over boxes (batch, *shape); (batch, rows)."""
    flat, low, high = a.flatten(2), box.low.flatten(1), box.high.flatten(1)
    center, radius = (low + high)[:, :, None] / 2, (high - low)[:, :, None] / 2
    return (torch.bmm(flat, center) + torch.bmm(flat.abs(), radius)).squeeze(2)


class _Lines(torch.autograd.Function):
    """Rows a (batch, rows, *shape) pulled through lines (batch, *shape): a * (upper slope where a > 0, else lower), and
    the intercepts' sum (batch, rows). Written by hand, in chunks that stay in cache, as it is a step's main cost."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, lower_slope: Tensor, lower: Tensor, upper_slope: Tensor, upper: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(a, lower_slope, lower, upper_slope, upper)
        out, added = torch.empty_like(a), a.new_empty(a.shape[:2])
        ctx.level = level = bool(lower.any())  # whether lower lines have intercepts, which those of ReLU have not
        for part in _chunks(a):
            here, least = a[part], lower_slope[part][:, None]
            up = here.clamp(min=0)
            torch.mul(here, least, out=out[part])
            out[part].addcmul_(up, upper_slope[part][:, None] - least)
            added[part] = _dot(up, upper[part] - lower[part] if level else upper[part])
            if level:
                added[part] += _dot(here, lower[part])
        return out, added

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, lower_slope, lower, upper_slope, upper = ctx.saved_tensors
        g, more = gradients
        into = torch.empty_like(a)
        slopes = [torch.zeros_like(lower_slope) if ctx.needs_input_grad[k] else None for k in (1, 3)]
        intercepts = [torch.zeros_like(lower) if ctx.needs_input_grad[k] else None for k in (2, 4)]
        wide = more.reshape(*more.shape, *[1] * (a.dim() - 2))
        for part in _chunks(a):
            here, grown, many = a[part], g[part], wide[part]
            up, least = here.clamp(min=0), lower_slope[part][:, None]
            lift = grown * (upper_slope[part][:, None] - least)
            lift.addcmul_(many, (upper[part] - lower[part] if ctx.level else upper[part])[:, None])
            torch.addcmul(lift.mul_(here > 0), grown, least, out=into[part])
            if ctx.level:
                into[part].addcmul_(many, lower[part][:, None])
            for slope, intercept, coefficients in zip(slopes, intercepts, (here - up, up), strict=True):
                if slope is not None:
                    for r in range(a.shape[1]):
                        slope[part].addcmul_(grown[:, r], coefficients[:, r])
                if intercept is not None:
                    flat = torch.bmm(more[part][:, None], coefficients.flatten(2))
                    intercept[part] = flat.reshape(intercept[part].shape)
        return into, slopes[0], intercepts[0], slopes[1], intercepts[1]


def _chunks(a: Tensor) -> list[slice]:
    """Slices of the batch of bounded size."""
    each = max(1, CHUNK.get(a.device.type, 1 << 28) // max(1, a[0].numel()))
    return [slice(start, start + each) for start in range(0, len(a), each)]


def _dot(rows: Tensor, values: Tensor) -> Tensor:
    """(batch, rows, *shape) . (batch, *shape) -> (batch, rows)."""
    return torch.bmm(rows.flatten(2), values.flatten(1)[:, :, None]).squeeze(2)
