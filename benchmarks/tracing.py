"""How long a torch module takes to be read, with torch's decomposition to core operators and without.

    python benchmarks/tracing.py

Seconds of the processor, the least of five; the first call in a process imports parts of torch and is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from unittest.mock import patch

import torch
from attacks import resnet50
from torch import nn

import verify
from verify.ir import torch_export

Case = tuple[str, Callable[[], nn.Module], tuple[int, ...]]
CASES: tuple[Case, ...] = (
    ("digits-dense", lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 10)), (1, 8, 8)),
    ("digits-conv", lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(),
        nn.Flatten(), nn.Linear(128, 10)), (1, 8, 8)),
    ("resnet50", resnet50, (3, 64, 64)),
)


def seconds(module: nn.Module, x: torch.Tensor) -> float:
    start = process_time()
    verify.trace(module, x)
    return process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    for name, make, shape in CASES:
        module, x, times = make().eval(), torch.rand(1, *shape), list[tuple[float, float]]()
        for _ in range(6):
            with patch.object(torch_export, "write_out", return_value=False):
                before = seconds(module, x)
            times.append((before, seconds(module, x)))
        before, now = (min(part) for part in zip(*times[1:], strict=True))
        print(f"{name:14} {before:.3f} s by torch's decomposition, {now:.3f} s without, ratio {now / before:.2f}")


if __name__ == "__main__":
    main()
