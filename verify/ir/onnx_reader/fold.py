"""Nodes that depend on constants alone, evaluated by ONNX's own reference implementation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from verify.errors import UnsupportedOp
from verify.ir.onnx_reader.values import Const

_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}


def fold(node: onnx.NodeProto, name: str, opset: int, inputs: Sequence[Const | None]) -> list[Const]:
    """The outputs of a node with constant inputs, for a batch of 1 and, where they differ, for a batch of WIDE."""
    if node.op_type in _RANDOM:
        raise UnsupportedOp(f"node {name} ({node.op_type}) draws random numbers; export the model in evaluation mode")
    given = [c for c in inputs if c is not None]
    arrays = _evaluate(node, name, opset, [None if c is None else c.array for c in inputs])
    same = all(c.wide is c.array for c in given)
    wide = arrays if same else _evaluate(node, name, opset, [None if c is None else c.wide for c in inputs])
    return [Const(output, a, w) for output, a, w in zip(filter(None, node.output), arrays, wide, strict=False)]


def _evaluate(node: onnx.NodeProto, name: str, opset: int, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    if node.op_type == "Constant" and node.attribute[0].name == "value":
        return [numpy_helper.to_array(node.attribute[0].t)]
    from onnx.reference import ReferenceEvaluator

    feeds = {key: array for key, array in zip(node.input, inputs, strict=True) if array is not None}
    reads, makes = ([helper.make_tensor_value_info(key, onnx.TensorProto.UNDEFINED, None) for key in keys if key]
                    for keys in (feeds, node.output))
    graph = helper.make_graph([node], name, reads, makes)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(None, feeds)
    except Exception as problem:  # the evaluator raises whatever its NumPy code raises
        shapes = ", ".join(str(array.shape) for array in feeds.values())
        raise UnsupportedOp(f"node {name} ({node.op_type}, constant inputs of shape {shapes}) cannot be evaluated: "
                            f"{problem}; simplify the model and export it again") from None
    return [np.asarray(array) for array in found]
