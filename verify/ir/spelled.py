"""A softmax that is spelled out: exp(x) / sum of exp(x) over an axis, where x may have been shifted by its largest one.

As a quotient of two values that vary apart it would be bounded far more loosely than as one operator.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from verify.ops import Add, Exp, Permute, Reshape, Select, Sum

if TYPE_CHECKING:
    from verify.ir.builder import GraphBuilder


def softmax_of(builder: GraphBuilder, x: str, y: str) -> tuple[str, int] | None:
    """The value, and the axis, whose softmax the quotient of two values of one shape is; None where it is not known to
    be one. What is subtracted from all entries along the axis alike is left out, as it cancels."""
    above, (source, places) = builder.named.get(x), _moved(builder, y)
    total = builder.named.get(source)
    if above is None or above.op != Exp() or total is None or total.inputs != (x,):
        return None
    if not isinstance(total.op, Sum) or total.op.mean or len(total.op.axes) != 1:
        return None
    (axis,), shape = total.op.axes, builder.shapes[x]
    kept = tuple(1 if i == axis else n for i, n in enumerate(shape))
    own = np.broadcast_to(np.arange(prod(kept)).reshape(kept), shape)
    return (_unshifted(builder, above.inputs[0], axis), axis) if np.array_equal(places, own) else None


def _unshifted(builder: GraphBuilder, x: str, axis: int) -> str:
    """`x`, or what it is the difference of to a value that is the same along the axis."""
    node = builder.named.get(x)
    if node is None or node.op != Add((1, -1)):
        return x
    _, places = _moved(builder, node.inputs[1])
    return node.inputs[0] if bool((places == places.take([0], axis)).all()) else x


def _moved(builder: GraphBuilder, x: str) -> tuple[str, np.ndarray]:
    """The value of which `x` holds entries, and their flat places there, in the shape of `x`; -1 for zeros."""
    chain = []
    while (node := builder.named.get(x)) is not None and isinstance(node.op, (Select, Reshape, Permute)):
        chain.append(node)
        x = node.inputs[0]
    places = np.arange(prod(builder.shapes[x])).reshape(builder.shapes[x])
    for node in reversed(chain):
        if isinstance(node.op, Select):
            index = builder.parameters[node.parameters[0]].numpy()
            places = np.where(index < 0, -1, places.ravel()[index])
        else:
            places = places.transpose(node.op.order) if isinstance(node.op, Permute) else places
            places = places.reshape(builder.shapes[node.name])
    return x, places
