"""Three small networks of today's kinds, trained on the digits: a transformer, a GRU, convolutions with gates."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from verify.models import digits

EPOCHS = {"transformer": 25, "gru": 40, "gated": 25}
BATCH = 64


class Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = (self._heads(part(x)) for part in (self.query, self.key, self.value))
        scores = q @ k.transpose(2, 3) / self.size**0.5
        mixed = torch.softmax(scores, 3) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[1], self.heads, self.size).transpose(1, 2)


class EncoderLayer(nn.Module):
    """nn.TransformerEncoderLayer with GELU, in eval mode."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = Attention(width, heads)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) -> the same."""
        x = self.first(x + self.attention(x))
        return self.second(x + self.mlp(x))


class Transformer(nn.Module):
    """Each row of the image is a token; 2 layers of 4 heads, the mean of the tokens is classified."""

    def __init__(self, width: int = 64, heads: int = 4):
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(0.1 * torch.randn(1, 8, width))
        self.layers = nn.Sequential(EncoderLayer(width, heads), EncoderLayer(width, heads))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, 8, 8) -> (batch, 10)."""
        tokens = self.embed(x.reshape(-1, 8, 8)) + self.position
        return self.head(self.layers(tokens).mean(1))


class GRU(nn.Module):
    """5 steps, each of which reads four rows of the image, the next ones a row further down."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.width = width
        self.reset_x, self.update_x, self.new_x = (nn.Linear(32, width) for _ in range(3))
        self.reset_h, self.update_h, self.new_h = (nn.Linear(width, width) for _ in range(3))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, 8, 8) -> (batch, 10)."""
        pixels = x.flatten(1)
        hidden = torch.tanh(self.new_x(pixels[:, :32])) * torch.sigmoid(self.update_x(pixels[:, :32]))
        for step in range(1, 5):
            here = pixels[:, 8 * step : 8 * step + 32]
            reset = torch.sigmoid(self.reset_x(here) + self.reset_h(hidden))
            update = torch.sigmoid(self.update_x(here) + self.update_h(hidden))
            new = torch.tanh(self.new_x(here) + reset * self.new_h(hidden))
            hidden = new + update * (hidden - new)
        return self.head(hidden)


class Squeeze(nn.Module):
    """Channels times gates that depend on the means of all channels (squeeze and excitation)."""

    def __init__(self, channels: int):
        super().__init__()
        self.squeeze, self.excite = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same."""
        gates = torch.sigmoid(self.excite(self.act(self.squeeze(x.mean((2, 3))))))
        return x * gates.unsqueeze(2).unsqueeze(3)


class Inverted(nn.Module):
    """The block of EfficientNet: expansion, depthwise convolution, gates, projection; a residual where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int = 4):
        super().__init__()
        wide = expansion * inputs
        self.skips = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.SiLU(),
            Squeeze(wide), nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, ...)."""
        return x + self.body(x) if self.skips else self.body(x)


class Gated(nn.Sequential):
    """Two blocks of EfficientNet behind a convolution, with stride 2 in the first and a residual in the second."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3, 1, 1), nn.SiLU(), Inverted(4, 8, 2), Inverted(8, 8, 1),
            nn.Flatten(), nn.Linear(128, 10),
        )


NETWORKS: dict[str, type[nn.Module]] = {"transformer": Transformer, "gru": GRU, "gated": Gated}


def trained(name: str, seed: int) -> nn.Module:
    """A network of NETWORKS in eval mode, trained by Adam on the cross-entropy of noisy digits."""
    x, y = digits("train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = NETWORKS[name]()
        optimiser = torch.optim.Adam(module.parameters(), 3e-3, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, EPOCHS[name] * -(-len(x) // BATCH))
        for _ in range(EPOCHS[name]):
            for index in torch.randperm(len(x)).split(BATCH):
                noisy = x[index] + 0.1 * torch.randn_like(x[index])
                optimiser.zero_grad()
                nn.functional.cross_entropy(module(noisy), y[index]).backward()
                optimiser.step()
                schedule.step()
    return module.eval().requires_grad_(False)
