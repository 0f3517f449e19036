"""Products of a value and a gate made of it that are one curve: x sigmoid(x), x (1 + erf(x / sqrt(2))) and others.

Exporters write SiLU, Mish, HardSwish and GELU so. As one curve each has far tighter bounds than as a product of two
values that vary apart.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import torch

from verify.ir.graph import Node
from verify.ops import (
    GELU,
    Abs,
    Curve,
    Erf,
    HardSigmoid,
    HardSwish,
    Mish,
    Power,
    Scale,
    Shift,
    Sigmoid,
    Softplus,
    Swish,
    Tanh,
)
from verify.ops.shape_ops import Divide, Entrywise

if TYPE_CHECKING:
    from verify.ir.builder import GraphBuilder

Gated = tuple[Curve, str, Fraction]  # a curve, its argument, and how many times the product is the curve


def one_curve(builder: GraphBuilder, left: str, right: str) -> Gated | None:
    """The curve that the product of two values is, entry by entry, where it is known to be one, a number of times that
    the graph's floats hold: x / 3 times a gate stays a product."""
    made = {node.name: node for node in builder.nodes}
    for factor, gate in ((left, right), (right, left)):
        for x, count in ((factor, Fraction(1)), *_parts(builder, made, factor)):
            found = _opened(builder, made, x, made[gate]) if gate in made else None
            if found is not None and _is_held(builder, count * found[1]):
                return found[0], x, count * found[1]
    return None


def whole_power(builder: GraphBuilder, x: str) -> tuple[str, Fraction]:
    """A value and the whole power of it that `x` is, 1 where it is none."""
    node = builder.named.get(x)
    if node is None or not isinstance(node.op, Power) or node.op.exponent.denominator != 1:
        return x, Fraction(1)
    return node.inputs[0], node.op.exponent


def keeps_poles(first: Fraction, second: Fraction, joined: Fraction) -> bool:
    """Whether x^joined has no value wherever x^first or x^second, which it is made of, has none."""
    return joined < 0 or min(first, second) >= 0


def is_softsign(builder: GraphBuilder, x: str, y: str) -> bool:
    """Whether the quotient of two values is x / (1 + |x|)."""
    made = {node.name: node for node in builder.nodes}
    below = made.get(y)
    if below is None or not isinstance(below.op, Shift) or _number(builder, below) != 1:
        return False
    inner = made.get(below.inputs[0])
    return inner is not None and inner.op == Abs() and inner.inputs == (x,)


def _opened(builder: GraphBuilder, made: dict[str, Node], x: str, gate: Node) -> tuple[Curve, Fraction] | None:
    source = gate.inputs[0]
    if gate.op == HardSigmoid(Fraction(1, 6), Fraction(1, 2)) and source == x:
        return HardSwish(), Fraction(1)
    if gate.op == Sigmoid():
        rate = _multiple(builder, made, x, source)
        return None if rate is None or rate <= 0 else (Swish(rate), Fraction(1))
    inner = made.get(source)
    if inner is None:
        return None
    if gate.op == Tanh() and inner.op == Softplus() and inner.inputs[0] == x:
        return Mish(), Fraction(1)
    if isinstance(gate.op, Shift) and _number(builder, gate) == 1 and inner.op == Erf():
        rate = _multiple(builder, made, x, inner.inputs[0])
        return None if rate is None or rate <= 0 else (GELU(rate), Fraction(2))
    return None


def _multiple(builder: GraphBuilder, made: dict[str, Node], x: str, y: str) -> Fraction | None:
    """How many times x the value y is; None where that is not known, or not the same number for all entries."""
    return Fraction(1) if x == y else dict(_parts(builder, made, y)).get(x)


def _parts(builder: GraphBuilder, made: dict[str, Node], y: str) -> list[tuple[str, Fraction]]:
    """The value of which y is a multiple by one number for all entries, and that number; nothing where it is none."""
    node = made.get(y)
    number = _number(builder, node) if node is not None and isinstance(node.op, (Scale, Divide)) else None
    if node is None or not number:
        return []
    return [(node.inputs[0], number if isinstance(node.op, Scale) else 1 / number)]


def _is_held(builder: GraphBuilder, number: Fraction) -> bool:
    return Fraction(torch.tensor(float(number), dtype=builder.dtype).item()) == number


def _number(builder: GraphBuilder, node: Node) -> Fraction | None:
    """The constant of an entrywise node, where all its entries are one number."""
    assert isinstance(node.op, Entrywise)
    constant = builder.parameters[node.parameters[0]]
    same = constant.numel() > 0 and bool(torch.all(constant == constant.flatten()[0]))
    return Fraction(float(constant.flatten()[0])) if same else None
