"""The checker in rationals beside the checker in outward-rounded float64, on the same certificates.

    python benchmarks/exact_check.py ../shared --samples 3

Certificates of the bundled digits networks and of the tutorial's small network on MNIST images: both must accept, and
the rounded margin must lie above the exact one by at most 1e-9 of it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from verify.models import digits

import verify
from verify.check.checker import check
from verify.data import load_data
from verify.ir.graph import Network
from verify.problem import Problem

NETWORKS = {"digits-dense-plain": "1/50", "digits-dense-interval": "1/20", "digits-conv-interval": "1/20"}
TOLERANCE = 1e-9  # relative


def tutorial(shared: Path) -> Network:
    """784-50-20-10, as the tutorial trained it."""
    layers = [nn.Flatten(), nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 20), nn.ReLU(), nn.Linear(20, 10)]
    module = nn.Sequential(*layers)
    module.load_state_dict(load_file(shared / "data" / "tutorial" / "model_small.safetensors"))
    return verify.trace(module, torch.zeros(1, 1, 28, 28))


def compare(name: str, problem: Problem) -> bool:
    """Proves one problem and checks it in both arithmetics; whether they agree."""
    proof = verify.prove(problem, seconds=60)
    if proof.certificate is None:
        print(f"| {name} | none: {proof.reason} | | | |")
        return True
    start = time.perf_counter()
    rounded = check(proof.certificate)
    middle = time.perf_counter()
    exact = check(proof.certificate, exact=True)
    seconds = middle - start, time.perf_counter() - middle
    above = rounded.margins["R"] - exact.margins["R"]
    agree = rounded.accepted and exact.accepted and 0 <= above <= TOLERANCE * abs(exact.margins["R"])
    ratio = above / abs(exact.margins["R"])
    print(f"| {name} | {exact.margins['R']:.6g} | {ratio:.1e} | {seconds[0]:.2f} | {seconds[1]:.1f} |", flush=True)
    return agree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"))
    parser.add_argument("--samples", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network, sample | exact margin | rounded above it, relative | rounded s | exact s |")
    print("|---|---|---|---|---|")
    agree, (x, y) = True, digits()
    for name, eps in NETWORKS.items():
        network = verify.load(name)
        for i in range(given.samples):
            problem = verify.robustness(network, x[i : i + 1], y[i : i + 1], eps)
            agree &= compare(f"{name}, {i}", problem)
    images = given.shared / "data" / "mnist" / "t10k-images-idx3-ubyte.gz"
    if images.is_file():
        data, network = load_data(str(images), given.samples), tutorial(given.shared)
        pixels = data.x.reshape(-1, 1, 28, 28)
        for i in range(given.samples):
            problem = verify.robustness(network, pixels[i : i + 1], data.y[i : i + 1], "1/50")
            agree &= compare(f"model_small, {i}", problem)
    print("both agree on all" if agree else "THEY DISAGREE")


if __name__ == "__main__":
    main()
