"""Random networks of at most 8 neurons of every exact kind, and problems over them."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.ops import (
    Abs,
    Add,
    AvgPool,
    Clip,
    Conv,
    HardSigmoid,
    LeakyReLU,
    Linear,
    Max,
    ReLU,
    Reshape,
    Tanh,
    pool_groups,
)
from verify.ops.base import Op
from verify.problem import Problem
from verify.sets import Box, Polytope
from verify.spec import Specification, margins


def _dense(b: GraphBuilder, source: str, sizes: tuple[int, int], rng: torch.Generator) -> str:
    weight = torch.randn(sizes[1], sizes[0], generator=rng)
    bias = torch.randn(sizes[1], generator=rng) / 2
    return b.add("fc", Linear(), (source,), (b.parameter("w", weight), b.parameter("b", bias)))


def dense(op: Op, widths: tuple[int, ...], seed: int) -> Network:
    """Linear layers of these widths with the op between them."""
    rng = torch.Generator().manual_seed(seed)
    b = GraphBuilder("x", (widths[0],))
    at = "x"
    for i, sizes in enumerate(pairwise(widths)):
        at = _dense(b, at, sizes, rng)
        if i < len(widths) - 2:
            at = b.add("act", op, (at,))
    return b.finish(at)


def bilinear(seed: int) -> Network:
    """Products of two linear maps, entry by entry, of these with the tanh of a third, and a sum of both."""
    rng, b = torch.Generator().manual_seed(seed), GraphBuilder("x", (2,))
    maps = [_dense(b, "x", (2, 3), rng) for _ in range(3)]
    first = b.product("p", maps[0], maps[1])
    second = b.product("q", first, b.add("t", Tanh(), (maps[2],)))
    return b.finish(_dense(b, b.add("sum", Add((1, 1)), (first, second)), (3, 3), rng))


def residual(seed: int) -> Network:
    """x -> ReLU -> (identity + ReLU of a layer) -> 3 outputs."""
    rng = torch.Generator().manual_seed(seed)
    b = GraphBuilder("x", (3,))
    first = b.add("act", ReLU(), (_dense(b, "x", (3, 4), rng),))
    branch = b.add("act", ReLU(), (_dense(b, first, (4, 4), rng),))
    return b.finish(_dense(b, b.add("sum", Add((1, -1)), (first, branch)), (4, 3), rng))


def conv(seed: int, pooled: bool) -> Network:
    """3x3 image -> 2x2 convolution with 2 channels -> ReLU and mean, or max pooling -> 3 outputs."""
    rng = torch.Generator().manual_seed(seed)
    b = GraphBuilder("x", (1, 3, 3))
    names = b.parameter("k", torch.randn(2, 1, 2, 2, generator=rng)), b.parameter("c", torch.randn(2, generator=rng))
    at = b.add("conv", Conv((1, 1), (0, 0), (1, 1), 1), ("x",), names)
    if pooled:
        at = b.add("pool", Max(), (at,), (b.parameter("g", pool_groups((2, 2, 2), (2, 2), (2, 2), (0, 0))),))
    else:
        at = b.add("act", ReLU(), (at,))
        at = b.add("mean", AvgPool((2, 1), (1, 1), (0, 0), False, True), (at,))
    flat = 2 if pooled else 4
    return b.finish(_dense(b, b.add("flat", Reshape((flat,)), (at,)), (flat, 3), rng))


def maxout(seed: int) -> Network:
    """x -> layer -> maxima of three neurons, one of them repeated -> ReLU -> 3 outputs."""
    rng = torch.Generator().manual_seed(seed)
    b = GraphBuilder("x", (3,))
    groups = b.parameter("g", torch.tensor([[0, 1, 2], [3, 4, 3]]))
    at = b.add("most", Max(), (_dense(b, "x", (3, 5), rng),), (groups,))
    return b.finish(_dense(b, b.add("act", ReLU(), (_dense(b, at, (2, 3), rng),)), (3, 3), rng))


NETWORKS = {
    "relu": lambda seed: dense(ReLU(), (3, 4, 4, 3), seed),
    "leaky": lambda seed: dense(LeakyReLU(Fraction(1, 8)), (3, 3, 3, 3), seed),
    "concave": lambda seed: dense(LeakyReLU(Fraction(3, 2)), (3, 3, 3, 3), seed),
    "abs": lambda seed: dense(Abs(), (2, 3, 3, 3), seed),
    "clip": lambda seed: dense(Clip(Fraction(-1, 2), Fraction(1)), (3, 2, 2, 3), seed),
    "hardsigmoid": lambda seed: dense(HardSigmoid(Fraction(1, 2), Fraction(1, 2)), (3, 2, 2, 3), seed),
    "residual": residual,
    "conv": lambda seed: conv(seed, False),
    "maxpool": lambda seed: conv(seed, True),
}


def box_around(network: Network, seed: int, radius: float = 1.0) -> tuple[Tensor, Tensor]:
    """(low, high), batch of 1; the first coordinate is fixed."""
    rng = torch.Generator().manual_seed(seed)
    center = torch.randn(1, *network.input_shape, generator=rng)
    spread = radius * torch.rand(1, *network.input_shape, generator=rng)
    spread.view(-1)[0] = 0
    return center - spread, center + spread


def problem(network: Network, kind: str, seed: int) -> Problem:
    """One case: "targeted", "untargeted", "conjunctive" (rows over inputs and outputs) or "polytope"."""
    low, high = box_around(network, seed)
    size, rng = low[0].numel(), torch.Generator().manual_seed(seed + 1)
    inputs: Box | Polytope = Box(low, high)
    spec = margins(torch.tensor([0]), 3, 1 if kind == "targeted" else None)
    if kind == "conjunctive":
        spec = Specification(
            torch.randn(1, 5, 3, generator=rng), torch.randn(1, 5, generator=rng), torch.tensor([[0, 0, 1, 2, 2]]),
            torch.tensor([[True, True, True, True, False]]), torch.randn(1, 5, size, generator=rng),
        )
    if kind == "polytope":
        values = np.random.default_rng(seed).integers(-3, 4, (1, 2, size))
        rows = np.vectorize(Fraction, otypes=[object])(values)
        middle = ((low + high) / 2).reshape(-1).tolist()
        bounds = np.array([[Fraction(float(row @ middle)) for row in values[0]]], dtype=object)
        inputs = Polytope(inputs, rows, bounds)
    return Problem(network, inputs, spec, torch.zeros(1, dtype=torch.long), 1)
