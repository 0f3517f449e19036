"""Small random problems that mix all families, and their largest violation by a grid and ever smaller boxes.

A graph has 2 to 4 inputs and a handful of nodes of at most four entries, drawn in turn among affine maps, piecewise
linear functions, curves, jumps, maxima, products and compositions. What leaves the domain of a curve is clipped first,
and values are scaled to a range of a few units, so that the maximum of a curve over the box can be found by sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import torch
from torch import Tensor

from verify.ir.builder import GraphBuilder
from verify.ir.compose import Composer
from verify.ir.graph import Network
from verify.ops import (
    ELU,
    GELU,
    Abs,
    Add,
    Atan,
    Ceil,
    Clip,
    Cos,
    Erf,
    Exp,
    Floor,
    HardSwish,
    LeakyReLU,
    Linear,
    Log,
    Max,
    Mish,
    Op,
    ReLU,
    RoundToEven,
    Sigmoid,
    Sin,
    Softplus,
    Softsign,
    Swish,
    Tanh,
    TanhGELU,
)
from verify.ops.steps import shrink, sign
from verify.problem import Problem
from verify.sets import Box
from verify.spec import Specification

LARGEST = 3.0  # the size of a value over sampled inputs, beyond which it is scaled down to it
SAMPLES = 2000
GRID = {2: 121, 3: 25, 4: 12}  # points along each axis
KEPT, ROUNDS, AROUND, SHRINK = 24, 60, 60, 0.7  # best points, boxes around them, points in each, and the next's size
PIECEWISE: tuple[Op, ...] = (ReLU(), Abs(), LeakyReLU(Fraction(1, 8)), Clip(Fraction(-1, 2), Fraction(1)))
CURVES: tuple[Op, ...] = (
    Sin(), Cos(), GELU(), TanhGELU(), Sigmoid(), Tanh(), Softplus(), Erf(), Atan(), Softsign(), HardSwish(), Mish(),
    Swish(Fraction(1)), ELU(Fraction(1), Fraction(1), Fraction(1)),
)  # fmt: skip
JUMPS: tuple[Op, ...] = (Floor(), Ceil(), RoundToEven(), sign(), shrink(Fraction(1, 2), Fraction(1, 4)))
EXPONENTS = ("2", "3", "-1", "-2", "1/2", "-1/2", "5/2")


class Mixer:
    """A graph of vectors under construction, with the values that it has at sampled inputs."""

    def __init__(self, seed: int, dtype: torch.dtype):
        self.rng = np.random.default_rng(seed)
        n = int(self.rng.integers(2, 5))
        self.low = self.rng.uniform(-1.5, 0.5, n).round(2)
        self.high = self.low + self.rng.choice([0.1, 0.5, 1.0, 2.0], n)
        self.builder = GraphBuilder("x", (n,), dtype)
        self.compose = Composer(self.builder, "mixed")
        x = self.rng.uniform(self.low, self.high, (SAMPLES, n))
        self.samples = torch.from_numpy(x)
        self.names, self.kinds = ["x"], set[str]()

    def size(self, name: str) -> float:
        """The largest entry at the samples."""
        network = self.builder.finish(name).double()
        return float(network(self.samples).abs().max()) if name != "x" else 1.0

    def value(self) -> str:
        """A value, mostly a late one."""
        late = self.names[-2:]
        return str(self.rng.choice(late if self.rng.random() < 0.7 else self.names))

    def constant(self, *shape: int) -> str:
        values = torch.from_numpy(self.rng.standard_normal(shape).astype(np.float32)).to(self.builder.dtype)
        return self.builder.parameter("constant", values)

    def linear(self, name: str, count: int | None = None) -> str:
        """A random affine map of a value to so many entries, by default 2 to 4."""
        count = int(self.rng.integers(2, 5)) if count is None else count
        weight = self.constant(count, self.builder.shapes[name][0])
        return self.builder.add("linear", Linear(), (name,), (weight, self.constant(count)))

    def two(self) -> tuple[str, str]:
        """Two values of one length."""
        first = self.value()
        second = self.value()
        size = self.builder.shapes[first]
        return first, second if self.builder.shapes[second] == size else self.linear(second, size[0])

    def clipped(self, low: str, high: str) -> str:
        return self.builder.add("clip", Clip(Fraction(low), Fraction(high)), (self.value(),))

    def positive(self) -> str:
        """A value of at least 1/4, by a clip or a square."""
        if self.rng.random() < 0.5:
            return self.clipped("1/4", "4")
        return self.compose.shift(self.compose.power(self.value(), Fraction(2)), 0.25)

    def pick(self, ops: tuple[Op, ...]) -> str:
        return self.builder.add("node", ops[self.rng.integers(len(ops))], (self.value(),))

    def grow(self, kind: str) -> None:
        """One more value of a family, scaled down where it is large."""
        made = FAMILIES[kind](self)
        size = self.size(made)
        if size > LARGEST:
            made = self.compose.scale(made, float(np.float32(LARGEST / size)))
        self.names.append(made)
        self.kinds.add(kind)


def _power(m: Mixer) -> str:
    exponent = Fraction(str(m.rng.choice(EXPONENTS)))
    is_whole = exponent > 0 and exponent.denominator == 1
    return m.compose.power(m.value() if is_whole else m.positive(), exponent)


def _maximum(m: Mixer) -> str:
    x = m.value()
    groups = m.rng.integers(0, m.builder.shapes[x][0], (int(m.rng.integers(2, 4)), 2))
    return m.builder.add("max", Max(), (x,), (m.builder.parameter("groups", torch.from_numpy(groups)),))


def _quotient(m: Mixer) -> str:
    below = m.positive()
    x = m.value()
    count = m.builder.shapes[below][0]
    return m.compose.quotient(x if m.builder.shapes[x] == (count,) else m.linear(x, count), below)


def _matrices(m: Mixer) -> str:
    """(2, 2) by (2, 1), of two linear maps."""
    left, right = m.linear(m.value(), 4), m.linear(m.value(), 2)
    made = m.compose.matrix_product(m.compose.reshape(left, (2, 2)), m.compose.reshape(right, (2, 1)))
    return m.compose.reshape(made, (2,))


FAMILIES: dict[str, Callable[[Mixer], str]] = {
    "affine": lambda m: m.linear(m.value()),
    "piecewise": lambda m: m.pick(PIECEWISE),
    "curve": lambda m: m.pick(CURVES),
    "exponential": lambda m: m.builder.add("exp", Exp(), (m.clipped("-3", "3/2"),)),
    "logarithm": lambda m: m.builder.add("log", Log(), (m.positive(),)),
    "power": _power,
    "jump": lambda m: m.pick(JUMPS),
    "maximum": _maximum,
    "product": lambda m: m.compose.product(*m.two()),
    "matrices": _matrices,
    "quotient": _quotient,
    "softmax": lambda m: m.compose.softmax(m.value(), 0),
    "log_softmax": lambda m: m.compose.log_softmax(m.value(), 0),
    "normalised": lambda m: m.compose.normalised(m.linear(m.value()), (0,), 0.05),
    "root_mean_square": lambda m: m.compose.root_mean_square(m.value(), (0,), 0.05),
    "sum": lambda m: m.builder.add("sum", Add((1, -1)), m.two()),
}


def mixed_network(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Network, Box, set[str]]:
    """A network of four to six families with two outputs, the box of its inputs, and what families were drawn."""
    m = Mixer(seed, dtype)
    m.names.append(m.linear("x"))
    for kind in m.rng.permutation(list(FAMILIES))[: m.rng.integers(4, 7)]:
        m.grow(str(kind))
    last = m.linear(m.builder.add("sum", Add((1, 1)), m.two()), 2)
    low, high = (torch.from_numpy(end)[None].to(dtype) for end in (m.low, m.high))
    return m.builder.finish(last), Box(low, high), m.kinds


def mixed_problem(seed: int, dtype: torch.dtype = torch.float64) -> Problem:
    """One case with two rows of outputs and inputs, each a disjunct of its own or both one."""
    network, box, _ = mixed_network(seed, dtype)
    noise = torch.Generator().manual_seed(seed)
    rows = torch.randn((1, 2, 2), generator=noise).to(dtype)
    direct = torch.randn((1, 2, box.low.shape[1]), generator=noise).to(dtype) if seed % 3 == 0 else None
    disjunct = torch.zeros((1, 2), dtype=torch.long) if seed % 4 == 0 else torch.arange(2)[None]
    spec = Specification(rows, torch.zeros((1, 2), dtype=dtype), disjunct, torch.ones((1, 2), dtype=torch.bool), direct)
    return Problem(network, box, spec, torch.tensor([0]), 1)


def violations(problem: Problem, x: Tensor) -> Tensor:
    """The violation of the only case at points (n, inputs), in float64."""
    wide = problem.in_float64
    spec = wide.spec.select(torch.zeros(len(x), dtype=torch.long))
    return spec.violation(x, wide.network(x))


def largest(problem: Problem, seed: int = 0) -> float:
    """The largest violation of the only case that a grid and ever smaller boxes about its best points find."""
    rng = torch.Generator().manual_seed(seed)
    low, high = problem.in_float64.inputs.low[0], problem.in_float64.inputs.high[0]
    n = len(low)
    axes = [torch.linspace(0, 1, GRID[n], dtype=torch.float64)] * n
    shares = torch.cartesian_prod(*axes)
    x = torch.lerp(low, high, shares)
    values = violations(problem, x)
    top = values.topk(KEPT)
    best, found = x[top.indices], top.values
    radius = (high - low) / GRID[n] * 2
    for _ in range(ROUNDS):
        noise = 2 * torch.rand((KEPT, AROUND, n), generator=rng, dtype=torch.float64) - 1
        near = (best[:, None] + radius * noise).maximum(low).minimum(high)
        values, place = violations(problem, near.reshape(-1, n)).reshape(KEPT, AROUND).max(1)
        better = values > found
        found = torch.where(better, values, found)
        best = torch.where(better[:, None], near[torch.arange(KEPT), place], best)
        radius = radius * SHRINK
    return float(found.max())


def points_of(low: Tensor, high: Tensor, count: int, seed: int) -> Tensor:
    """The corners and so many random points of boxes (n, inputs); (n, points, inputs)."""
    rng, n = torch.Generator().manual_seed(seed), low.shape[1]
    corners = torch.tensor(list(product((0.0, 1.0), repeat=n)), dtype=low.dtype)
    shares = torch.cat([corners, torch.rand((count, n), generator=rng, dtype=low.dtype)])
    return torch.lerp(low[:, None], high[:, None], shares).maximum(low[:, None]).minimum(high[:, None])
