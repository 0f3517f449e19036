"""Small random graphs over every operator of the registry, every pattern of broadcasting included."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import prod

import numpy as np
import torch
from torch import Tensor

from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.ops import (
    ELU,
    GELU,
    REGISTRY,
    Abs,
    Add,
    Atan,
    AvgPool,
    BatchNorm,
    Ceil,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Cos,
    Divide,
    Erf,
    Exp,
    Floor,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    Linear,
    Log,
    Max,
    Mish,
    Op,
    Permute,
    Power,
    ReLU,
    Reshape,
    RoundToEven,
    Scale,
    Select,
    Shift,
    Sigmoid,
    Sin,
    Softplus,
    Softsign,
    Sum,
    Swish,
    Tanh,
    TanhGELU,
)
from verify.ops.steps import shrink, sign

Shape = tuple[int, ...]
LARGEST = 40  # entries of a value
INPUTS: tuple[Shape, ...] = ((3,), (4,), (2, 3), (3, 3), (1, 3, 3), (2, 2, 3), (3, 3, 2), (2, 2, 2))
# several values of one shape, which Add and Concat need, come of entrywise ops; so these are drawn more often
WEIGHTS = {"Shift": 3, "ReLU": 3, "Scale": 2, "Divide": 2, "Add": 3, "Linear": 2, "Conv": 2}


class Grower:
    """A graph under construction, in float64, whose next node is drawn at random."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.builder = GraphBuilder("x", INPUTS[rng.integers(len(INPUTS))], torch.float64)
        self.last = "x"

    def shape(self, name: str) -> Shape:
        return self.builder.shapes[name]

    def value(self, rank: int | None = None) -> str:
        """A value, mostly the last one, of this rank; a Reshape of it where it has another."""
        names = list(self.builder.shapes)
        name = self.last if self.rng.random() < 0.7 else names[self.rng.integers(len(names))]
        if rank is None or len(self.shape(name)) == rank:
            return name
        return self.add(Reshape(self.factors(prod(self.shape(name)), rank)), (name,))

    def factors(self, entries: int, rank: int) -> Shape:
        """A random shape of this rank with so many entries."""
        shape = []
        for _ in range(rank - 1):
            shape.append(int(self.rng.choice([n for n in range(1, entries + 1) if entries % n == 0])))
            entries //= shape[-1]
        return tuple(int(n) for n in self.rng.permutation([*shape, entries]))

    def numbers(self, *shape: int) -> Tensor:
        """Random floats that float32 holds."""
        return torch.from_numpy(self.rng.standard_normal(shape).astype(np.float32)).double()

    def add(self, op: Op, inputs: tuple[str, ...], *parameters: Tensor) -> str:
        name = type(op).__name__.lower()
        stored = tuple(self.builder.parameter(f"{name}.{i}", t) for i, t in enumerate(parameters))
        self.last = self.builder.add(name, op, inputs, stored)
        return self.last

    def step(self) -> None:
        """One more node, of a kind that is drawn; nothing where its value would be too large."""
        kinds = sorted(GROW)
        odds = np.array([WEIGHTS.get(kind, 1) for kind in kinds], float)
        GROW[str(self.rng.choice(kinds, p=odds / odds.sum()))](self)


def _entrywise(kind: type[Scale] | type[Divide] | type[Shift]) -> Callable[[Grower], object]:
    """Every axis is the value's or of length 1, leading axes may be left out."""
    def grow(g: Grower) -> None:
        x = g.value()
        shape = tuple(int(n) if g.rng.random() < 0.5 else 1 for n in g.shape(x))
        short = shape[g.rng.integers(len(shape) + 1):] if g.rng.random() < 0.5 else shape
        constant = g.numbers(*short)
        if kind is Divide:
            constant = torch.where(constant.abs() < 0.3, constant.sign() + 0.7, constant)
        g.add(kind.broadcast(short, g.shape(x)), (x,), constant)

    return grow


def _linear(g: Grower) -> None:
    x = g.value()
    outputs = int(g.rng.integers(1, 5))
    bias = [g.numbers(outputs)] if g.rng.random() < 0.7 else []
    g.add(Linear(), (x,), g.numbers(outputs, g.shape(x)[-1]), *bias)


def _conv(g: Grower) -> None:
    x = g.value(int(g.rng.integers(2, 4)))
    inputs, *lengths = g.shape(x)
    kernel = [int(g.rng.integers(1, n + 1)) for n in lengths]
    settings = [tuple(int(n) for n in g.rng.integers(low, high, len(lengths))) for low, high in ((1, 3), (0, 2))]
    groups = inputs if g.rng.random() < 0.2 else 1
    outputs = groups * int(g.rng.integers(1, 3))
    bias = [g.numbers(outputs)] if g.rng.random() < 0.7 else []
    one = (1,) * len(lengths)
    if g.rng.random() < 0.7:
        g.add(Conv(settings[0], settings[1], one, groups), (x,), g.numbers(outputs, inputs // groups, *kernel), *bias)
    elif prod(lengths) <= 6:
        op = ConvTranspose(settings[0], (0,) * len(lengths), (0,) * len(lengths), one, groups)
        g.add(op, (x,), g.numbers(inputs, outputs // groups, *kernel), *bias)


def _avg_pool(g: Grower) -> None:
    x = g.value(int(g.rng.integers(2, 4)))
    kernel = tuple(int(g.rng.integers(1, n + 1)) for n in g.shape(x)[1:])
    padding = tuple(int(g.rng.integers(0, k // 2 + 1)) for k in kernel)
    stride = tuple(int(n) for n in g.rng.integers(1, 3, len(kernel)))
    g.add(AvgPool(kernel, stride, padding, bool(g.rng.integers(2)), bool(g.rng.integers(2))), (x,))


def _batch_norm(g: Grower) -> None:
    x = g.value()
    channels = g.shape(x)[0]
    statistics = [g.numbers(channels) for _ in range(3)] + [g.numbers(channels).abs() + 0.1]
    g.add(BatchNorm(1e-5, len(g.shape(x)) - 1), (x,), *statistics)


def _reshape(g: Grower) -> None:
    g.value(int(g.rng.integers(1, 4)))


def _permute(g: Grower) -> None:
    x = g.value()
    g.add(Permute(tuple(int(i) for i in g.rng.permutation(len(g.shape(x))))), (x,))


def _select(g: Grower) -> None:
    x = g.value()
    shape = tuple(int(n) for n in g.rng.integers(1, 4, g.rng.integers(1, 4)))
    g.add(Select(), (x,), torch.from_numpy(g.rng.integers(-1, prod(g.shape(x)), shape)))


def _concat(g: Grower) -> None:
    x = g.value()
    axis = int(g.rng.integers(len(g.shape(x))))
    partner = x if g.rng.random() < 0.3 else g.add(ReLU(), (x,))
    g.add(Concat(axis, (g.shape(x)[axis],) * 2), (x, partner))


def _sum(g: Grower) -> None:
    x = g.value()
    rank = len(g.shape(x))
    axes = tuple(sorted(int(i) for i in g.rng.permutation(rank)[: g.rng.integers(1, rank + 1)]))
    keep = len(axes) == rank or bool(g.rng.integers(2))
    g.add(Sum(axes, keep, bool(g.rng.integers(2))), (x,))


def _add(g: Grower) -> None:
    x = g.value()
    same = [name for name, shape in g.builder.shapes.items() if shape == g.shape(x)]
    others = [same[g.rng.integers(len(same))] for _ in range(g.rng.integers(1, 3))]
    g.add(Add(tuple(int(s) for s in g.rng.choice([1, -1], 1 + len(others)))), (x, *others))


def _max(g: Grower) -> None:
    x = g.value()
    shape = tuple(int(n) for n in g.rng.integers(1, 4, g.rng.integers(1, 3)))
    g.add(Max(), (x,), torch.from_numpy(g.rng.integers(0, prod(g.shape(x)), (*shape, g.rng.integers(1, 4)))))


def _elementwise(make: Callable[[np.random.Generator], Op]) -> Callable[[Grower], object]:
    return lambda g: g.add(make(g.rng), (g.value(),))


def _fraction(rng: np.random.Generator, low: int, high: int) -> Fraction:
    return Fraction(int(rng.integers(low, high)), 4)


def _tamed(g: Grower) -> str:
    """A value between -2 and 2."""
    return g.add(Clip(Fraction(-2), Fraction(2)), (g.value(),))


def _positive(g: Grower) -> str:
    """A value between 1/4 and 5."""
    return g.add(Clip(Fraction(1, 4), Fraction(5)), (g.value(),))


def _power(g: Grower) -> None:
    exponent = Fraction(str(g.rng.choice(["2", "3", "-1", "-2", "1/2", "-1/2", "5/2"])))
    g.add(Power(exponent), (_tamed(g) if exponent in (2, 3) else _positive(g),))


def _multiply(g: Grower) -> None:
    """Of two values of one shape, often a value and one that is made of it."""
    x = g.value()
    same = [name for name in g.builder.shapes if g.shape(name) == g.shape(x)]
    g.last = g.builder.product("multiply", x, same[g.rng.integers(len(same))])


def _matmul(g: Grower) -> None:
    """Of a value and one that is reshaped to fit it."""
    x, y = g.value(2), g.value()
    shape = g.shape(x)
    if prod(g.shape(y)) % shape[-1]:
        y = g.add(Permute((1, 0)), (x,))
    y = g.add(Reshape((shape[-1], prod(g.shape(y)) // shape[-1])), (y,))
    g.last = g.builder.product("matmul", x, y, is_matrix=True)


GROW: dict[str, Callable[[Grower], object]] = {
    "Linear": _linear, "Conv": _conv, "ConvTranspose": _conv, "AvgPool": _avg_pool, "BatchNorm": _batch_norm,
    "Reshape": _reshape, "Permute": _permute, "Select": _select, "Concat": _concat, "Sum": _sum, "Add": _add,
    "Scale": _entrywise(Scale), "Divide": _entrywise(Divide), "Shift": _entrywise(Shift), "Max": _max,
    "ReLU": _elementwise(lambda rng: ReLU()),
    "LeakyReLU": _elementwise(lambda rng: LeakyReLU(_fraction(rng, 1, 4))),
    "Abs": _elementwise(lambda rng: Abs()),
    "Clip": _elementwise(lambda rng: Clip(_fraction(rng, -8, 0), _fraction(rng, 1, 8))),
    "HardSigmoid": _elementwise(lambda rng: HardSigmoid(_fraction(rng, 1, 4), _fraction(rng, 1, 4))),
    "Sigmoid": _elementwise(lambda rng: Sigmoid()), "Tanh": _elementwise(lambda rng: Tanh()),
    "Softplus": _elementwise(lambda rng: Softplus()), "Erf": _elementwise(lambda rng: Erf()),
    "Sin": _elementwise(lambda rng: Sin()), "Cos": _elementwise(lambda rng: Cos()),
    "Floor": _elementwise(lambda rng: Floor()), "Ceil": _elementwise(lambda rng: Ceil()),
    "RoundToEven": _elementwise(lambda rng: RoundToEven()),
    "JumpingLines": _elementwise(lambda rng: (sign(), shrink(Fraction(1, 2), _fraction(rng, 0, 3)))[rng.integers(2)]),
    "Atan": _elementwise(lambda rng: Atan()), "Softsign": _elementwise(lambda rng: Softsign()),
    "HardSwish": _elementwise(lambda rng: HardSwish()),
    "Swish": _elementwise(lambda rng: Swish(_fraction(rng, 2, 8))), "GELU": _elementwise(lambda rng: GELU()),
    "TanhGELU": _elementwise(lambda rng: TanhGELU()), "Mish": _elementwise(lambda rng: Mish()),
    "ELU": _elementwise(lambda rng: ELU(_fraction(rng, 1, 8), _fraction(rng, 2, 6), _fraction(rng, 2, 6))),
    "Exp": lambda g: g.add(Exp(), (_tamed(g),)), "Log": lambda g: g.add(Log(), (_positive(g),)),
    "Power": lambda g: _power(g), "Multiply": _multiply, "MatMul": _matmul,
}  # fmt: skip
assert GROW.keys() == REGISTRY.keys(), "give a new op a way into random graphs"


def random_network(seed: int, most: int = 8) -> Network:
    """A network of 2 to `most` nodes and some more, in float64, whose output has at least two entries."""
    rng = np.random.default_rng(seed)
    while True:
        g = Grower(rng)
        for _ in range(rng.integers(2, most + 1)):
            before = g.last
            g.step()
            if prod(g.shape(g.last)) > LARGEST:
                g.last = before
        end_affinely(g)
        if prod(g.shape(g.last)) > 1 and _depends(g, g.last):
            return g.builder.finish(g.last)


def end_affinely(g: Grower) -> None:
    """Up to three affine nodes more, which bounds merge with rows: constants over maps of as many rows as channels."""
    if g.rng.random() < 0.5:
        n = int(g.rng.integers(2, 4))
        size = prod(g.shape(g.last))
        g.add(Linear(), (g.add(Reshape((size,)), (g.last,)),), g.numbers(n * n * 2, size))
        g.add(Reshape((n, n, 2)), (g.last,))
    for kind in g.rng.choice(["Shift", "Scale", "Divide"], int(g.rng.integers(3))):
        last = g.last
        while g.last == last:
            GROW[str(kind)](g)


def _depends(g: Grower, name: str) -> bool:
    """Whether a value reads the input."""
    needed = {name}
    for node in reversed(g.builder.nodes):
        needed.update(node.inputs if node.name in needed else ())
    return "x" in needed
