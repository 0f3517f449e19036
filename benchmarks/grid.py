"""The largest violation of any image of 8 bits around MNIST images, by branch and bound, by MILP and by brute force.

    python benchmarks/grid.py [../shared] [--images 20] [--eps 0.01]

The network is model_small of the tutorial (784-50-20-10). Branch and bound splits the levels of all 784 pixels, MILP
has an integer column for each. Beside it four pixels are free, by 3 levels each, and all 2,401 images are evaluated.
"""

from __future__ import annotations

import argparse
import gzip
from itertools import product
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import torch
from tutorial_minima import network

import verify
from verify.method import Method
from verify.problem import Problem
from verify.sets import Grid

LEVELS, GAP, FREE = 255, 1e-4, 3


def images(shared: Path, count: int) -> torch.Tensor:
    """The first MNIST test images, (count, 1, 28, 28)."""
    with gzip.open(shared / "data/mnist/t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 784 * count), dtype=np.uint8, offset=16)
    return torch.from_numpy(pixels.reshape(count, 1, 28, 28).astype(np.float32) / np.float32(LEVELS))


def timed(problem: Problem, method: Method, seconds: float) -> tuple[float, float, float]:
    """(lower, upper, seconds of the processor) of one problem."""
    start = process_time()
    found = verify.solve(problem, method, seconds)
    return found.lower.item(), found.upper.item(), process_time() - start


def four_free(problem: Problem) -> Problem:
    """The same where four pixels in the middle are free by so many levels, and all others stay."""
    least = (problem.inputs.nominal().double() * LEVELS).round()
    most = least.clone()
    for row, column in product((13, 14), (13, 14)):
        least[..., row, column] = (least[..., row, column] - FREE).clamp(min=0)
        most[..., row, column] = (most[..., row, column] + FREE).clamp(max=LEVELS)
    return Problem(problem.network, Grid(least, most, LEVELS), problem.spec, problem.owner, problem.batch)


def brute(problem: Problem) -> float:
    """The largest violation over all points, in float64."""
    low, high = ((end[0].double() * LEVELS).round().flatten() for end in (problem.inputs.low, problem.inputs.high))
    free = (high > low).nonzero().flatten()
    values = torch.cartesian_prod(*(torch.arange(low[i].item(), high[i].item() + 1).double() for i in free))
    points = low.repeat(len(values), 1)
    points[:, free] = values
    x = (points / LEVELS).reshape(-1, *problem.inputs.shape)
    wide = problem.in_float64.select(torch.zeros(len(x), dtype=torch.long))
    return float(wide.violation(x).max())


def main() -> None:
    parser = argparse.ArgumentParser(description="Branch and bound and MILP over images of 8 bits.")
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="data/tutorial and data/mnist")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--eps", default="0.01")
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    net, x = network(asked.shared), images(asked.shared, asked.images)
    labels = net(x).argmax(1)
    bab, times, differ = verify.BranchAndBound(goal="optimum", gap=GAP), [], []
    print("image  box upper  grid bab lower..upper   milp lower..upper    seconds bab milp")
    for i in range(asked.images):
        box = timed(verify.robustness(net, x[i : i + 1], labels[i : i + 1], asked.eps), bab, asked.seconds)
        problem = verify.robustness(net, x[i : i + 1], labels[i : i + 1], asked.eps, grid=LEVELS)
        ours, milp = timed(problem, bab, asked.seconds), timed(problem, verify.MILP(), asked.seconds)
        four = four_free(problem)
        every, few = brute(four), timed(four, verify.BranchAndBound(goal="optimum", gap=1e-6), asked.seconds)
        times.append((ours[2], milp[2]))
        differ.append((abs(ours[1] - milp[1]), abs(few[1] - every), abs(few[0] - every)))
        print(f"{i:5}  {box[1]:.5f}  {ours[0]:.5f}..{ours[1]:.5f}  {milp[0]:.5f}..{milp[1]:.5f}  "
              f"{ours[2]:.2f} {milp[2]:.2f}  four pixels {few[0]:.6f}..{few[1]:.6f} all {every:.6f}", flush=True)
    whole, above, below = (max(part) for part in zip(*differ, strict=True))
    print(f"largest difference of upper ends, bab and milp: {whole:.2g} (gap {GAP:g})")
    print(f"largest difference from all images of four pixels: {above:.2g} above, {below:.2g} below")
    print(f"median seconds: bab {median(a for a, _ in times):.2f}, milp {median(b for _, b in times):.2f}")


if __name__ == "__main__":
    main()
