"""Networks of certificates, evaluated without the checker: in rationals, in float64, and as float32 machines may.

Every affine node becomes explicit terms, an index and a weight for each product, so a machine is a way to add up
products.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from math import isqrt, prod
from typing import Any

import numpy as np

from tests.support.curve_oracles import exactly, nearly

Arrays = dict[str, np.ndarray]
ROOT = 1 << 400  # square of the denominator of roots


@dataclass(frozen=True)
class Terms:
    """y = (sum of weight x at index + bias) / divisor; index, weight (entries, terms), index -1 is no entry."""

    index: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None = None
    divisor: np.ndarray | None = None


class Rationals:
    """Exact, except for roots, which are within 2^-199, and curves, which are right to 80 digits."""

    def numbers(self, values: np.ndarray) -> np.ndarray:
        out = np.empty(np.shape(values), object)
        out.reshape(-1)[:] = [Fraction(v) for v in np.asarray(values).reshape(-1).tolist()]
        return out

    def affine(self, x: np.ndarray, terms: Terms) -> np.ndarray:
        """x (batch, entries + 1), 0 at the end."""
        total = (x[:, terms.index] * self.numbers(terms.weight)).sum(2)
        total = total if terms.bias is None else total + self.numbers(terms.bias)
        return total if terms.divisor is None else total / self.numbers(terms.divisor)

    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Sums of products over the last axis."""
        return (left * right).sum(-1)

    def curve(self, function: str, parameters: list[str], x: np.ndarray) -> np.ndarray:
        return exactly(function, parameters, x)

    def norm(self, x: np.ndarray, parts: list[np.ndarray], eps: float) -> np.ndarray:
        weight, bias, mean, variance = (self.numbers(part) for part in parts)
        roots = np.array([Fraction(isqrt(int((v + Fraction(eps)) * ROOT)), isqrt(ROOT)) for v in variance], object)
        return (x - mean) / roots * weight + bias


class Doubles:
    """float64, for searching."""

    def numbers(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values).astype(np.float64)

    def affine(self, x: np.ndarray, terms: Terms) -> np.ndarray:
        total = np.einsum("bet,et->be", x[:, terms.index], self.numbers(terms.weight))
        total = total if terms.bias is None else total + terms.bias
        return total if terms.divisor is None else total / terms.divisor

    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Sums of products over the last axis."""
        return (left * right).sum(-1)

    def curve(self, function: str, parameters: list[str], x: np.ndarray) -> np.ndarray:
        return nearly(function, parameters, x)

    def norm(self, x: np.ndarray, parts: list[np.ndarray], eps: float) -> np.ndarray:
        weight, bias, mean, variance = (self.numbers(part) for part in parts)
        return (x - mean) / np.sqrt(variance + eps) * weight + bias


@dataclass
class Singles:
    """float32 with one order of every sum, drawn from `rng`.

    Args:
        sum: "sequential", "fused" (multiply and add with one rounding), "tree" (a random association) or "pairwise".
        flush: whether subnormal arguments and results are 0.
        shuffle: whether the products, and the bias among them, come in a random order.
    """

    rng: np.random.Generator
    sum: str = "sequential"
    flush: bool = False
    shuffle: bool = True

    def numbers(self, values: np.ndarray) -> np.ndarray:
        return self.flushed(np.asarray(values, np.float64).astype(np.float32))

    def flushed(self, x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) < np.float32(2.0**-126), np.copysign(np.float32(0), x), x) if self.flush else x

    def affine(self, x: np.ndarray, terms: Terms) -> np.ndarray:
        left, right = x[:, terms.index], np.broadcast_to(self.numbers(terms.weight), (len(x), *terms.weight.shape))
        if terms.bias is not None:
            bias = np.broadcast_to(self.numbers(terms.bias)[:, None], (*left.shape[:2], 1))
            left, right = np.concatenate([left, np.ones_like(bias)], 2), np.concatenate([right, bias], 2)
        total = self.products(left, right)
        return total if terms.divisor is None else self._divided(total, terms.divisor)

    def products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        if self.shuffle:
            order = self.rng.permutation(left.shape[2])
            left, right = left[:, :, order], right[:, :, order]
        return self._fused(left, right) if self.sum == "fused" else self._added(self.flushed(left * right))

    def curve(self, function: str, parameters: list[str], x: np.ndarray) -> np.ndarray:
        raise NotImplementedError("float32 programs state no error for curves")

    def norm(self, x: np.ndarray, parts: list[np.ndarray], eps: float) -> np.ndarray:
        raise NotImplementedError("float32 programs normalise in different ways")

    def _divided(self, total: np.ndarray, divisor: np.ndarray) -> np.ndarray:
        by = divisor.astype(np.float32)
        return self.flushed(total * self.flushed(1 / by) if self.rng.integers(2) else total / by)

    def _fused(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        total = self.flushed(left[:, :, 0] * right[:, :, 0])
        for k in range(1, left.shape[2]):
            exact = left[:, :, k].astype(np.float64) * right[:, :, k].astype(np.float64)
            total = self.flushed((total.astype(np.float64) + exact).astype(np.float32))
        return total

    def _added(self, parts: np.ndarray) -> np.ndarray:
        found = list(np.moveaxis(parts, 2, 0))
        while len(found) > 1:
            if self.sum == "pairwise":
                pairs = [self.flushed(a + b) for a, b in zip(found[::2], found[1::2], strict=False)]
                found = pairs + (found[-1:] if len(found) % 2 else [])
                continue
            at = int(self.rng.integers(len(found) - 1)) if self.sum == "tree" else 0
            found[at : at + 2] = [self.flushed(found[at] + found[at + 1])]
        return found[0]


Machine = Rationals | Doubles | Singles


def outputs(network: dict[str, Any], arrays: Arrays, machine: Machine, x: np.ndarray) -> np.ndarray:
    """Outputs (batch, entries) of flat inputs, numbers of the machine."""
    return values(network, arrays, machine, x)[network["nodes"][-1]["name"]]


def values(network: dict[str, Any], arrays: Arrays, machine: Machine, x: np.ndarray) -> dict[str, np.ndarray]:
    """All values by name."""
    found, shapes = {network["input"]: x}, {network["input"]: tuple(network["shape"])}
    with np.errstate(all="ignore"):
        for node in network["nodes"]:
            given = [found[name] for name in node["inputs"]]
            if node["op"] == "piecewise":
                out = _piecewise(machine, node, given[0])
            elif node["op"] == "curve":
                out = machine.curve(node["function"], node["parameters"], given[0])
            elif node["op"] == "product":
                out = machine.products(*_factors(node, given, [shapes[name] for name in node["inputs"]]))
            elif node["op"] == "max":
                out = given[0][:, arrays[node["groups"]]].max(2)
            elif node["op"] == "norm":
                parts = [arrays[node[field]] for field in ("weight", "bias", "mean", "variance")]
                out = machine.norm(given[0], [np.repeat(p, prod(node["shape"][1:])) for p in parts], node["eps"])
            else:
                last = machine.numbers(np.zeros((len(x), 1)))
                terms = terms_of(node, arrays, [shapes[name] for name in node["inputs"]])
                out = machine.affine(np.concatenate([*given, last], 1), terms)
            found[node["name"]], shapes[node["name"]] = out, tuple(node["shape"])
    return found


def _factors(node: dict[str, Any], given: list[np.ndarray], shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """The factors (batch, entries, products) of each entry of a product."""
    if node["pairing"] == "entrywise":
        return [value[:, :, None] for value in given]
    *lead, n, k = shapes[0]
    places = [np.arange(prod(shape)).reshape(shape) for shape in shapes]
    full = (*lead, n, shapes[1][-1], k)
    left = np.broadcast_to(places[0][..., :, None, :], full)
    right = np.broadcast_to(places[1].swapaxes(-1, -2)[..., None, :, :], full)
    return [value[:, index.reshape(-1, k)] for value, index in zip(given, (left, right), strict=True)]


def _piecewise(machine: Machine, node: dict[str, Any], x: np.ndarray) -> np.ndarray:
    pieces = pieces_of(node)
    exact = isinstance(machine, Rationals)
    breaks = [Fraction(b) if exact else float(Fraction(b)) for b in node["breakpoints"]]
    place = sum((x > b).astype(int) for b in breaks)
    lines = []
    for slope, intercept in pieces:
        s, c = (machine.numbers(np.array([v if exact else float(v)])) for v in (slope, intercept))
        product = machine.flushed(s * x) if isinstance(machine, Singles) else s * x
        lines.append(machine.flushed(product + c) if isinstance(machine, Singles) else product + c)
    return np.choose(place, lines)


def pieces_of(node: dict[str, Any]) -> list[tuple[Fraction, Fraction]]:
    """(slope, intercept) of each piece."""
    breaks, slopes, (at, value) = ([Fraction(v) for v in node[key]] for key in ("breakpoints", "slopes", "anchor"))

    def f(x: Fraction) -> Fraction:
        """The integral of the slopes from the anchor to x."""
        low, high = min(at, x), max(at, x)
        ends = [low, *(b for b in breaks if low < b < high), high]
        rise = sum(slopes[sum(b <= a for b in breaks)] * (b2 - a) for a, b2 in pairwise(ends))
        return value + (rise if x >= at else -rise)

    inside = [breaks[0] - 1, *((a + b) / 2 for a, b in pairwise(breaks)), breaks[-1] + 1]
    return [(s, f(x) - s * x) for s, x in zip(slopes, inside, strict=True)]


def terms_of(node: dict[str, Any], arrays: Arrays, shapes: list[tuple[int, ...]]) -> Terms:
    """The products of an affine node."""
    size, places, count = prod(node["shape"]), np.arange(prod(node["shape"]))[:, None], sum(map(prod, shapes))
    if node["op"] == "linear":
        weight = arrays[node["weight"]]
        index = (places // len(weight)) * weight.shape[1] + np.arange(weight.shape[1])
        bias = None if node["bias"] is None else arrays[node["bias"]][places[:, 0] % len(weight)]
        return Terms(index, weight[places[:, 0] % len(weight)], bias)
    if node["op"] == "conv":
        return _conv(node, arrays, shapes[0])
    if node["op"] == "gather":
        index, divisor = arrays[node["index"]], arrays[node["divisor"]]
        index = np.where(index < 0, count, index)
        return Terms(index, np.ones(index.shape), None, None if (divisor == 1).all() else divisor)
    if node["op"] == "add":
        index = np.arange(count).reshape(len(shapes), size).T
        return Terms(index, np.broadcast_to(np.array(node["signs"], np.float64), index.shape))
    if node["op"] == "scale":
        return Terms(places, np.broadcast_to(arrays[node["factor"]], node["shape"]).reshape(-1, 1))
    if node["op"] == "divide":
        divisor = np.broadcast_to(arrays[node["divisor"]], node["shape"]).reshape(-1)
        return Terms(places, np.ones(places.shape), None, divisor)
    assert node["op"] == "shift"
    return Terms(places, np.ones((size, 1)), np.broadcast_to(arrays[node["offset"]], node["shape"]).reshape(-1))


def _conv(node: dict[str, Any], arrays: Arrays, shape: tuple[int, ...]) -> Terms:
    """One product for each channel and tap that meets the map."""
    weight, out, groups = arrays[node["weight"]], node["shape"], node["groups"]
    found: list[list[tuple[int, Any]]] = []
    for channel, *place in product(*map(range, out)):
        terms = []
        for tap in product(*map(range, weight.shape[2:])):
            if node["transposed"]:
                sides = zip(place, node["padding"], tap, node["dilation"], strict=True)
                steps = [p + q - t * d for p, q, t, d in sides]
                whole = all(v % s == 0 for v, s in zip(steps, node["stride"], strict=True))
                at = [v // s for v, s in zip(steps, node["stride"], strict=True)]
            else:
                sides = zip(place, node["stride"], node["padding"], tap, node["dilation"], strict=True)
                whole, at = True, [p * s - q + t * d for p, s, q, t, d in sides]
            if not whole or not all(0 <= v < n for v, n in zip(at, shape[1:], strict=True)):
                continue
            flat = int(np.ravel_multi_index(at, shape[1:]))
            group, inside = divmod(channel, out[0] // groups)
            for k in range(shape[0] // groups):
                source = group * (shape[0] // groups) + k
                w = weight[(source, inside, *tap)] if node["transposed"] else weight[(channel, k, *tap)]
                terms.append((source * prod(shape[1:]) + flat, w))
        found.append(terms)
    width, count = max(1, *map(len, found)), prod(shape)
    index, values = np.full((len(found), width), count), np.zeros((len(found), width), weight.dtype)
    for e, terms in enumerate(found):
        for t, (i, w) in enumerate(terms):
            index[e, t], values[e, t] = i, w
    bias = None if node["bias"] is None else np.repeat(arrays[node["bias"]], prod(out[1:]))
    return Terms(index, values, bias)
