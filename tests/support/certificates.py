"""Certificates in parts: taken apart, put together, made without a prover; their claims tested without the checker."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod
from typing import Any

import numpy as np
from scipy.optimize import linprog

from tests.support.machines import Arrays, Doubles, Machine, Rationals, Terms, outputs, pieces_of, terms_of
from verify.check.container import MAGIC, VERSIONS, digest, read

Header = dict[str, Any]


@dataclass
class Parts:
    """A certificate; `header` is that of the file without its arrays."""

    header: Header
    arrays: Arrays

    @classmethod
    def of(cls, data: bytes) -> Parts:
        header, arrays = read(data)
        return cls(header, dict(arrays))

    def copy(self) -> Parts:
        return Parts(copy.deepcopy(self.header), {name: values.copy() for name, values in self.arrays.items()})

    def bytes(self, table: list[Any] | None = None) -> bytes:
        """The file; `table` instead of the true list of the arrays."""
        true = [[name, values.dtype.str, list(values.shape)] for name, values in self.arrays.items()]
        header = json.dumps({**self.header, "arrays": true if table is None else table}).encode()
        return packed(header, b"".join(values.tobytes() for values in self.arrays.values()))

    def sign(self) -> Parts:
        """With the digest of its network."""
        self.header["digest"] = digest(self.header["network"], self.arrays)
        return self

    def claims(self) -> str:
        """Its network and cases, as one text."""
        named = {v for node in self.header["network"]["nodes"] for v in node.values() if isinstance(v, str)}
        bits = {name: (a.dtype.str, a.shape, a.tobytes().hex()) for name, a in self.arrays.items() if name in named}
        return json.dumps([self.header["network"], self.header["cases"], bits], sort_keys=True, default=str)


def packed(header: bytes, arrays: bytes) -> bytes:
    return MAGIC + zlib.compress(len(header).to_bytes(8, "little") + header + arrays, 1)


def row(output: dict[int, Any], offset: Any, given: dict[int, Any] | None = None) -> dict[str, Any]:
    """A row of a claim: output . y + given . x - offset."""
    sides = ([[i, str(c)] for i, c in (side or {}).items()] for side in (output, given))
    return {**dict(zip(("output", "input"), sides, strict=True)), "offset": str(offset)}


def claimed(
    network: dict[str, Any], arrays: Arrays, cases: list[dict[str, Any]], level: str = "R", box: str = "backward",
    weight: np.ndarray | None = None, slope: str = "adaptive",
) -> Parts:
    """A claim whose proof is its boxes alone, every task bounded by its first row, or by the weights given."""
    tasks = [(i, k) for i, case in enumerate(cases) for k in range(len(case["disjuncts"]))]
    width = max(len(cases[i]["disjuncts"][k]) for i, k in tasks)
    first = np.zeros((len(tasks), width), "<u2")
    first[:, 0] = 1 << 15
    layers = [{"node": node["name"], "box": box, "slope": slope}
              for node in network["nodes"] if node["op"] in ("piecewise", "max", "curve", "product")]
    tree = {"tasks": ".tasks", "variable": ".variable", "point": ".point", "weight": ".weight"}
    header = {"format": VERSIONS[-1], "level": level, "network": network, "digest": "", "source": None, "cases": cases,
              "layers": layers, "boxes": [tree], "searches": []}
    proof = {".tasks": np.array(tasks, "<i4"), ".variable": np.full(len(tasks), -1, "<i4"), ".point": np.zeros(0),
             ".weight": first if weight is None else weight}
    return Parts(header, {**arrays, **proof}).sign()


def dense(weights: list[np.ndarray], biases: list[np.ndarray | None]) -> tuple[dict[str, Any], Arrays]:
    """Linear layers with ReLU between them."""
    nodes, arrays, at = [], {}, "x"
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        arrays[f"w{k}"] = w
        if b is not None:
            arrays[f"b{k}"] = b
        nodes.append(linear(f"z{k}", at, len(w), f"w{k}", None if b is None else f"b{k}"))
        if k + 1 < len(weights):
            nodes.append(relu(f"a{k}", f"z{k}", [len(w)]))
        at = f"a{k}"
    return {"input": "x", "shape": [weights[0].shape[1]], "nodes": nodes}, arrays


def linear(name: str, source: str, size: int, weight: str, bias: str | None = None) -> dict[str, Any]:
    return {"name": name, "inputs": [source], "shape": [size], "op": "linear", "weight": weight, "bias": bias}


def relu(name: str, source: str, shape: list[int], left: str = "0", right: str = "1") -> dict[str, Any]:
    """A hinge at 0 with these slopes."""
    return {"name": name, "inputs": [source], "shape": shape, "op": "piecewise", "breakpoints": ["0"],
            "slopes": [left, right], "anchor": ["0", "0"]}


def violation(case: dict[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Exactly: the largest, over disjuncts, of the least row; x (batch, inputs), y (batch, outputs) rationals."""
    found = []
    for disjunct in case["disjuncts"]:
        rows = []
        for line in disjunct:
            total = np.full(len(x), -Fraction(line["offset"]), object)
            for side, at in (("output", y), ("input", x)):
                for i, c in line[side]:
                    total = total + Fraction(c) * at[:, i]
            rows.append(total)
        found.append(np.array(rows, object).min(0))
    return np.array(found, object).max(0)


def ends(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The box of a case, rationals."""
    low, high = (np.array([Fraction(v) for v in case[end]], object) for end in ("low", "high"))
    return low, high


def samples(case: dict[str, Any], count: int, rng: np.random.Generator) -> np.ndarray:
    """Corners, and points on faces and inside; rationals of the box, (count, inputs)."""
    low, high = ends(case)
    share = rng.random((count, len(low))).astype(np.float32)
    share[rng.random(share.shape) < 0.4] = 0
    share[rng.random(share.shape) < 0.3] = 1
    share[: count // 3] = share[: count // 3].round()
    return low + Rationals().numbers(share) * (high - low)


def real_violation(parts: Parts, case: dict[str, Any], x: np.ndarray, machine: Machine | None = None) -> np.ndarray:
    """Exact violations at rational points; of a float machine's outputs, infinite where they are no numbers."""
    if machine is None or isinstance(machine, Rationals):
        return violation(case, x, outputs(parts.header["network"], parts.arrays, Rationals(), x))
    y = outputs(parts.header["network"], parts.arrays, machine, machine.numbers(x.astype(np.float64)))
    out = np.full(len(x), np.inf, object)
    good = np.isfinite(y).all(1)
    if good.any():
        out[good] = violation(case, x[good], Rationals().numbers(y[good]))
    return out


def attack(parts: Parts, case: dict[str, Any], rng: np.random.Generator, count: int = 300, steps: int = 6) -> Fraction:
    """The largest exact violation that sampling and climbing in float64 find."""
    low, high = ends(case)
    x = samples(case, count, rng).astype(np.float64)
    bottom, top = low.astype(np.float64), high.astype(np.float64)

    def value(points: np.ndarray) -> np.ndarray:
        return real_violation(parts, case, points, Doubles()).astype(np.float64)

    best, radius = value(x), (top - bottom) / 2
    for _ in range(steps):
        leaders = x[np.argsort(-best)[:8]]
        tries = leaders.repeat(24, 0)
        tries = np.clip(tries + rng.uniform(-1, 1, tries.shape) * radius, bottom, top)
        x, radius = np.concatenate([leaders, tries]), radius / 2
        best = value(x)
    exact = np.clip(Rationals().numbers(x[np.argsort(-best)[:4]]), low, high)
    return real_violation(parts, case, exact).max()


def maximum(parts: Parts, case: dict[str, Any]) -> float:
    """v* of a case by enumeration of the phases of its piecewise and max nodes, one LP each."""
    low, high = (end.astype(np.float64) for end in ends(case))
    best = -np.inf
    for form, sides in _phases(parts):
        for disjunct in case["disjuncts"]:
            goal = np.array([_row_form(line, form, len(low)) for line in disjunct])
            a = np.vstack([-sides.T[:, 1:], -goal[:, 1:]])
            last = np.concatenate([np.zeros(sides.shape[1]), np.ones(len(goal))])
            bounds = [*zip(low, high, strict=True), (None, None)]
            answer = linprog([*np.zeros(len(low)), -1], A_ub=np.column_stack([a, last]),
                             b_ub=np.concatenate([sides[0], goal[:, 0]]), bounds=bounds)
            best = max(best, -answer.fun) if answer.status == 0 else best
    return best


def _row_form(line: dict[str, Any], form: np.ndarray, inputs: int) -> np.ndarray:
    """A row as a constant and a coefficient for each input."""
    out = np.zeros(1 + inputs)
    out[0] = -float(Fraction(line["offset"]))
    for i, c in line["output"]:
        out += float(Fraction(c)) * form[:, i]
    for i, c in line["input"]:
        out[1 + i] += float(Fraction(c))
    return out


def _phases(parts: Parts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(output, forms that are >= 0 there) of every phase; forms (1 + inputs, entries), a constant first."""
    network, arrays = parts.header["network"], parts.arrays
    inputs = prod(network["shape"])
    start = np.vstack([np.zeros(inputs), np.eye(inputs)])
    found: list[tuple[dict[str, np.ndarray], list[np.ndarray]]] = [({network["input"]: start}, [])]
    shapes = {network["input"]: tuple(network["shape"])}
    for node in network["nodes"]:
        shapes[node["name"]] = tuple(node["shape"])
        pieces = _choices(node, arrays, shapes)
        found = [({**forms, node["name"]: out}, [*sides, *more]) for forms, sides in found
                 for out, more in pieces([forms[name] for name in node["inputs"]])]
    for forms, sides in found:
        yield forms[network["nodes"][-1]["name"]], np.concatenate(sides, 1) if sides else np.zeros((1 + inputs, 0))


def _choices(node: dict[str, Any], arrays: Arrays, shapes: dict[str, tuple[int, ...]]) -> Any:
    """What a node makes of forms: one form and its conditions for each phase."""
    if node["op"] == "piecewise":
        return lambda given: _hinges(node, given[0])
    if node["op"] == "max":
        groups = arrays[node["groups"]]
        return lambda given: [
            (given[0][:, list(c)], [given[0][:, [m]] - given[0][:, g] for m, g in zip(c, groups, strict=True)])
            for c in product(*(sorted(set(g)) for g in groups.tolist()))]
    terms = terms_of(node, arrays, [shapes[name] for name in node["inputs"]])
    return lambda given: [(_mapped(terms, np.concatenate(given, 1)), [])]


def _mapped(terms: Terms, form: np.ndarray) -> np.ndarray:
    padded = np.concatenate([form, np.zeros((len(form), 1))], 1)
    out = Doubles().affine(padded, Terms(terms.index, terms.weight))
    out[0] += 0 if terms.bias is None else terms.bias
    return out if terms.divisor is None else out / terms.divisor


def _hinges(node: dict[str, Any], form: np.ndarray) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    breaks, pieces = [float(Fraction(b)) for b in node["breakpoints"]], pieces_of(node)
    one = np.eye(len(form), 1)
    for choice in product(range(len(pieces)), repeat=form.shape[1]):
        out = form * np.array([float(pieces[i][0]) for i in choice])
        out[0] += [float(pieces[i][1]) for i in choice]
        above = [form[:, [n]] - breaks[i - 1] * one for n, i in enumerate(choice) if i > 0]
        below = [breaks[i] * one - form[:, [n]] for n, i in enumerate(choice) if i < len(breaks)]
        yield out, above + below
