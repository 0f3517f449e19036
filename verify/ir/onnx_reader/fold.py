"""Nodes that depend on constants alone: the reference runtime evaluates them, one node at a time and nothing optimised.

What only computes shapes would take longer to hand over than to compute, so `shapes` evaluates it where it can.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from verify.errors import UnsupportedOp
from verify.ir.onnx_reader.shapes import computed
from verify.ir.onnx_reader.traps import refuse_operands
from verify.ir.onnx_reader.values import Const

if TYPE_CHECKING:
    import onnxruntime

MOST_BYTES = 1 << 29  # of all that the runtime makes for one node
GROWN_BYTES = 1 << 26  # of what a node makes of less
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
_IR_VERSION = 8  # of a file with opsets up to 21, for runtimes old and new


def fold(node: onnx.NodeProto, name: str, opset: int, inputs: Sequence[Const | None]) -> list[Const]:
    """The outputs of a node with constant inputs, for a batch of 1 and, where they differ, for a batch of SEVERAL.

    Raises UnsupportedOp, naming the node, for what draws random numbers or runs other nodes, and for what the runtime
    cannot evaluate within MOST_BYTES.
    """
    if node.op_type in _RANDOM:
        raise UnsupportedOp(f"node {name} ({node.op_type}) draws random numbers; export the model in evaluation mode")
    if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
        raise UnsupportedOp(f"node {name} ({node.op_type}) runs other nodes over constants; simplify the model, for "
                            "example by exporting it with its loops unrolled")
    given = [c for c in inputs if c is not None]
    arrays = _evaluate(node, name, opset, [None if c is None else c.array for c in inputs])
    same = all(c.several is c.array for c in given)
    several = arrays if same else _evaluate(node, name, opset, [None if c is None else c.several for c in inputs])
    return [Const(output, a, w) for output, a, w in zip(filter(None, node.output), arrays, several, strict=False)]


def _evaluate(node: onnx.NodeProto, name: str, opset: int, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    try:
        refuse_operands(node.op_type, [array for array in inputs if array is not None])
        quick = computed(node, opset, inputs)
        found = [quick] if quick is not None else _run(node, name, opset, inputs)
    except Exception as problem:  # the runtime raises errors of its own kinds, and NumPy its own
        shapes = ", ".join(str(array.shape) for array in inputs if array is not None)
        raise UnsupportedOp(f"node {name} ({node.op_type}, constant inputs of shape {shapes}) cannot be evaluated: "
                            f"{_reason(problem):.300}; simplify the model and export it again") from None
    made, given = (sum(a.nbytes for a in arrays if isinstance(a, np.ndarray)) for arrays in (found, inputs))
    if made > max(GROWN_BYTES, 2 * given):
        raise UnsupportedOp(f"node {name} ({node.op_type}) makes constants of {made} bytes of {given}, more than "
                            f"{GROWN_BYTES}; check its sizes, or cut the model down")
    if not all(isinstance(array, np.ndarray) and array.dtype.kind in "biufV" for array in found):
        raise UnsupportedOp(f"node {name} ({node.op_type}) makes what is no tensor of numbers; simplify the model")
    return found


def _reason(problem: Exception) -> str:
    """What the problem says, without places in the runtime's source."""
    text = " ".join(str(problem).split())
    if "Available memory of" in text:
        return f"it makes more than {MOST_BYTES} bytes"
    return re.sub(r"\S*onnxruntime_src\S+ (?:[^()]*\([^()]*\) )?", "", text.partition("Status Message: ")[2] or text)


def _run(node: onnx.NodeProto, name: str, opset: int, inputs: Sequence[np.ndarray | None]) -> list[Any]:
    import onnxruntime  # a tenth of a second that few models need

    held = {key: array for key, array in zip(node.input, inputs, strict=True) if array is not None}
    plain = {key: array for key, array in held.items() if array.dtype.isbuiltin == 1}
    stored = [numpy_helper.from_array(array, key) for key, array in held.items() if key not in plain]
    reads = [helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
             for key, array in plain.items()]
    makes = [helper.make_empty_tensor_value_info(key) for key in node.output if key]
    graph = helper.make_graph([node], name, reads, makes, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=_IR_VERSION)
    session = onnxruntime.InferenceSession(model.SerializeToString(), _options(), providers=["CPUExecutionProvider"])
    tidy = onnxruntime.RunOptions()
    tidy.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return list[Any](session.run(None, plain, tidy))


@cache
def _options() -> onnxruntime.SessionOptions:
    """One thread, no rewriting, and an allocator that gives out MOST_BYTES at most: only the node knows its sizes."""
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(MOST_BYTES, -1, -1, -1))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options
