"""A last layer that keeps the order of the logits: Softmax, LogSoftmax."""

from __future__ import annotations

from math import prod

from verify.ir.builder import End
from verify.ir.head import ELSEWHERE, PARTS, Head
from verify.ir.onnx_reader.reader import Call, Reader, handles
from verify.ir.onnx_reader.values import Value


@handles("Softmax", "LogSoftmax")
def softmax(r: Reader, c: Call) -> Value:
    """Over one axis; before opset 13 over all axes from one on."""
    x = c.value()
    axis = c.axis(c.attribute("axis", 1 if c.opset < 13 else -1), x.rank)
    axes = range(axis, x.rank if c.opset < 13 else axis + 1)
    if r.symbolic and x.batch in axes:
        c.refuse_batch()
    if prod(x.shape[a] for a in axes) != x.size:
        c.refuse(*PARTS)
    name = r.builder.end(c.name, End(x.name, Head(c.op == "LogSoftmax"), c.refusal(*ELSEWHERE)))
    return Value(name, x.shape, x.batch)
