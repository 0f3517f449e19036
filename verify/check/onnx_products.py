"""ONNX operators of two tensors that both depend on the input: products, quotients and matrix products."""

from __future__ import annotations

from math import prod

import numpy as np

from verify.check.onnx_composed import spelled_softmax
from verify.check.onnx_gates import is_softsign, one_curve
from verify.check.onnx_graph import Call, Shape, Value, Writer
from verify.check.onnx_moves import broadcast


def product(w: Writer, c: Call, x: Value, y: Value) -> Value:
    """x y entry by entry; a square where both are one value."""
    shape = tuple(np.broadcast_shapes(x.shape, y.shape))
    first, second = broadcast(w, c, x, shape), broadcast(w, c, y, shape)
    (base, one), (other, two) = _base(w, first), _base(w, second)
    if base.name == other.name and _keeps_poles(one, two, one + two):
        return power(w, c, base, one + two)
    gated = one_curve(w, c, first, second)
    if gated is not None:
        return gated
    return w.emit(c, "product", [first, second], shape, pairing="entrywise")


def quotient(w: Writer, c: Call, x: Value, y: Value) -> Value:
    """x times the reciprocal of y."""
    shape = tuple(np.broadcast_shapes(x.shape, y.shape))
    if is_softsign(w, x, y):
        return w.emit(c, "curve", [x], x.shape, function="softsign", parameters=[])
    found = spelled_softmax(w, c, x, y)
    return found or product(w, c, x, power(w, c, broadcast(w, c, y, shape), -1))


def matrix_product(w: Writer, c: Call, x: Value, y: Value) -> Value:
    """x @ y of (..., n, k) and (..., k, m), whose leading axes broadcast; a vector is one row or one column."""
    left = w.reshape(c, x, (1, *x.shape)) if x.rank == 1 else x
    right = w.reshape(c, y, (*y.shape, 1)) if y.rank == 1 else y
    if min(left.rank, right.rank) < 2 or left.shape[-1] != right.shape[-2]:
        c.refuse(f"multiplies tensors of shapes {x.shape} and {y.shape}")
    lead = tuple(np.broadcast_shapes(left.shape[:-2], right.shape[:-2]))
    factors = [broadcast(w, c, value, (*lead, *value.shape[-2:])) for value in (left, right)]
    rows, columns = left.shape[-2], right.shape[-1]
    out = _stacked(w, c, factors, (*lead, rows, columns))
    return w.reshape(c, out, (*lead, *(() if x.rank == 1 else (rows,)), *(() if y.rank == 1 else (columns,))))


def _stacked(w: Writer, c: Call, factors: list[Value], shape: Shape) -> Value:
    """The product as one of (stack, n, k) and (stack, k, m), in its shape."""
    stack = prod(shape[:-2])
    flat = [w.reshape(c, value, (stack, *value.shape[-2:])) for value in factors]
    return w.reshape(c, w.emit(c, "product", flat, (stack, *shape[-2:]), pairing="matrix"), shape)


def power(w: Writer, c: Call, x: Value, exponent: int) -> Value:
    """A whole power but 0; of a whole power too it is one, unless a pole at 0 would be lost."""
    base, inner = _base(w, x)
    if _keeps_poles(inner, exponent, inner * exponent):
        exponent *= inner
    else:
        base = x
    return base if exponent == 1 else w.emit(c, "curve", [base], x.shape, function="power", parameters=[str(exponent)])


def _keeps_poles(first: int, second: int, joined: int) -> bool:
    """Whether x^joined has no value wherever x^first or x^second, which it is made of, has none."""
    return joined < 0 or min(first, second) >= 0


def _base(w: Writer, x: Value) -> tuple[Value, int]:
    """A tensor and the whole power of it that x is."""
    node = w.node(x.name)
    if node is None or node["op"] != "curve" or node["function"] != "power" or "/" in node["parameters"][0]:
        return x, 1
    return Value(node["inputs"][0], x.shape), int(node["parameters"][0])
