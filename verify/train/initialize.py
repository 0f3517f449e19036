"""Initial weights for certified training."""

from __future__ import annotations

import math

import torch
from torch import Generator, nn

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def ibp_initialise(module: nn.Module, seed: int) -> None:
    """Normal weights of deviation sqrt(2 pi) / n, n the inputs of a neuron, in all linear and convolutional layers.

    A layer multiplies the mean width of interval bounds by n E|w| / 2, which then is 1 in expectation (Shi et al. 2021,
    section 4.1); common initialisations let it explode with the depth. Biases stay as they are.
    """
    noise = Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, WEIGHTED):
                fresh = torch.randn(layer.weight.shape, generator=noise, dtype=layer.weight.dtype)
                layer.weight.copy_(fresh * (math.sqrt(2 * math.pi) / layer.weight[0].numel()))
