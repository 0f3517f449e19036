"""The reference networks as plain torch modules; inputs (batch, 1, 8, 8) in [0, 1], outputs (batch, 10) logits."""

from __future__ import annotations

from math import prod

import torch
from torch import nn

from verify.errors import UnsupportedOp
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Graph
from verify.ops import Conv, Linear, Op, ReLU, Reshape


def dense(seed: int = 0) -> nn.Sequential:
    """Flatten, 64-50-50-10 with ReLU; 6,310 parameters drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 50), nn.ReLU(),
            nn.Linear(50, 50), nn.ReLU(),
            nn.Linear(50, 10),
        )


def conv(seed: int = 0) -> nn.Sequential:
    """Two convolutions, to 8 maps of 8x8 and 16 maps of 4x4, then 256-50-10 with ReLU; parameters drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 50), nn.ReLU(),
            nn.Linear(50, 10),
        )


def graph(module: nn.Sequential, input_shape: tuple[int, ...] = (1, 8, 8)) -> Graph:
    """The IR of one of these networks with parameters named as in `named_parameters`: it can be bound while training.

    Cheap enough to call for every batch, which a trace is not. Raises UnsupportedOp for a layer not used here.
    """
    builder = GraphBuilder("x", input_shape)
    value = "x"
    for name, layer in module.named_children():
        own = tuple(builder.parameter(f"{name}.{key}", t) for key, t in layer.named_parameters())
        value = builder.add(name, _op(layer, builder.shapes[value]), (value,), own)
    return builder.finish(value).graph


def _op(layer: nn.Module, shape: tuple[int, ...]) -> Op:
    match layer:
        case nn.Linear():
            return Linear()
        case nn.ReLU():
            return ReLU()
        case nn.Flatten():
            return Reshape((prod(shape),))
        case nn.Conv2d(stride=stride, padding=tuple(padding), dilation=dilation, groups=groups):
            return Conv(stride, padding, dilation, groups)
    raise UnsupportedOp(f"layer {layer} is none of Linear, ReLU, Flatten, Conv2d; use verify.trace for other networks")
