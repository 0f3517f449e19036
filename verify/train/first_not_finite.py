"""Where a training went wrong: the first place at which a number is not finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from verify.ir.graph import BoundGraph
from verify.ops.base import IntervalBounds
from verify.train.losses.base import Threat


def first_not_finite(
    network: BoundGraph, weights: dict[str, nn.Parameter], x: Tensor, threat: Threat, eps: float
) -> str:
    """A phrase that names the layer: its weights, its values on the batch, its bounds over the balls, its gradients."""
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            return f"weights of layer {_layer(name)}"
    with torch.no_grad():
        ball = threat.ball(x, eps)
        values, boxes = network.values(x), {network.graph.input: IntervalBounds(ball.low, ball.high)}
        for node, p in network.walk():
            boxes[node.name] = box = node.op.interval(p, *(boxes[name] for name in node.inputs))
            layer = _layer(node.parameters[0]) if node.parameters else node.name
            if not bool(torch.isfinite(values[node.name]).all()):
                return f"values of layer {layer}"
            if not bool(torch.isfinite(box.low).all() and torch.isfinite(box.high).all()):
                return f"bounds of layer {layer}"
    for name, weight in weights.items():
        if weight.grad is not None and not bool(torch.isfinite(weight.grad).all()):
            return f"gradient of layer {_layer(name)}"
    return "the loss alone, after the last layer"


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0] or parameter
