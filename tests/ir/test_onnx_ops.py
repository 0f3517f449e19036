"""Every ONNX operator that is read, in its forms over the opsets, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_models import IMAGE, Model, agree, chain, integers, load, numbers, ops
from verify.errors import UnsupportedOp

X = "x"
SCALAR = np.float32
BN = [numbers(i, 2) for i in range(3)] + [np.abs(numbers(3, 2))]
ROW, BLOCK, PLANES = numbers(5, 6), numbers(6, 2, 1, 6), numbers(7, 1, 2, 5, 6)

# name: (input shape, opset, steps); a step is an operator, its operands (of which "x" is the last result; alone by
# default) and its attributes
CASES = {
    "relu": (IMAGE, 8, [("Relu",)]),
    "relu 21": (IMAGE, 21, [("Relu",)]),
    "abs": (IMAGE, 13, [("Abs",)]),
    "sigmoid": (IMAGE, 13, [("Sigmoid",)]),
    "tanh": (IMAGE, 13, [("Tanh",)]),
    "exp": (IMAGE, 8, [("Exp",)]),
    "log": (IMAGE, 13, [("Abs",), ("Add", X, SCALAR(0.3)), ("Log",)]),
    "sign": (IMAGE, 13, [("Sign",)]),
    "floor": (IMAGE, 13, [("Floor",)]),
    "ceil": (IMAGE, 8, [("Ceil",)]),
    "round": (IMAGE, 11, [("Round",)]),
    "shrink that jumps": (IMAGE, 9, [("Shrink", {"lambd": 0.7, "bias": 0.2})]),
    "thresholded relu": (IMAGE, 10, [("ThresholdedRelu", {"alpha": 0.5})]),
    "gelu": (IMAGE, 20, [("Gelu",)]),
    "gelu by tanh": (IMAGE, 20, [("Gelu", {"approximate": "tanh"})]),
    "elu": (IMAGE, 8, [("Elu", {"alpha": 1.5})]),
    "selu": (IMAGE, 13, [("Selu",)]),
    "celu": (IMAGE, 13, [("Celu", {"alpha": 0.7})]),
    "hard swish": (IMAGE, 14, [("HardSwish",)]),
    "mish": (IMAGE, 18, [("Mish",)]),
    "softsign": (IMAGE, 13, [("Softsign",)]),
    "sine": (IMAGE, 8, [("Sin",)]),
    "cosine": (IMAGE, 13, [("Cos",)]),
    "arc tangent": (IMAGE, 13, [("Atan",)]),
    "erf": (IMAGE, 13, [("Erf",)]),
    "root": (IMAGE, 13, [("Abs",), ("Sqrt",)]),
    "reciprocal": (IMAGE, 13, [("Abs",), ("Add", X, SCALAR(0.3)), ("Reciprocal",)]),
    "square": (IMAGE, 8, [("Pow", X, SCALAR(2))]),
    "cube": (IMAGE, 15, [("Pow", X, np.array([3], np.int64))]),
    "power": (IMAGE, 15, [("Abs",), ("Pow", X, np.array(1.3))]),
    "power of one": (IMAGE, 13, [("Pow", X, np.ones((1, 2, 1, 1), np.float32)), ("Relu",)]),
    "softplus": (IMAGE, 8, [("Softplus",)]),
    "neg": (IMAGE, 8, [("Neg",)]),
    "leaky default": (IMAGE, 8, [("LeakyRelu",)]),
    "leaky": (IMAGE, 16, [("LeakyRelu", {"alpha": 0.3})]),
    "leaky negative": (IMAGE, 16, [("LeakyRelu", {"alpha": -0.3})]),
    "hard sigmoid default": (IMAGE, 8, [("HardSigmoid",)]),
    "hard sigmoid": (IMAGE, 13, [("HardSigmoid", {"alpha": 0.5, "beta": 0.3})]),
    "hard sigmoid falling": (IMAGE, 13, [("HardSigmoid", {"alpha": -0.5, "beta": 0.3})]),
    "clip attributes": (IMAGE, 8, [("Clip", {"min": -1.0, "max": 0.5})]),
    "clip attribute low": (IMAGE, 8, [("Clip", {"min": -1.0})]),
    "clip attribute none": (IMAGE, 8, [("Clip",), ("Relu",)]),
    "clip inputs": (IMAGE, 13, [("Clip", X, SCALAR(-1), SCALAR(0.5))]),
    "clip low": (IMAGE, 13, [("Clip", X, SCALAR(-0.7))]),
    "clip zero": (IMAGE, 13, [("Clip", X, SCALAR(0))]),
    "clip high": (IMAGE, 11, [("Clip", X, None, SCALAR(0.7))]),
    "clip infinite": (IMAGE, 13, [("Clip", X, SCALAR(-np.inf), SCALAR(0.7))]),
    "clip widest": (IMAGE, 13, [("Clip", X, SCALAR(0.1), np.finfo(np.float32).max)]),
    "aliases": (IMAGE, 13, [("Identity",), ("Dropout", X, SCALAR(0.5)), ("Cast", {"to": 1}), ("Relu",)]),
    "dropout attribute": (IMAGE, 8, [("Dropout", {"ratio": 0.5}), ("Relu",)]),
    "add constant": (IMAGE, 8, [("Add", X, ROW)]),
    "add constant first": (IMAGE, 14, [("Add", BLOCK, X)]),
    "add constant that grows": (IMAGE, 13, [("Add", X, numbers(1, 3, 1, 2, 1, 1))]),
    "subtract": (IMAGE, 8, [("Sub", X, ROW)]),
    "subtract from": (IMAGE, 13, [("Sub", BLOCK, X)]),
    "sum": (IMAGE, 13, [("Sum", X, ROW, X, BLOCK)]),
    "double": (IMAGE, 13, [("Add", X, X)]),
    "vanish": (IMAGE, 13, [("Sub", X, X)]),
    "multiply": (IMAGE, 8, [("Mul", X, BLOCK)]),
    "multiply first": (IMAGE, 13, [("Mul", ROW, X)]),
    "divide": (IMAGE, 13, [("Div", X, 1 + np.abs(ROW))]),
    "maximum constant": (IMAGE, 13, [("Max", X, ROW)]),
    "maximum constants": (IMAGE, 8, [("Max", ROW, X, BLOCK)]),
    "minimum constant": (IMAGE, 13, [("Min", X, ROW)]),
    "gemm": ((1, 6), 8, [("Gemm", X, numbers(1, 6, 4), numbers(2, 4))]),
    "gemm row bias": ((1, 6), 13, [("Gemm", X, numbers(1, 4, 6), numbers(2, 1, 4), {"transB": 1})]),
    "gemm scaled": ((1, 6), 13, [("Gemm", X, numbers(1, 6, 4), numbers(2, 4), {"alpha": 0.3, "beta": 0.7})]),
    "gemm beta": ((1, 6), 13, [("Gemm", X, numbers(1, 6, 4), numbers(2, 4), {"beta": 0.7})]),
    "gemm scalar bias": ((1, 6), 13, [("Gemm", X, numbers(1, 6, 4), SCALAR(2))]),
    "gemm no bias": ((1, 6), 11, [("Gemm", X, numbers(1, 6, 4))]),
    "gemm unbatched": ((3, 6), 13, [("Gemm", X, numbers(1, 6, 4), numbers(2, 3, 4))]),
    "gemm transposed": ((3, 6), 13, [("Gemm", X, numbers(1, 3, 4), {"transA": 1})]),
    "gemm left": ((3, 6), 13, [("Gemm", numbers(1, 4, 3), X, numbers(2, 4, 1))]),
    "gemm left both": ((3, 6), 13, [("Gemm", numbers(1, 6, 4), X, numbers(2, 3), {"transA": 1, "transB": 1})]),
    "matmul": ((1, 6), 8, [("MatMul", X, numbers(1, 6, 4))]),
    "matmul deep": (IMAGE, 13, [("MatMul", X, numbers(1, 6, 4))]),
    "matmul vector": (IMAGE, 13, [("MatMul", X, numbers(1, 6))]),
    "matmul left": (IMAGE, 13, [("MatMul", numbers(1, 4, 5), X)]),
    "matmul left vector": (IMAGE, 13, [("MatMul", numbers(1, 5), X)]),
    "matmul stack of one": (IMAGE, 13, [("MatMul", X, numbers(1, 1, 6, 4))]),
    "matmul taller": ((1, 6), 13, [("MatMul", X, numbers(1, 1, 1, 6, 4))]),
    "matmul of vector": ((6,), 13, [("MatMul", X, numbers(1, 6, 4))]),
    "matmul on vector": ((6,), 13, [("MatMul", numbers(1, 4, 6), X)]),
    "matmul inner": ((6,), 13, [("MatMul", X, numbers(1, 6))]),
    "batch norm": (IMAGE, 8, [("BatchNormalization", X, *BN)]),
    "batch norm 15": (IMAGE, 15, [("BatchNormalization", X, *BN, {"epsilon": 1e-2, "momentum": 0.5})]),
    "batch norm of rows": ((1, 2), 13, [("BatchNormalization", X, *BN)]),
    "reshape": (IMAGE, 8, [("Reshape", X, integers(0, -1, 3))]),
    "reshape drops the batch": (IMAGE, 13, [("Reshape", X, integers(-1)), ("Relu",)]),
    "reshape moves the batch": (IMAGE, 13, [("Reshape", X, integers(10, 1, 6)), ("Transpose", {"perm": [1, 0, 2]})]),
    "flatten": (IMAGE, 8, [("Flatten",)]),
    "flatten negative": (IMAGE, 13, [("Flatten", {"axis": -1})]),
    "flatten all": (IMAGE, 13, [("Flatten", {"axis": 4})]),
    "flatten none": (IMAGE, 13, [("Flatten", {"axis": 0})]),
    "transpose": (IMAGE, 8, [("Transpose", {"perm": [0, 3, 1, 2]})]),
    "transpose reversed": (IMAGE, 13, [("Transpose",)]),
    "squeeze attribute": ((1, 3, 1, 4), 11, [("Squeeze", {"axes": [2]})]),
    "squeeze input": ((1, 3, 1, 4), 13, [("Squeeze", X, integers(-2))]),
    "squeeze all": ((1, 3, 1, 4), 13, [("Squeeze",)]),
    "squeeze batch": ((1, 3, 1, 4), 13, [("Squeeze", X, integers(0)), ("Unsqueeze", X, integers(1)), ("Abs",)]),
    "unsqueeze attribute": ((1, 3), 11, [("Unsqueeze", {"axes": [1, 3]})]),
    "unsqueeze input": ((1, 3), 13, [("Unsqueeze", X, integers(-1, 0))]),
    "unbatched image": ((2, 5, 6), 13, [("Unsqueeze", X, integers(0)), ("Conv", X, numbers(1, 3, 2, 2, 2))]),
    "slice attributes": (IMAGE, 8, [("Slice", {"starts": [1, 0], "ends": [4, -2], "axes": [2, 3]})]),
    "slice inputs": (IMAGE, 13, [("Slice", X, integers(0, 1), integers(9, 1 << 40), integers(0, -1))]),
    "slice steps": (IMAGE, 10, [("Slice", X, integers(-1, 1), integers(-99, 5), integers(3, 2), integers(-2, 2))]),
    "gather": (IMAGE, 8, [("Gather", X, integers(2, -1, 2), {"axis": 3})]),
    "gather one": (IMAGE, 13, [("Gather", X, np.array(1), {"axis": 1})]),
    "gather grid": (IMAGE, 13, [("Gather", X, integers(0, 1, 2, 3).reshape(2, 2), {"axis": -1})]),
    "gather unbatched": ((4, 3), 13, [("Gather", X, integers(2, 0))]),
    "concat constants": (IMAGE, 13, [("Concat", PLANES, X, X, PLANES, {"axis": 1})]),
    "concat one": (IMAGE, 8, [("Concat", X, {"axis": -1})]),
    "expand": ((1, 2, 1, 6), 8, [("Expand", X, integers(1, 2, 5, 6))]),
    "expand grows": ((1, 2, 6), 13, [("Expand", X, integers(3, 1, 1, 1))]),
    "pad attributes": (IMAGE, 8, [("Pad", {"pads": [0, 0, 1, 2, 0, 1, 0, 3], "value": 0.5})]),
    "pad inputs": (IMAGE, 13, [("Pad", X, integers(0, 0, 1, -2, 0, 1, -1, 3), SCALAR(0.5))]),
    "pad axes": (IMAGE, 18, [("Pad", X, integers(1, 2), None, integers(-2))]),
    "pad reflect": (IMAGE, 13, [("Pad", X, integers(0, 0, 1, 2, 0, 0, 2, 3), {"mode": "reflect"})]),
    "pad edge": (IMAGE, 8, [("Pad", {"pads": [0, 0, 1, 2, 0, 0, 2, 3], "mode": "edge"})]),
    "upsample 8": (IMAGE, 8, [("Upsample", {"scales": [1.0, 1.0, 2.0, 1.5]})]),
    "upsample 9": (IMAGE, 9, [("Upsample", X, np.array([1, 1, 2, 3], SCALAR), {"mode": "nearest"})]),
    "resize 10": (IMAGE, 10, [("Resize", X, np.array([1, 1, 0.5, 1.7], SCALAR))]),
    "resize axes": (IMAGE, 18, [("Resize", X, None, np.array([2, 3], SCALAR), {"axes": [2, 3]})]),
    "reduce sum attribute": (IMAGE, 8, [("ReduceSum", {"axes": [1, 3]})]),
    "reduce sum input": (IMAGE, 13, [("ReduceSum", X, integers(-1), {"keepdims": 0})]),
    "reduce to one": (IMAGE, 13, [("ReduceSum", X, integers(1, 2, 3), {"keepdims": 0}), ("Relu",)]),
    "reduce all": ((5, 6), 13, [("ReduceSum", {"keepdims": 0}), ("Relu",)]),
    "reduce nothing": (IMAGE, 13, [("ReduceSum", X, integers(), {"noop_with_empty_axes": 1}), ("Abs",)]),
    "reduce mean": (IMAGE, 13, [("ReduceMean", {"axes": [2, 3], "keepdims": 0})]),
    "reduce mean 18": (IMAGE, 18, [("ReduceMean", X, integers(1))]),
    "reduce max": (IMAGE, 8, [("ReduceMax", {"axes": [1, -1], "keepdims": 0})]),
    "reduce max 18": (IMAGE, 18, [("ReduceMax", X, integers(2))]),
    "reduce min": (IMAGE, 13, [("ReduceMin", {"axes": [2]})]),
    "global average": (IMAGE, 8, [("GlobalAveragePool",)]),
    "global max": (IMAGE, 8, [("GlobalMaxPool",)]),
    "layer norm": (IMAGE, 17, [("LayerNormalization", X, numbers(1, 6))]),
    "attention": (IMAGE, 23, [("Attention", X, X, X)]),
    "softmax of rows": (IMAGE, 13, [("Softmax", {"axis": 2}), ("Neg",)]),
    "rank 1": ((5,), 13, [("Add", X, numbers(1, 5)), ("Relu",), ("Mul", X, SCALAR(2))]),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name):
    shape, opset, steps = CASES[name]
    network = agree(chain(*shape, steps=steps, opset=opset))
    assert all(node.shape for node in network.graph.nodes)


def test_arithmetic_of_varying_tensors():
    for op in ("Add", "Sub", "Max", "Min"):
        model = Model(1, 3, 4)
        sum_ = model("ReduceSum", "x", integers(1))
        agree(model.proto(model(op, model("Relu", "x"), sum_)))
        model = Model(1, 3, 4)
        column = model("ReduceMax", "x", axes=[2], keepdims=0)  # (1, 3), beside (1, 1, 3)
        row = model("Unsqueeze", column, integers(1))
        agree(model.proto(model(op, row, model("Transpose", "x", perm=[0, 2, 1]))))


def test_products_with_a_gate_are_one_curve():
    model = Model(1, 3, 4)
    rate, root = np.float32(1.702), np.float32(np.sqrt(2))
    gates = {
        "Swish": [model("Sigmoid", "x"), model("Sigmoid", model("Mul", rate, "x"))],
        "Mish": [model("Tanh", model("Softplus", "x"))],
        "GELU": [model("Add", model("Erf", model("Div", "x", root)), np.float32(1))],
    }
    for name, made in gates.items():
        for gate in made:
            for pair in (("x", gate), (gate, "x")):
                network = agree(model.proto(model("Mul", *pair)))
                assert ops(network) == ([name, "Scale"] if name == "GELU" else [name])
    for other in (model("Sigmoid", model("Mul", "x", np.float32(-1))), model("Sigmoid", model("Abs", "x"))):
        assert "Multiply" in ops(agree(model.proto(model("Mul", "x", other))))


def test_addition_has_one_term_for_each_argument():
    model = Model(1, 4)
    y = model("Relu", "x")
    network = agree(model.proto(model("Sum", y, "x", y, y)))
    assert ops(network) == ["ReLU", "Scale", "Add"]


def test_identities_leave_no_nodes():
    steps = [("Identity",), ("Relu",), ("Flatten",), ("Dropout",), ("Add", "x", np.float32(0))]
    network = agree(chain(1, 4, steps=steps))
    assert ops(network) == ["ReLU"]


def test_max_of_a_tensor_with_itself_is_the_tensor():
    assert ops(agree(chain(1, 4, steps=[("Relu",), ("Max", "x", "x")]))) == ["ReLU"]


@pytest.mark.parametrize(("opset", "attributes", "sizes"), [
    (8, {"split": [1, 3, 2]}, None), (8, {}, None), (13, {}, integers(4, 1, 1)), (13, {}, None),
    (18, {"num_outputs": 3}, None),
])
def test_split(opset, attributes, sizes):
    for kept in range(3):
        model = Model(1, 2, 6, opset=opset)
        operands = ["x"] if sizes is None else ["x", sizes]
        agree(model.proto(model("Split", *operands, outputs=3, axis=2, **attributes)[kept]))


def test_nothing_has_no_mean():
    model = Model(1, 2, 6)
    none, rest = model("Split", "x", integers(0, 6), outputs=2, axis=2)
    agree(model.proto(model("Concat", none, model("Relu", rest), axis=2)))
    for mean in (model("ReduceMean", none, axes=[2]), model("GlobalAveragePool", none)):
        with pytest.raises(UnsupportedOp, match=r"\(Sum\) reads a tensor of shape \(2, 0\), which has no entries"):
            load(model.proto(mean))


def test_uneven_split_by_number():
    model = Model(1, 7, opset=18)
    parts = model("Split", "x", outputs=3, axis=1, num_outputs=3)
    agree(model.proto(model("Concat", *parts[::-1], axis=1)))
