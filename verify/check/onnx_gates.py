"""Products of a value and a gate made of it, which are one curve: x sigmoid(x), x (1 + erf(x / sqrt(2))) and others.

As a product of two values that vary apart each would be bounded far more loosely. The curve is equal to the product in
real arithmetic, for the constants as they are stored.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from verify.check.onnx_graph import Call, Value, Writer

Node = dict[str, Any]
_ABS = {"op": "piecewise", "breakpoints": ["0"], "slopes": ["-1", "1"], "anchor": ["0", "0"]}


def one_curve(w: Writer, c: Call, left: Value, right: Value) -> Value | None:
    """The product of two values as a multiple of a curve, by a number that the file's floats hold; None where it is not
    known to be one."""
    for factor, gate in ((left.name, right.name), (right.name, left.name)):
        for x, count in ((factor, Fraction(1)), *_part(w, factor)):
            found = _opened(w, x, w.node(gate))
            if found is None or Fraction(float(np.array(float(count * found[2]), w.kind))) != count * found[2]:
                continue
            function, parameters, twice = found
            value = Value(x, left.shape)
            out = w.emit(c, "curve", [value], left.shape, function=function, parameters=[str(p) for p in parameters])
            total = count * twice
            return out if total == 1 else w.scale(c, out, np.array(float(total), w.kind))
    return None


def is_softsign(w: Writer, x: Value, y: Value) -> bool:
    """Whether x / y is x / (1 + |x|)."""
    below = w.node(y.name)
    if below is None or x.shape != y.shape or below["op"] != "shift" or _number(w, below, "offset") != 1:
        return False
    inner = w.node(below["inputs"][0])
    return inner is not None and inner["inputs"] == [x.name] and _ABS.items() <= inner.items()


def _opened(w: Writer, x: str, gate: Node | None) -> tuple[str, list[Fraction], int] | None:
    """(function, parameters, how many times the curve x times the gate is)."""
    if gate is None:
        return None
    source = gate["inputs"][0]
    inner = w.node(source)
    if _is(gate, "sigmoid"):
        rate = _multiple(w, x, source)
        return None if rate is None or rate <= 0 else ("swish", [rate], 1)
    if inner is not None and _is(gate, "tanh") and _is(inner, "softplus") and inner["inputs"] == [x]:
        return "mish", [], 1
    if inner is not None and gate["op"] == "shift" and _number(w, gate, "offset") == 1 and _is(inner, "erf"):
        rate = _multiple(w, x, inner["inputs"][0])
        return None if rate is None or rate <= 0 else ("erf_gate", [rate], 2)
    return None


def _is(node: Node, function: str) -> bool:
    return node["op"] == "curve" and node["function"] == function


def _multiple(w: Writer, x: str, y: str) -> Fraction | None:
    """How many times x the value y is; None where that is not known, or not one number for all entries."""
    return Fraction(1) if x == y else dict(_part(w, y)).get(x)


def _part(w: Writer, y: str) -> list[tuple[str, Fraction]]:
    """The value of which y is a multiple by one number for all entries, and that number; nothing where it is none."""
    node = w.node(y)
    field = {"scale": "factor", "divide": "divisor"}.get(node["op"]) if node is not None else None
    number = _number(w, node, field) if node is not None and field is not None else None
    if node is None or not number:
        return []
    return [(node["inputs"][0], number if field == "factor" else 1 / number)]


def _number(w: Writer, node: Node, field: str) -> Fraction | None:
    """The constant of an entrywise node, where all its entries are one number."""
    constant = w.arrays[node[field]].reshape(-1)
    return Fraction(float(constant[0])) if constant.size and bool((constant == constant[0]).all()) else None
