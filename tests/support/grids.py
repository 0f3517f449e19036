"""Networks whose largest output over a box lies between the levels of a grid, and that over the grid by brute force."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

import verify
from verify.ir.graph import Network
from verify.problem import Problem


def image(whole: list[int], levels: int) -> Tensor:
    """What dividing whole numbers in float32 gives, by NumPy; (1, n)."""
    return torch.from_numpy(np.array([whole], np.float32) / np.float32(levels))


def tents(levels: int, inputs: int, seed: int, height: float = 1.0) -> Network:
    """y_0 = 0 and y_1 = mixed sums of tents that peak between two levels; y_1 is negative at all levels for a height of
    at most 2, and positive between them somewhere. All weights are dyadic for dyadic levels."""
    rng = np.random.default_rng(seed)
    first, second = nn.Linear(inputs, 3 * inputs), nn.Linear(3 * inputs, 2)
    peaks = rng.integers(2, levels - 2, inputs) + 0.5
    with torch.no_grad():
        first.weight.zero_()
        second.weight.zero_()
        for i, peak in enumerate(peaks):  # relu(u + 1) - 2 relu(u) + relu(u - 1), u = 2 (levels x - peak)
            for k, (shift, factor) in enumerate([(1, 1), (0, -2), (-1, 1)]):
                first.weight[3 * i + k, i] = 2 * levels
                first.bias[3 * i + k] = shift - 2 * float(peak)
                second.weight[1, 3 * i + k] = factor * height
        second.bias.zero_()
        second.bias[1] = -inputs * height / 2
    return verify.trace(nn.Sequential(first, nn.ReLU(), second).eval(), torch.zeros(1, inputs))


def dense(inputs: int, seed: int) -> Network:
    """Two hidden layers with random weights."""
    source = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(inputs, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for part in model.parameters():
            part.copy_(torch.randn(part.shape, generator=source) * (0.8 if part.dim() > 1 else 0.3))
    return verify.trace(model.eval(), torch.zeros(1, inputs))


def brute(problem: Problem, levels: int) -> Fraction | float:
    """The largest violation of one case over all points of its grid: in float64 over the rationals' nearest floats."""
    low, high = (end[0].reshape(-1) for end in problem.inputs.exact_box())
    ranges = [range(int(a * levels), int(b * levels) + 1) for a, b in zip(low, high, strict=True)]
    points = torch.tensor(list(product(*ranges)), dtype=torch.float64) / levels
    return float(problem.in_float64.select(torch.zeros(len(points), dtype=torch.long)).violation(points).max())
