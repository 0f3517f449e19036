"""The dual bound of Wong and Kolter with random projections: cheap estimates of layer boxes (Wong et al. 2018).

Every unstable ReLU is replaced by the band between two parallel lines, d z <= f(z) <= d z + c. A layer's value is then
one affine function of the input and of the offsets in the bands, and its box is that function's center plus and minus
a sum of L1 norms of coefficients. The norms are estimated: random vectors are pushed forward through the same affine
function, and the median of the absolute results is the L1 norm of the coefficients for Cauchy vectors (Li et al. 2007),
their root mean square the L2 norm for Gaussian ones. So boxes cost as many forward passes as there are vectors, however
wide the layers are. Estimates are no bounds: what is trained this way must be certified by another method.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from verify.errors import InputError, UnsupportedMethod
from verify.ir.graph import BoundGraph
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds, Lines, Nonlinear, Parameters
from verify.ops.curve import Curve
from verify.registry import LossEntry
from verify.sets import Ball
from verify.train.losses.base import Loss, margin_loss, margin_rows
from verify.train.losses.certified import mixed
from verify.upper.linear_bounds.crown_ibp import crown_ibp_bounds

Bundle = dict[str, Tensor]  # random vectors (batch * vectors, *shape), by name of the node whose offsets they carry


@LossEntry(name="dual", place=100, help="the dual bound, with random projections (Wong et al.)")
@dataclass(frozen=True)
class DualLoss(Loss):
    """clean L(x, y) + (1 - clean) L of the dual bound of the margins (Wong and Kolter 2018; Wong et al. 2018).

    Boxes of hidden layers are estimated with `vectors` random vectors; the margins themselves are bounded by an exact
    backward pass over those boxes with the same parallel lines.
    """

    vectors: int = 50
    clean: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vectors < 1:
            raise InputError(f"the dual loss has vectors={self.vectors}; it needs at least 1")

    def __call__(self, network: BoundGraph, x: Tensor, y: Tensor, eps: float, noise: Generator) -> Tensor:
        ball = self.threat.ball(x, eps)
        boxes = estimated_boxes(network, ball, self.vectors, noise)
        rows = margin_rows(y, network.outputs, x).unflatten(2, network.output_shape)
        loss = margin_loss(crown_ibp_bounds(network, ball, boxes, rows, relax=parallel))
        return mixed(self.clean, network, x, y, loss)


def parallel(op: Nonlinear, p: Parameters, box: IntervalBounds) -> Lines:
    """Both lines with the slope of the upper one: the dual feasible choice of Wong and Kolter 2018, eq. 6."""
    if not isinstance(op, Curve):
        raise UnsupportedMethod(f"{type(op).__name__} reads several values at once, which random projections do not "
                                "bound; train with another loss")
    slope = op.relax(p, box).upper_slope
    lower, upper = op.line(box, slope)
    return Lines(slope, lower, slope, upper)


def estimated_boxes(network: BoundGraph, ball: Ball, vectors: int, noise: Generator) -> dict[str, IntervalBounds]:
    """Estimated boxes of the input and of every value that a nonlinear operator reads, by name."""
    source = network.graph.input
    boxes = {source: IntervalBounds(ball.low, ball.high)}
    centers = {source: (ball.low + ball.high) / 2}
    bundles: dict[str, Bundle] = {source: {source: _input_vectors(ball, vectors, noise)}}
    for node, p in network.walk():
        if isinstance(node.op, Affine):
            centers[node.name] = node.op.forward(p, *(centers[name] for name in node.inputs))
            bundles[node.name] = _through(node.op, p, [bundles[name] for name in node.inputs])
            continue
        if not isinstance(node.op, Nonlinear):
            raise UnsupportedMethod(f"node {node.name} has no linear bounds; train with interval bounds")
        name = node.inputs[0]
        boxes[name] = box = _box(centers[name], bundles[name], ball, vectors, source)
        lines = parallel(node.op, p, box)
        half = (lines.upper_intercept - lines.lower_intercept) / 2
        centers[node.name] = lines.upper_slope * centers[name] + lines.lower_intercept + half
        slope = lines.upper_slope.repeat_interleave(vectors, 0)
        carried = {origin: slope * part for origin, part in bundles[name].items()}
        fresh = _cauchy((len(half) * vectors, *half.shape[1:]), noise, half)
        bundles[node.name] = {**carried, node.name: fresh * half.repeat_interleave(vectors, 0)}
    return boxes


def _input_vectors(ball: Ball, vectors: int, noise: Generator) -> Tensor:
    """Random vectors over the input, scaled so that their image estimates half the width of the image of the ball."""
    if ball.norm.stable is None:
        raise InputError(f"no random projection estimates the dual norm of an {ball.norm} ball; take another loss or "
                         "norm")
    shape = (ball.batch * vectors, *ball.shape)
    if ball.norm.stable == 2:
        return float(ball.eps) * torch.randn(shape, generator=noise, device=noise.device).to(ball.low)
    return _cauchy(shape, noise, ball.low) * ((ball.high - ball.low) / 2).repeat_interleave(vectors, 0)


def _cauchy(shape: tuple[int, ...], noise: Generator, like: Tensor) -> Tensor:
    share = torch.rand(shape, generator=noise, device=noise.device).to(like)
    return torch.tan(torch.pi * (share - 0.5).clamp(-0.4999, 0.4999))


def _through(op: Affine, p: Parameters, parts: list[Bundle]) -> Bundle:
    """The vectors of all arguments pushed through the op without its bias."""
    out: Bundle = {}
    for k, bundle in enumerate(parts):
        for origin, vectors in bundle.items():
            moved = op.linear(p, k, vectors)
            out[origin] = out[origin] + moved if origin in out else moved
    return out


def _box(center: Tensor, bundle: Bundle, ball: Ball, vectors: int, source: str) -> IntervalBounds:
    """The estimated box of a value: its center plus and minus the norm of each group of coefficients."""
    radius = torch.zeros_like(center)
    for origin, part in bundle.items():
        each = part.unflatten(0, (len(center), vectors))
        if origin == source and ball.norm.stable == 2:
            radius = radius + each.square().mean(1).clamp(min=torch.finfo(each.dtype).tiny).sqrt()
        else:
            radius = radius + each.abs().median(1).values
    return IntervalBounds(center - radius, center + radius)
