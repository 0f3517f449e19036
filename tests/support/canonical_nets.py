"""Random small networks in the checker's own form, over all of its ops."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tests.support.machines import Arrays

HINGES = {
    "relu": (["0"], ["0", "1"], ["0", "0"]), "leaky": (["0"], ["1/10", "1"], ["0", "0"]),
    "falling": (["1/3"], ["2", "-1/2"], ["1/3", "1/7"]), "abs": (["0"], ["-1", "1"], ["0", "0"]),
}
MANY = {
    "clip": (["-1/2", "3/2"], ["0", "1", "0"], ["0", "0"]),
    "hard": (["-3", "3"], ["0", "1/6", "0"], ["0", "1/2"]),
    "zigzag": (["-1", "0", "1/3"], ["1", "-2", "3", "1/7"], ["-1/2", "1/5"]),
}
SMOOTHABLE = ("linear", "conv", "transposed", "norm", "scale", "shift", "residual", "average", "moved", "hinge")
ALL = (*SMOOTHABLE, "many", "max")


class Builder:
    """Adds nodes with random parameters to a network of maps (2, 3, 3)."""

    def __init__(self, rng: np.random.Generator, scale: float = 1.0):
        self.rng, self.scale, self.nodes, self.arrays = rng, scale, [], {}
        self.at: str = "x"
        self.shape: tuple[int, ...] = (2, 3, 3)

    def network(self) -> tuple[dict[str, Any], Arrays]:
        return {"input": "x", "shape": [2, 3, 3], "nodes": self.nodes}, self.arrays

    def put(self, values: np.ndarray, kind: str = "<f4") -> str:
        name = f"p{len(self.arrays)}"
        self.arrays[name] = np.ascontiguousarray(values, kind)
        return name

    def weights(self, *shape: int) -> str:
        """Random floats, some of them 0."""
        fan = max(1, prod(shape[1:]))
        values = self.rng.normal(size=shape) * self.scale / fan**0.5
        return self.put(values * (self.rng.random(shape) > 0.1))

    def node(self, op: str, shape: tuple[int, ...], inputs: list[str] | None = None, **fields: Any) -> None:
        name = f"v{len(self.nodes)}"
        self.nodes.append({"name": name, "inputs": inputs or [self.at], "shape": list(shape), "op": op, **fields})
        self.at, self.shape = name, shape

    def add(self, kind: str) -> None:
        getattr(self, f"_{kind}")()

    def _linear(self) -> None:
        size = int(self.rng.integers(2, 5))
        bias = self.weights(size) if self.rng.integers(2) else None
        self.node("linear", (*self.shape[:-1], size), weight=self.weights(size, self.shape[-1]), bias=bias)

    def _conv(self) -> None:
        if len(self.shape) == 1:
            return self._linear()
        groups = int(self.rng.choice([g for g in (1, 2) if self.shape[0] % g == 0]))
        axes, out = len(self.shape) - 1, int(groups * self.rng.integers(1, 3))
        kernel, stride, padding, dilation = self._windows(axes)
        fits = zip(self.shape[1:], kernel, stride, padding, dilation, strict=True)
        lengths = [(n + 2 * q - d * (w - 1) - 1) // s + 1 for n, w, s, q, d in fits]
        if min(lengths) < 1:
            return self._linear()
        return self.node(
            "conv", (out, *lengths), weight=self.weights(out, self.shape[0] // groups, *kernel), stride=stride,
            bias=self.weights(out) if self.rng.integers(2) else None, padding=padding, dilation=dilation, groups=groups,
            transposed=False)

    def _transposed(self) -> None:
        if len(self.shape) == 1 or prod(self.shape) > 30:
            return self._linear()
        groups = int(self.rng.choice([g for g in (1, 2) if self.shape[0] % g == 0]))
        kernel, stride, padding, dilation = self._windows(len(self.shape) - 1)
        more = [int(self.rng.integers(s)) for s in stride]
        fits = zip(self.shape[1:], kernel, stride, padding, dilation, more, strict=True)
        lengths = [(n - 1) * s - 2 * q + d * (w - 1) + 1 + e for n, w, s, q, d, e in fits]
        if min(lengths) < 1:
            return self._linear()
        return self.node(
            "conv", (groups, *lengths), weight=self.weights(self.shape[0], 1, *kernel), bias=self.weights(groups),
            stride=stride, padding=padding, dilation=dilation, groups=groups, transposed=True)

    def _windows(self, axes: int) -> list[list[int]]:
        """Kernel, stride, padding, dilation."""
        return [self.rng.integers(low, high, axes).tolist() for low, high in ((1, 4), (1, 3), (0, 2), (1, 3))]

    def _norm(self) -> None:
        variance = self.put(self.rng.random(self.shape[0]) + 0.1)
        parts: dict[str, Any] = {role: self.weights(self.shape[0]) for role in ("weight", "bias", "mean")}
        self.node("norm", self.shape, **parts, variance=variance, eps=1e-5)

    def _scale(self) -> None:
        self.node("scale", self.shape, factor=self.weights(*self.shape[-1:]))

    def _shift(self) -> None:
        self.node("shift", self.shape, offset=self.weights(*self.shape))

    def _residual(self) -> None:
        before = self.at
        self._hinge()
        signs = self.rng.choice([-1, 1], 2).tolist()
        self.node("add", self.shape, [before, self.at], signs=signs)

    def _average(self) -> None:
        size, total = prod(self.shape), int(self.rng.integers(2, 6))
        index = self.rng.integers(-1, size, (total, int(self.rng.integers(2, 5))))
        divisor = self.rng.integers(1, 5, total)
        self.node("gather", (total,), index=self.put(index, "<i4"), divisor=self.put(divisor, "<i4"))

    def _moved(self) -> None:
        size = prod(self.shape)
        index = self.rng.permutation(size) if self.rng.integers(2) else self.rng.integers(-1, size, size)
        ones = self.put(np.ones(size), "|i1")
        self.node("gather", self.shape, index=self.put(index[:, None], "<i8"), divisor=ones)

    def _hinge(self) -> None:
        self._pieces(HINGES)

    def _many(self) -> None:
        self._pieces(MANY)

    def _pieces(self, kinds: dict[str, tuple[list[str], list[str], list[str]]]) -> None:
        facts = kinds[str(self.rng.choice(list(kinds)))]
        self.node("piecewise", self.shape, **dict(zip(("breakpoints", "slopes", "anchor"), facts, strict=True)))

    def _max(self) -> None:
        size, total = prod(self.shape), int(self.rng.integers(2, 5))
        groups = self.rng.integers(0, size, (total, int(self.rng.integers(1, 4))))
        self.node("max", (total,), groups=self.put(groups, "|i1"))


def random_network(
    rng: np.random.Generator, kinds: tuple[str, ...] = ALL, depth: int = 5, scale: float = 1.0
) -> tuple[dict[str, Any], Arrays]:
    """So many random nodes, and three outputs."""
    builder = Builder(rng, scale)
    builder.add("conv")
    for _ in range(depth):
        builder.add(str(rng.choice(kinds)))
    size = prod(builder.shape)
    every = builder.put(np.arange(size)[:, None], "<i4")
    builder.node("gather", (size,), index=every, divisor=builder.put(np.ones(size), "<i4"))
    builder.node("linear", (3,), weight=builder.weights(3, size), bias=builder.weights(3))
    return builder.network()
