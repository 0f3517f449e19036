"""Softmax and its kin: as a last layer a head, which keeps the order of the logits, and elsewhere compositions."""

from __future__ import annotations

from math import prod

from verify.ir.builder import End
from verify.ir.head import Head
from verify.ir.onnx_reader.reader import Call, Reader, handles
from verify.ir.onnx_reader.values import Value, ir_shape


@handles("Softmax", "LogSoftmax")
def softmax(r: Reader, c: Call) -> Value:
    """Over one axis; before opset 13 over all axes from one on."""
    x, logarithm = c.value(), c.op == "LogSoftmax"
    axis = c.axis(c.attribute("axis", 1 if c.opset < 13 else -1), x.rank)
    axes = range(axis, x.rank if c.opset < 13 else axis + 1)
    if r.symbolic and x.batch in axes:
        c.refuse_batch()
    absent = r.absent.get(x.name)
    if absent is None and prod(x.shape[a] for a in axes) == x.size:
        return Value(r.builder.end(c.name, End(x.name, Head(logarithm))), x.shape, x.batch)
    if absent is not None and (logarithm or len(axes) > 1 or x.batch in axes):
        c.refuse("reads entries that are minus infinity", "mask with finite numbers")
    y = r.lay(c, x, x.shape, None) if x.batch in axes else x
    own = ir_shape(y.shape, y.batch)
    start, length = y.ir_axis(axis), prod(y.shape[a] for a in axes)
    whole = (*own[:start], length, *own[start + len(axes) :])
    made = r.write(c, lambda w: w.reshape(
        w.log_softmax(w.reshape(y.name, whole), start) if logarithm
        else w.softmax(w.reshape(y.name, whole), start, absent), own), y.shape, y.batch)
    return r.lay(c, made, x.shape, x.batch)
