"""Perturbations with few parameters on MNIST: attacked and certified accuracy, beside a dense grid of parameters.

    python benchmarks/fronts.py ../shared --samples 100 --seconds 8

The first test images and the tutorial's network of three layers, 784-50-20-10. Attacked are the images that PGD over
the parameters leaves, certified those of which the checker accepts a certificate. The grid is an oracle of both: the
violation of its worst point must not lie above what a certificate proves, in float64, and what it falsifies no
certificate may cover. Exits with 1 where that fails; without the data it says so and ends.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from exact_check import tutorial

import verify
from verify.data import load_data
from verify.fronts import Perturbation, perturbation_of, perturbed
from verify.ir.graph import Network
from verify.problem import Problem

TEXTS = ("brightness:0.1", "blur:1", "rotation:5deg", "translation:2")
GRID = {1: 401, 2: 41}  # points an axis, by the number of parameters
TOGETHER = 256  # points evaluated at once


def worst(problem: Problem, found: Perturbation, shape: tuple[int, ...]) -> float:
    """The largest violation of one sample on the grid, in float64."""
    ranges, wide = found.ranges(shape), problem.in_float64
    axes = [np.linspace(float(low), float(high), GRID[len(ranges.low)])
            for low, high in zip(ranges.low, ranges.high, strict=True)]
    theta = torch.tensor([*itertools.product(*axes)], dtype=torch.float64)
    pixels, top = wide.inputs.low[:1, : -theta.shape[1]], -torch.inf
    for part in theta.split(TOGETHER):
        points = torch.cat([pixels.expand(len(part), -1), part], 1)
        many = wide.select(torch.zeros(len(part), dtype=torch.long))
        top = max(top, float(many.violation(points).max()))
    return top


def row(network: Network, text: str, x: torch.Tensor, y: torch.Tensor, seconds: float) -> bool:
    """Prints the figures of one perturbation; whether the grid agrees with them."""
    found, right = perturbation_of(text), (network(x).argmax(1) == y).nonzero().flatten()
    whole = perturbed(network, x[right], y[right], found)
    left = (verify.solve(whole, verify.PGD()).lower < 0).nonzero().flatten()
    certified, beaten, spent, slack, robust = 0, 0, [], [], 0
    for k in left.tolist():
        problem, start = whole.select(torch.tensor([k])), time.process_time()
        proof = verify.prove(problem, seconds=seconds)
        spent.append(time.process_time() - start)
        top = worst(problem, found, network.input_shape)
        robust += top < 0
        if proof.certificate is not None:
            certified += 1
            bound = proof.report.margins["R"]
            beaten += top > bound
            slack.append(bound - top)
    share = [100 * n / len(x) for n in (len(right), len(left), robust, certified)]
    times = f"{statistics.median(spent):.1f} | {sum(spent):.0f}" if spent else "- | -"
    least = f"{min(slack):.2e}" if slack else "-"
    print(f"| {text} | {' | '.join(f'{n:.0f} %' for n in share)} | {beaten} | {least} | {times} |", flush=True)
    return not beaten


def main() -> None:
    parser = argparse.ArgumentParser(description="perturbations of MNIST images, certified beside a grid")
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="data/mnist and data/tutorial")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8.0, help="for the certificate of one image")
    parser.add_argument("--perturbations", nargs="+", default=TEXTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = given.shared / "data" / "mnist" / "t10k-images-idx3-ubyte.gz"
    if not images.is_file():
        print(f"{images} is not there: put the MNIST test images there to run this")
        return
    data, network = load_data(str(images), given.samples), tutorial(given.shared)
    x = data.x.reshape(-1, 1, 28, 28)
    print("| perturbation | clean | attacked | grid | certified | beaten | least slack | median s | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    agree = [row(network, text, x, data.y, given.seconds) for text in given.perturbations]
    print("no point of a grid beats a certificate" if all(agree) else "A POINT OF A GRID BEATS A CERTIFICATE")
    sys.exit(not all(agree))


if __name__ == "__main__":
    main()
