"""Nodes over constants alone mean what onnxruntime makes of them, at every opset, within limits."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.onnx_models import Model, agree, integers, load, numbers, ops
from verify.errors import UnsupportedOp
from verify.ir.onnx_reader.fold import _run
from verify.ir.onnx_reader.shapes import computed

SQUARE = np.array([[[0, 1], [2, 4]]], np.float32)
BATCH_NORM = [np.array(v, np.float32) for v in ([[1, 2], [3, 5]], [1, 2], [0, 1], [1, 1], [4, 9])]
WEIGHTS = np.random.default_rng(0).integers(-127, 128, (4, 6)).astype(np.int8)

# name: opset, operator, operands, attributes
FOLDED: dict[str, tuple[int, str, list[Any], dict[str, Any]]] = {
    "softmax 11": (11, "Softmax", [SQUARE], {"axis": 1}),
    "softmax 13": (13, "Softmax", [SQUARE], {"axis": 1}),
    "log softmax 12": (12, "LogSoftmax", [SQUARE], {"axis": 1}),
    "hardmax 11": (11, "Hardmax", [SQUARE], {"axis": 1}),
    "lp normalisation": (12, "LpNormalization", [numbers(1, 2, 3)], {"axis": 1, "p": 1}),
    "batch norm 8": (8, "BatchNormalization", BATCH_NORM, {}),
    "batch norm 9": (9, "BatchNormalization", BATCH_NORM, {}),
    "batch norm 14": (14, "BatchNormalization", BATCH_NORM, {}),
    "local response": (13, "LRN", [numbers(2, 1, 4, 1, 1)], {"size": 3, "alpha": 0.9, "beta": 0.5}),
    "max pool": (13, "MaxPool", [-np.abs(numbers(3, 1, 1, 4))], {"kernel_shape": [3], "pads": [0, 2], "ceil_mode": 1}),
    "average pool": (12, "AveragePool", [numbers(3, 1, 1, 5)], {"kernel_shape": [2], "strides": [2], "ceil_mode": 1}),
    "resize": (19, "Resize", [numbers(4, 1, 1, 4), None, np.array([1, 1, 1.7], np.float32)],
               {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    "erf": (13, "Erf", [numbers(5, 3)], {}),
    "rnn": (13, "RNN", [numbers(1, 2, 1, 3), numbers(2, 1, 4, 3), numbers(3, 1, 4, 4)], {"hidden_size": 4}),
    "half": (13, "Cast", [numbers(1, 4).astype(np.float16)], {"to": 1}),
    "dequantised 10": (10, "DequantizeLinear", [WEIGHTS, np.float32(0.02), np.int8(3)], {}),
    "dequantised 13": (13, "DequantizeLinear", [WEIGHTS, np.full(4, 0.02, np.float32), np.zeros(4, np.int8)],
                       {"axis": 0}),
    "dequantised 19": (19, "DequantizeLinear", [WEIGHTS.astype(np.uint8), np.float32(0.02), np.uint8(128)], {}),
    "dequantised 21": (21, "DequantizeLinear", [WEIGHTS, np.abs(numbers(1, 4, 3))], {"axis": 1, "block_size": 2}),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded_constant(name: str) -> None:
    opset, op, operands, attributes = FOLDED[name]
    model = Model(1, 1, opset=opset)
    flat = model("Reshape", model(op, *operands, **attributes), integers(1, -1))
    network = agree(model.proto(model("Add", model("Relu", "x"), flat)))
    assert ops(network)[0] == "ReLU"


def test_quantised_weights_are_an_ordinary_network() -> None:
    model = Model(1, 6, opset=13)
    weight = model("DequantizeLinear", WEIGHTS, np.float32(0.02), np.int8(0))
    network = agree(model.proto(model("Relu", model("Gemm", "x", weight, transB=1))))
    assert ops(network) == ["Linear", "ReLU"]


def _whole(rng: np.random.Generator) -> tuple[onnx.NodeProto, int, list[np.ndarray]]:
    """A random node of the arithmetic of shapes."""
    op = str(rng.choice(["Add", "Sub", "Mul", "Div", "Equal", "Where", "Cast", "Concat", "Gather", "Shape", "Slice",
                         "Squeeze", "Unsqueeze"]))
    kind, opset = (np.int64, np.int32)[rng.integers(2)], int(rng.choice([11, 13]))

    def some(*shape: int, low: int = -9) -> np.ndarray:
        return np.asarray(rng.integers(low, 10, shape), kind)

    attributes: dict[str, Any] = {}
    if op in ("Add", "Sub", "Mul", "Div", "Equal"):
        arrays = [some(*[(2, 3), (3,), (1,), ()][rng.integers(4)]), some(3)]
        arrays[1] = np.where(arrays[1] == 0, 5, arrays[1]).astype(kind) if op == "Div" else arrays[1]
    elif op == "Where":
        arrays = [some(3) > 0, some(2, 3), some(1)]
    elif op == "Cast":
        arrays, attributes = [some(4)], {"to": int(rng.choice([6, 7, 9]))}
    elif op == "Concat":
        arrays, attributes = [some(2), some(1), some(3)], {"axis": int(rng.choice([0, -1]))}
    elif op == "Gather":
        arrays = [some(3, 4), np.asarray(rng.integers(-3, 3, rng.integers(0, 3)), kind)]
        attributes = {"axis": int(rng.choice([0, -1]))}
    elif op == "Shape":
        arrays = [some(3, 1, 2)]
    elif op == "Slice":
        arrays = [some(5, 4), some(1), some(1), *(np.array([rng.choice(v)], kind) for v in ([0, -1], [1, -2]))]
    elif opset == 11:
        arrays, attributes = [some(1, 3, 1)], {"axes": [int(rng.choice([0, 2, -1]))]}
    else:
        arrays = [some(1, 3, 1), integers(int(rng.choice([0, 2, -1])))]
    names = [f"i{k}" for k in range(len(arrays))]
    return helper.make_node(op, names, ["out"], **attributes), opset, arrays


def test_arithmetic_of_shapes_is_that_of_the_runtime() -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        node, opset, arrays = _whole(rng)
        mine, (theirs,) = computed(node, opset, arrays), _run(node, "node", opset, arrays)
        assert mine is not None
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype


@pytest.mark.parametrize(("op", "operands"), [
    ("ConstantOfShape", [integers(1 << 20, 1 << 20)]),
    ("Expand", [np.ones((1, 1), np.float32), integers(1 << 18, 1 << 18)]),
    ("Tile", [np.ones((1, 1), np.float32), integers(1 << 18, 1 << 18)]),
    ("Range", [np.float32(0), np.float32(1e9), np.float32(1)]),
    ("Mul", [np.ones((1 << 16, 1), np.float32), np.ones((1, 1 << 16), np.float32)]),
    ("Pad", [np.ones(1, np.float32), integers(0, 1 << 40)]),
    ("Mod", [integers(1), integers(0)]), ("Div", [integers(1), integers(0)]), ("Gather", [integers(1), integers(7)]),
    ("HardSigmoid", [np.ones(2)]),
])
def test_constants_beyond_limits_are_refused_at_once(op: str, operands: list[np.ndarray]) -> None:
    model = Model(1, 1)
    made = model("Cast", model("ReduceMax", model("Reshape", model(op, *operands), integers(-1)), keepdims=0), to=1)
    start = time.perf_counter()
    with pytest.raises(UnsupportedOp, match=rf"node v0_0 \({op}, constant inputs") as found:
        load(model.proto(model("Add", "x", made)))
    assert time.perf_counter() - start < 3
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 600


def _info(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def test_a_loop_over_constants_is_refused_at_once() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Identity", ["v"], ["w"])], "body",
        [_info("i", TensorProto.INT64), _info("go", TensorProto.BOOL), _info("v", TensorProto.FLOAT, 1)],
        [_info("still", TensorProto.BOOL), _info("w", TensorProto.FLOAT, 1)])
    model = Model(1, 1)
    found = model("Loop", np.array(1 << 62), np.array(True), np.ones(1, np.float32), body=body)
    with pytest.raises(UnsupportedOp, match=r"node v0_0 \(Loop\) runs other nodes"):
        load(model.proto(model("Add", "x", found)))


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_with_a_constant_condition_is_taken(condition: bool) -> None:
    stored = onnx.numpy_helper.from_array(np.array([1, 2, 3], np.float32), "inner")
    then = helper.make_graph([helper.make_node("Add", ["v0_0", "inner"], ["sum"])], "then", [],
                             [_info("sum", TensorProto.FLOAT, 1, 3)], [stored])
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    otherwise = helper.make_graph(nodes, "else", [], [_info("b", TensorProto.FLOAT, 1, 3)])
    model = Model(1, 3)
    model("Relu", "x")
    chosen = model("If", np.array(condition), then_branch=then, else_branch=otherwise)
    network = agree(model.proto(model("Neg", chosen)))
    assert ops(network)[0] == ("ReLU" if condition else "Abs")
