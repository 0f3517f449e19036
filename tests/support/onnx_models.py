"""Small ONNX models for the tests of the front-end, and what other runtimes make of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as RuntimeLacksOp

from verify.errors import UnsupportedOp
from verify.ir.graph import Network
from verify.ir.onnx_reader import read_onnx

IMAGE = (1, 2, 5, 6)


onnxruntime.set_default_logger_severity(4)

Operand = str | np.ndarray | np.generic | None  # a result, a constant, or an input that is left out


class Model:
    """An ONNX graph with the input `x`; calling it adds a node. Arrays among the operands become initialisers."""

    def __init__(self, *shape: int | str | None, opset: int = 13, kind: int = TensorProto.FLOAT):
        self.shape, self.opset, self.kind = shape, opset, kind
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def __call__(self, op: str, *operands: Operand, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        node = helper.make_node(op, [self._name(o) for o in operands], names, **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def _name(self, operand: Operand) -> str:
        if operand is None or isinstance(operand, str):
            return operand or ""
        self.stored.append(numpy_helper.from_array(np.asarray(operand), f"c{len(self.stored)}"))
        return self.stored[-1].name

    def proto(self, *outputs: str, listed: bool = False) -> onnx.ModelProto:
        """`listed`: initialisers stand among the inputs too, as old files have them."""
        inputs = [helper.make_tensor_value_info("x", self.kind, self.shape)]
        if listed:
            inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.stored]
        ends = [helper.make_tensor_value_info(name, self.kind, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "test", inputs, ends, self.stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)


def load(proto: onnx.ModelProto) -> Network:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        return read_onnx(path)


def attempt(source: Any, read: Callable[[Any], Network]) -> tuple[Network | None, str]:
    """The network, or why there is none."""
    try:
        return read(source), ""
    except UnsupportedOp as refusal:
        return None, str(refusal)


def run(proto: onnx.ModelProto, xs: np.ndarray) -> list[np.ndarray]:
    """onnxruntime's answer to each sample, or that of ONNX's reference where onnxruntime lacks the operator."""
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString())
    except RuntimeLacksOp:
        reference = ReferenceEvaluator(proto)
        return [np.asarray(cast("list[np.ndarray]", reference.run(None, {"x": x}))[0]) for x in xs]
    return [np.asarray(session.run(None, {"x": x})[0]) for x in xs]


def agree(proto: onnx.ModelProto, seed: int = 0, samples: int = 3) -> Network:
    """The network read from the model gives what a runtime gives on each of a batch of samples."""
    network = load(proto)
    kind = proto.graph.input[0].type.tensor_type
    shape = tuple(d.dim_value or 1 for d in kind.shape.dim)
    x = np.random.default_rng(seed).normal(0, 2, (samples, *shape))
    x = x.astype(np.float64 if kind.elem_type == TensorProto.DOUBLE else np.float32)
    found = network(torch.from_numpy(x).reshape(samples, *network.input_shape)).numpy()
    for mine, theirs in zip(found, run(proto, x), strict=True):
        assert theirs.size == mine.size
        scale = 1 + np.abs(theirs).max(initial=0)
        np.testing.assert_allclose(mine.ravel() / scale, theirs.ravel() / scale, rtol=0, atol=1e-5)
    return network


def ops(network: Network) -> list[str]:
    return [type(node.op).__name__ for node in network.graph.nodes]


def numbers(seed: int, *shape: int, kind: type = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(kind)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def chain(*shape: int | str | None, steps: Sequence[tuple], opset: int = 13) -> onnx.ModelProto:
    """A model of nodes in a row: each step is an operator, operands of which "x" is the previous result, attributes."""
    model, last = Model(*shape, opset=opset), "x"
    for op, *operands in steps:
        attributes = operands.pop() if operands and isinstance(operands[-1], dict) else {}
        given = [last if isinstance(o, str) else o for o in operands or ["x"]]
        last = model(op, *given, **attributes)
    return model.proto(last)


def axes(dims: int, low: int, high: int) -> st.SearchStrategy[list[int]]:
    """A number for each spatial axis."""
    return st.lists(st.integers(low, high), min_size=dims, max_size=dims)
