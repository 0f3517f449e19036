"""Small random networks for tests of bounds."""

from __future__ import annotations

import torch
from torch import nn

from verify.ir.graph import Network
from verify.ir.torch_export import trace


def seeded(module: nn.Module, seed: int) -> nn.Module:
    """The module in eval mode with random parameters of a fixed seed; batch-norm statistics become random as well."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            fan = p[0].numel() if p.dim() > 1 else 4
            p.copy_(torch.randn(p.shape, generator=generator) / fan**0.5)
        for name, b in module.named_buffers():
            if name.endswith("running_var"):
                b.copy_(torch.rand(b.shape, generator=generator) + 0.5)
    return module.eval()


class Residual(nn.Module):
    """Two convolution branches of different reach, summed: windows of two sizes meet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.deep = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1))
        self.short = nn.Conv2d(4, 6, 1, 2)
        self.head = nn.Linear(6 * 4 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.deep(x) + self.short(x))
        return self.head(x.flatten(1))


def nets(seed: int = 0) -> dict[str, Network]:
    """Networks of every family, by name."""
    modules = {
        "dense": (nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)), (6,)),
        "conv": (
            nn.Sequential(
                nn.Conv2d(2, 3, 4, 2, 1), nn.ReLU(), nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 12),
                nn.ReLU(), nn.Linear(12, 3),
            ),
            (2, 8, 8),
        ),
        "residual": (Residual(), (2, 8, 8)),
        "pooled": (
            nn.Sequential(
                nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.LeakyReLU(0.1), nn.AvgPool2d(2),
                nn.Flatten(), nn.Linear(4, 3),
            ),
            (1, 8, 8),
        ),
        "smooth": (nn.Sequential(nn.Linear(5, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)), (5,)),
        "clipped": (nn.Sequential(nn.Linear(5, 9), nn.Hardtanh(), nn.Linear(9, 9), nn.ReLU6(), nn.Linear(9, 3)), (5,)),
    }
    return {name: trace(seeded(m, seed), torch.zeros(1, *shape)) for name, (m, shape) in modules.items()}
