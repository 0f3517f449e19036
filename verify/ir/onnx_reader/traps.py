"""What ends the process in the reference runtime, or keeps it for ever, where it ought to be refused.

Attributes are looked at in all nodes of a file, those that its output does not need among them, since the runtime is
handed the file as a whole; operands of nodes over constants, before one of these is handed over alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

import numpy as np
import onnx

from verify.errors import UnsupportedOp
from verify.ir.onnx_reader.reader import LARGEST

_LEAST = {  # of attributes that the runtime divides by, or counts up to
    "group": 1, "offset_group": 1, "num_groups": 1, "blocksize": 1, "kernel_shape": 1, "strides": 1, "dilations": 1,
    "batch_dims": 0, "sampling_ratio": 0,
}
_SIGNALS = ("DFT", "STFT", "RoiAlign", "SplitToSequence")  # which some operands end
_OF_ENTRIES = ("InstanceNormalization", "GRU", "LSTM", "RNN")  # which arrays without entries end


def refuse_lengths(nodes: Iterable[onnx.NodeProto]) -> None:
    """Raises UnsupportedOp, naming the node, for attributes of these nodes, and of those within them."""
    for node in _all(nodes):
        for attribute in node.attribute:
            numbers = list(attribute.ints) or [attribute.i]
            least = _LEAST.get(attribute.name)
            if least is not None and (min(numbers) < least or prod(max(1, n) for n in numbers) > LARGEST):
                raise UnsupportedOp(f"node {node.name or node.output[0]} ({node.op_type}) has {attribute.name} "
                                    f"{numbers[:8]}, where numbers from {least} up to {LARGEST} in all are read; "
                                    "check the model with onnx.checker")


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all(graph.node)


def refuse_operands(op: str, arrays: Sequence[np.ndarray]) -> None:
    """Raises ValueError for a node over these constants."""
    if op in _SIGNALS:
        raise ValueError("is not evaluated over constants")
    if op in _OF_ENTRIES and not all(array.size for array in arrays):
        raise ValueError("reads an array without entries")
    if op not in ("Div", "Mod") or len(arrays) != 2 or arrays[1].dtype.kind not in "iu":
        return
    if not arrays[1].all():
        raise ValueError("divides by zero")
    least = np.iinfo(arrays[0].dtype).min
    if least < 0 and (arrays[0] == least).any() and (arrays[1] == -1).any():
        raise ValueError("divides the least number of its type by -1, whose quotient it does not have")
