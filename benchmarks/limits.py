"""Whether limits of time hold: asked and taken, for every method on networks from small to 100,000 neurons.

Each network is random and made anew with a fixed seed, and an instance of it is decided as `verify vnnlib` does, from
reading its files to the proof. With --processor all clocks count processor time, as if nothing else ran on the machine;
only the solvers' own limits stay those of the clock on the wall. A row is over where more is taken than 1.2 times what
was asked and half a second.

    python benchmarks/limits.py [--processor] [--limits 2,10] [--methods ...] [--networks ...]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

METHODS = ("pgd", "interval", "crown", "alpha", "lp", "convex", "sdp", "milp", "pulp", "bab", "bab --proof")
SLACK = 0.5


class Residual(nn.Module):
    """x + f(x), f of two convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def dense(*sizes: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    """Linear layers with an activation between them, on flattened inputs."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def maps(channels: tuple[int, ...], strides: tuple[int, ...], extent: int, pool: bool = False) -> nn.Module:
    """3 x 3 convolutions over square images of this extent, with maximum pooling or not, and a linear layer."""
    layers: list[nn.Module] = []
    for (before, after), stride in zip(pairwise(channels), strides, strict=True):
        layers += [nn.Conv2d(before, after, 3, stride, 1), nn.ReLU()]
        extent = -(-extent // stride)
    if pool:
        layers, extent = [*layers, nn.MaxPool2d(2)], extent // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * extent**2, 10))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "small": (lambda: dense(5, 50, 50, 50, 5), (1, 5), 0.1),
    "narrow": (lambda: dense(30, 100, 100, 10), (1, 30), 0.05),
    "deep": (lambda: dense(784, *[512] * 6, 10), (1, 1, 28, 28), 0.02),
    "wide": (lambda: dense(784, 4096, 4096, 10), (1, 1, 28, 28), 0.01),
    "sigmoid": (lambda: dense(784, 500, 500, 10, activation=nn.Sigmoid), (1, 1, 28, 28), 0.03),
    "tanh maps": (lambda: nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.Tanh(), dense(3136, 100, 10)), (1, 1, 28, 28),
                  0.03),
    "maps": (lambda: maps((3, 16, 32), (2, 2), 32), (1, 3, 32, 32), 0.01),
    "pooled": (lambda: maps((1, 8, 16), (1, 1), 28, pool=True), (1, 1, 28, 28), 0.02),
    "residual": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), Residual(16), Residual(16), nn.Flatten(),
                                       nn.Linear(4096, 10)), (1, 3, 32, 32), 0.01),
    "large maps": (lambda: maps((3, 32, 32, 64, 64), (1, 2, 1, 2), 32), (1, 3, 32, 32), 0.03),
    "deep maps": (lambda: maps((3, 16, 16, 16, 16, 16, 16), (1, 1, 1, 1, 1, 1), 32), (1, 3, 32, 32), 0.01),
    "100,000": (lambda: maps((3, 24, 24, 24, 24), (1, 1, 1, 1), 33), (1, 3, 33, 33), 0.01),
}


def written(name: str, folder: Path) -> tuple[Path, Path]:
    """The model and a property that is hard to decide: output j above output k by more than it is at the center."""
    make, shape, eps = NETWORKS[name]
    torch.manual_seed(0)
    module, x = make().eval(), torch.rand(shape)
    with torch.no_grad():
        y = module(x)[0]
    k, j = int(y.argmax()), int(y.argmin())
    model, prop = folder / f"{name}.onnx", folder / f"{name}.vnnlib"
    torch.onnx.export(module, (x,), str(model), dynamo=False)
    lines = [f"(declare-const {v}_{i} Real)" for v, n in (("X", x.numel()), ("Y", len(y))) for i in range(n)]
    ends = (x.flatten() - eps).clamp(0, 1).tolist(), (x.flatten() + eps).clamp(0, 1).tolist()
    for i, (low, high) in enumerate(zip(*ends, strict=True)):
        lines += [f"(assert (>= X_{i} {low:.6f}))", f"(assert (<= X_{i} {high:.6f}))"]
    lines.append(f"(assert (>= Y_{j} (+ Y_{k} 0.2)))")
    prop.write_text("\n".join(lines) + "\n")
    return model, prop


def taken(model: Path, prop: Path, method: str, limit: float) -> tuple[str, float, float]:
    """(answer, seconds on the wall, processor seconds) of one instance."""
    from verify.runs.competition.decide import decide
    from verify.runs.options import entries_of

    name, *proof = method.split()
    wall, cpu = time.monotonic(), time.process_time()
    found = decide(model, prop, entries_of(name), limit, proof="R" if proof else None)
    answer = f"{found.answer}: {found.reason}" if found.reason else str(found.answer)
    return answer, time.monotonic() - wall, time.process_time() - cpu


def main() -> None:
    """Prints one line a network, method and limit, and at the end which are over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processor", action="store_true")
    parser.add_argument("--limits", default="2,10")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--networks", default=";".join(NETWORKS))
    asked = parser.parse_args()
    if asked.processor:
        time.perf_counter = time.process_time
    torch.set_num_threads(1)
    late = []
    print("| network | method | asked s | wall s | cpu s | answer |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.networks.split(";"):
            files = written(name, Path(folder))
            for method in asked.methods.split(","):
                for limit in map(float, asked.limits.split(",")):
                    answer, wall, cpu = taken(*files, method, limit)
                    row = f"| {name} | {method} | {limit:g} | {wall:.2f} | {cpu:.2f} | {answer[:100]} |"
                    print(row, flush=True)
                    late += [row] if (cpu if asked.processor else wall) > 1.2 * limit + SLACK else []
    print(f"\n{len(late)} over", *late, sep="\n")


if __name__ == "__main__":
    main()
