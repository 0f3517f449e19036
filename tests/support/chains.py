"""Short networks written node by node, claims about their first input, and whether checkers and machines break them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from tests.support.certificates import claimed, real_violation
from tests.support.machines import Arrays, Rationals, Singles, outputs
from verify.check.checker import check

Net = tuple[dict[str, Any], Arrays]
PROOFS = [("interval", "adaptive"), ("backward", "adaptive"), ("backward", "parallel")]


def floats(*values: Any) -> np.ndarray:
    return np.array(values, "<f4")


def chain(inputs: int, *steps: tuple[str, dict[str, Any]]) -> Net:
    """Nodes one after the other: (name, fields), fields that are arrays are stored."""
    nodes, arrays, at = [], {}, "x"
    for name, fields in steps:
        kept = {}
        for key, value in fields.items():
            kept[key] = value
            if isinstance(value, np.ndarray):
                kept[key] = f"{name}.{key}"
                arrays[kept[key]] = value
        nodes.append({"name": name, "inputs": [at], **kept})
        at = name
    return {"input": "x", "shape": [inputs], "nodes": nodes}, arrays


def matrix(weight: np.ndarray, bias: np.ndarray | None = None) -> dict[str, Any]:
    return {"op": "linear", "shape": [len(weight)], "weight": weight, "bias": bias}


def shift(by: float) -> dict[str, Any]:
    return {"op": "shift", "shape": [1], "offset": floats(by)}


def scale(by: float) -> dict[str, Any]:
    return {"op": "scale", "shape": [1], "factor": floats(by)}


HINGE = {"op": "piecewise", "breakpoints": ["0"], "slopes": ["0", "1"], "anchor": ["0", "0"]}


def case(low: Fraction, high: Fraction, inputs: int, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The first input in a box, the others 1; each line a disjunct of its own."""
    ends = ([str(end), *["1"] * (inputs - 1)] for end in (low, high))
    return {**dict(zip(("low", "high"), ends, strict=True)), "disjuncts": [[line] for line in lines]}


def accepted(net: Net, given: dict[str, Any], level: str, exact: bool = False) -> bool:
    """By any of the proofs that are boxes alone; the report's margins are true in any case."""
    found = False
    for box, slope in PROOFS:
        report = check(claimed(*net, [given], level, box, slope=slope).bytes(), exact=exact)
        assert report.accepted or report.reason
        found |= report.accepted
    return found


def broken(net: Net, given: dict[str, Any], rng: np.random.Generator) -> bool:
    """Whether some float32 machine violates the claim at some rounded point of the box."""
    parts, inputs = claimed(*net, [given], "F"), len(given["low"])
    low, high = (np.float32(float(Fraction(given[end][0]))) for end in ("low", "high"))
    first = np.clip([low, high, np.nextafter(low, high), np.nextafter(high, low),
                     *rng.uniform(low, high, 12).astype(np.float32)], low, high)
    x = np.ones((len(first), inputs))
    x[:, 0] = first
    orders = "sequential", "fused", "tree", "pairwise"
    machines = [Singles(rng, how, flush) for how in orders for flush in (False, True)]
    return any(bool((real_violation(parts, given, x, m) >= 0).any()) for m in (*machines, *machines[:4], *machines[:2]))


def real_maximum(net: Net, given: dict[str, Any]) -> Fraction:
    """Of the first output of a network that is convex in its first input: at an end of the box."""
    ends = np.array([[Fraction(v) for v in given[end]] for end in ("low", "high")], object)
    return max(outputs(*net, Rationals(), ends)[:, 0])
