"""One perturbation of many samples: fooling rates, the certified upper bound, and single-sample answers beside it.

    python benchmarks/universal.py [../shared] [--limit 10] [--counts 5 20 50]

Networks are a linear classifier of MNIST, trained here in two epochs, and the small ReLU network of the tutorial
"Adversarial Robustness: Theory and Practice"; samples are the first test images. Of the linear network single-sample
answers are known in closed form, margin + eps ||w||_1 >= 0, and have to agree.
"""

from __future__ import annotations

import argparse
import gzip
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import verify

EPS = {"linear": ("0.02", "0.03", "0.04", "0.05", "0.06"), "small": ("0.01", "0.015", "0.02", "0.025", "0.03")}


def images(shared: Path, part: str) -> tuple[Tensor, Tensor]:
    """(x (n, 1, 28, 28), y (n,)) of MNIST, "t10k" or "train"."""
    with gzip.open(shared / f"data/mnist/{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(shared / f"data/mnist/{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), dtype=np.uint8, offset=8)
    return torch.from_numpy(pixels.astype(np.float32) / 255), torch.from_numpy(labels.astype(np.int64))


def linear(shared: Path) -> nn.Sequential:
    """A linear classifier, two epochs of stochastic gradients."""
    x, y = images(shared, "train")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        for part in torch.randperm(len(x)).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[part]), y[part]).backward()
            optimiser.step()
    return model


def small(shared: Path) -> nn.Sequential:
    """Flatten, 784-50-20-10 with ReLU."""
    layers = nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 20), nn.ReLU(), nn.Linear(20, 10)
    model = nn.Sequential(nn.Flatten(), *layers)
    model.load_state_dict(load_file(shared / "data/tutorial/model_small.safetensors"))
    return model


def fooled_alone(model: nn.Sequential, x: Tensor, eps: str) -> int:
    """How many samples a perturbation of their own fools, of a linear classifier: in closed form."""
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    outputs = x.flatten(1).double() @ weight.T + bias
    y = outputs.argmax(1)
    reach = (weight[None] - weight[y][:, None]).abs().sum(2) * float(Fraction(eps))
    worst = outputs - outputs.gather(1, y[:, None]) + reach
    return int((worst.scatter(1, y[:, None], -torch.inf).amax(1) >= 0).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description="One perturbation of many samples: fooling rates and upper bounds.")
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="data/tutorial and data/mnist")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds for each upper bound")
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 20, 50], help="numbers of samples")
    asked = parser.parse_args()
    if not (asked.shared / "data/tutorial").is_dir():
        print(f"skipped: {asked.shared} holds no data/tutorial; name the folder that has it")
        return
    x, _ = images(asked.shared, "t10k")
    print("network    k   eps    UAP  SGD-UAP  one fools  at most  own fool  rigour  new images  seconds")
    closed, tighter = 0, 0
    for name, model in (("linear", linear(asked.shared)), ("small", small(asked.shared))):
        network = verify.trace(model.eval(), x[:1])
        for k in asked.counts:
            for eps in EPS[name]:
                start = time.process_time()
                methods = [verify.UAP(), verify.StochasticUAP(), verify.UAPBound(asked.limit)]
                found = verify.universal(network, x[:k], eps=eps, methods=methods)
                assert name != "linear" or found.single == (fooled_alone(model, x[:k], eps),) * 2, found.single
                closed, tighter = closed + found.closed, tighter + (found.upper < found.single[0])
                counts = [found.methods[method].count for method in ("UAP", "SGD-UAP")]
                own = "-".join(map(str, dict.fromkeys(found.single)))
                print(f"{name:8} {k:3}  {eps:6} {counts[0]:3} {counts[1]:8} {found.lower:10} {found.upper:8} {own:>9}  "
                      f"{found.rigour:6} {100 * found.fooling_rate(x[1000:2000]):9.1f} % "
                      f"{time.process_time() - start:8.1f}", flush=True)
    print(f"closed: {closed}; upper bound below the single-sample answers: {tighter}")


if __name__ == "__main__":
    main()
