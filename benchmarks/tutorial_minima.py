"""The nine published minima of (logit 7 - logit t) for a small MNIST network, by MILP.

    python benchmarks/tutorial_minima.py [../shared]

Network and image are those of the tutorial "Adversarial Robustness: Theory and Practice" (Kolter and Madry), chapter
on combinatorial verification: Linf radius 0.05 around test image 0. The published figures are those of the ball met
with the pixel range [0, 1]; without that clip the minimum for class 3 is -3.059, and a gradient attack reaches -2.8.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

import verify

PUBLISHED = {0: 5.810, 1: 10.836, 2: 2.0393, 3: 0.01887, 4: 13.528, 5: 5.146, 6: 20.454, 8: 3.543, 9: 4.274}


def network(shared: Path) -> verify.Network:
    """Flatten, 784-50-20-10 with ReLU."""
    relu = torch.nn.ReLU
    layers = torch.nn.Linear(784, 50), relu(), torch.nn.Linear(50, 20), relu(), torch.nn.Linear(20, 10)
    model = torch.nn.Sequential(torch.nn.Flatten(), *layers)
    model.load_state_dict(load_file(shared / "data/tutorial/model_small.safetensors"))
    return verify.trace(model.eval(), torch.zeros(1, 1, 28, 28))


def first_image(shared: Path) -> torch.Tensor:
    """MNIST test image 0, a 7; (1, 1, 28, 28)."""
    with gzip.open(shared / "data/mnist/t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 784), dtype=np.uint8, offset=16)
    return torch.tensor(pixels.reshape(1, 1, 28, 28) / 255, dtype=torch.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="The nine published minima of a small MNIST network, by MILP.")
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="data/tutorial and data/mnist")
    shared = parser.parse_args().shared
    net, x = network(shared), first_image(shared)
    total = 0.0
    print("target  published   bound       witness     nodes  seconds")
    for target, published in PUBLISHED.items():
        found = verify.solve(verify.robustness(net, x, [7], 0.05, target=target), verify.MILP())
        seconds = float(str(found.notes["seconds"]))
        total += seconds
        bound, witness = -found.upper.item(), -found.lower.item()
        figures = f"{published:<10}  {bound:<10.5f}  {witness:<10.5f}"
        print(f"{target:6}  {figures}  {found.notes['nodes']:5}  {seconds:7.1f}")
    print(f"total {total:.1f} s")


if __name__ == "__main__":
    main()
