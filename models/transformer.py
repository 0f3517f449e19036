"""A small vision transformer as a plain torch module, for `architectures.make("transformer", ...)`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """x + attention(x), then x + two layers with GELU between, of tokens (batch, tokens, width).

    Layers are not normalised: what a box of a token's entries says of their standard deviation is so little that bounds
    through layer normalisation grow with the depth (Shi et al. 2020, "Robustness Verification for Transformers", leaves
    the division out for this reason).
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        parts = self.project(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*parts.unbind(0)).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.join(seen)
        return x + self.down(F.gelu(self.up(x)))


class Transformer(nn.Module):
    """Patches of an image become tokens with a place of their own, pass the blocks, and are read side by side."""

    def __init__(self, channels: int, tokens: int, outputs: int, width: int, heads: int, layers: int, patch: int):
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.places = nn.Parameter(0.1 * torch.randn(tokens, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.head = nn.Linear(tokens * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.blocks(tokens).flatten(1))
