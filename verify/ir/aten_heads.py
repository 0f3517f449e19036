"""A last layer that keeps the order of the logits: softmax and log-softmax."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from verify.ir.aten import Context, aten
from verify.ir.aten_layout import TracedValue
from verify.ir.builder import End
from verify.ir.head import ELSEWHERE, PARTS, Head


@aten("_softmax.default", "_log_softmax.default")
def softmax(c: Context, x: TracedValue, dim: int, half_to_float: bool) -> TracedValue:
    axis = c.axis(x, dim)
    if x.ir[axis] != prod(x.ir):
        raise c.refuse("; ".join(PARTS))
    head = Head(str(c.node.target) == "aten._log_softmax.default")
    end = End(c.complete(x).name, head, c.refuse("; ".join(ELSEWHERE)))
    return replace(x, name=c.builder.end(c.node.name, end))
