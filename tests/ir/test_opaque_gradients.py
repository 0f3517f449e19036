"""The torch evaluation of ONNX files that guides attacks: beside onnxruntime, rule by rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from tests.support.onnx_models import Model, Operand, integers, numbers, run
from verify.ir.opaque.file import executed_file
from verify.ir.opaque.gradients import RULES, Untranslated, translation

MAP = (1, 2, 6, 6)
KERNEL = numbers(1, 4, 2, 3, 3)
FLAT = {"Floor", "Ceil", "Round", "Sign"}  # whose gradients are those of what they round

# operator, operands ("x" is 1 + |input|, "s" the input itself), attributes, shape of the input, opset
CASES: list[tuple[str, list[Operand], dict[str, Any], tuple[int, ...], int]] = [
    *((op, ["s"], {}, (1, 5), 18) for op in (
        "Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Erf", "Sin", "Cos", "Tan", "Atan", "Softplus", "Softsign",
        "HardSwish", "Mish", "Identity", "Floor", "Ceil", "Round", "Sign", "Elu", "Selu", "LeakyRelu", "HardSigmoid",
        "Sinh", "Cosh")),
    *((op, ["x"], {}, (1, 5), 18) for op in ("Log", "Sqrt", "Reciprocal")),
    ("Elu", ["s"], {"alpha": 0.5}, (1, 5), 13), ("LeakyRelu", ["s"], {"alpha": 0.3}, (1, 5), 13),
    ("HardSigmoid", ["s"], {"alpha": 0.3, "beta": 0.4}, (1, 5), 13),
    ("Gelu", ["s"], {}, (1, 5), 20), ("Gelu", ["s"], {"approximate": "tanh"}, (1, 5), 20),
    ("PRelu", ["s", numbers(3, 5)], {}, (1, 5), 13), ("Clip", ["s", np.float32(-0.3), np.float32(0.4)], {}, (1, 5), 13),
    ("Clip", ["s", None, np.float32(0.4)], {}, (1, 5), 13), ("Dropout", ["s"], {}, (1, 5), 13),
    *((op, ["s", numbers(4, 1, 5)], {}, (1, 5), 13) for op in ("Add", "Sub", "Mul", "Max", "Min", "Sum")),
    ("Div", ["s", np.abs(numbers(4, 1, 5)) + 1], {}, (1, 5), 13), ("Pow", ["x", np.float32(1.5)], {}, (1, 5), 13),
    ("MatMul", ["s", numbers(5, 5, 3)], {}, (1, 5), 13), ("Softmax", ["s"], {}, (1, 5), 13),
    ("LogSoftmax", ["s"], {}, (1, 5), 13), ("Softmax", ["s"], {}, (1, 2, 3), 11),
    ("Gemm", ["s", numbers(5, 3, 5), numbers(6, 3)], {"transB": 1, "alpha": 0.5, "beta": 2.0}, (1, 5), 13),
    ("Einsum", ["s", numbers(5, 5, 3)], {"equation": "ab,bc->ca"}, (1, 5), 13),
    *((op, ["s"], {"axes": [1, -1]}, MAP, 13) for op in (
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")),
    ("ReduceSum", ["s", integers(2)], {"keepdims": 0}, MAP, 13), ("ReduceMean", ["s", integers(2, 3)], {}, MAP, 18),
    ("CumSum", ["s", np.int64(1)], {}, (1, 5), 14), ("Cast", ["s"], {"to": TensorProto.FLOAT}, (1, 5), 13),
    ("Reshape", ["s", integers(0, -1, 4)], {}, MAP, 13), ("Flatten", ["s"], {"axis": 2}, MAP, 13),
    ("Squeeze", ["s", integers(0)], {}, (1, 5), 13), ("Squeeze", ["s"], {"axes": [0]}, (1, 5), 11),
    ("Unsqueeze", ["s", integers(-1, 0)], {}, (1, 5), 13), ("Transpose", ["s"], {"perm": [2, 0, 3, 1]}, MAP, 13),
    ("Transpose", ["s"], {}, MAP, 13), ("Concat", ["s", numbers(7, 1, 2), "s"], {"axis": 1}, (1, 5), 13),
    ("Slice", ["s", integers(4, 1), integers(-100, 5), integers(2, 3), integers(-2, 2)], {}, MAP, 13),
    ("Slice", ["s"], {"starts": [1], "ends": [3], "axes": [2]}, MAP, 9),
    ("Gather", ["s", integers(3, -1, 0)], {"axis": 1}, (1, 5), 13),
    ("Gather", ["s", np.int64(1)], {"axis": -1}, MAP, 13),
    ("GatherElements", ["s", integers(3, -1, 0).reshape(1, 3)], {"axis": 1}, (1, 5), 13),
    ("GatherND", ["s", integers(0, 3, 0, -1).reshape(2, 2)], {}, (1, 5), 13),
    ("ScatterND", ["s", integers(0, 3, 0, 1).reshape(2, 2), numbers(8, 2)], {}, (1, 5), 13),
    ("ScatterElements", ["s", integers(2, 0).reshape(1, 2), numbers(8, 1, 2)], {"axis": 1}, (1, 5), 13),
    ("Expand", ["s", integers(3, 1)], {}, (1, 5), 13), ("Tile", ["s", integers(2, 3)], {}, (1, 5), 13),
    ("Where", [np.array([[True, False, True, False, True]]), "s", numbers(9, 1, 5)], {}, (1, 5), 13),
    ("Pad", ["s", integers(0, 0, 1, 2, 0, 1, 0, 3), np.float32(0.5)], {}, MAP, 13),
    ("Conv", ["s", KERNEL, numbers(2, 4)], {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}, MAP, 13),
    ("Conv", ["s", KERNEL], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, MAP, 13),
    ("Conv", ["s", KERNEL], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, MAP, 13),
    ("Conv", ["s", numbers(1, 2, 1, 3, 3)], {"group": 2}, MAP, 13),
    ("ConvTranspose", ["s", numbers(1, 2, 3, 3, 3)], {"pads": [1, 1, 1, 1], "strides": [2, 2]}, MAP, 13),
    ("MaxPool", ["s"], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 2]}, MAP, 13),
    ("AveragePool", ["s"], {"kernel_shape": [3, 2], "strides": [1, 2]}, MAP, 13),
    ("AveragePool", ["s"], {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0], "count_include_pad": 1}, MAP, 13),
    ("GlobalAveragePool", ["s"], {}, MAP, 13), ("GlobalMaxPool", ["s"], {}, MAP, 13),
    ("BatchNormalization", ["s", numbers(1, 2), numbers(2, 2), numbers(3, 2), np.abs(numbers(4, 2)) + 1], {}, MAP, 13),
    ("LayerNormalization", ["s", numbers(1, 6), numbers(2, 6)], {}, MAP, 17),
    ("Resize", ["s", None, np.array([1, 1, 2, 2], np.float32)],
     {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}, MAP, 13),
    ("Resize", ["s", None, None, integers(1, 2, 9, 9)], {"mode": "linear"}, MAP, 13),
]
WHOLE: list[tuple[str, list[Operand], dict[str, Any]]] = [  # of whole numbers and truth values
    ("Shape", ["s"], {}), ("Size", ["s"], {}), ("ArgMax", ["s"], {"axis": 1}), ("ArgMin", ["s"], {"axis": 1}),
    ("NonZero", ["s"], {}), ("Equal", ["s", "s"], {}), ("Greater", ["s", np.float32(0)], {}),
    ("Less", ["s", np.float32(0)], {}), ("GreaterOrEqual", ["s", "s"], {}), ("LessOrEqual", ["s", "x"], {}),
    ("IsNaN", ["s"], {}), ("IsInf", ["s"], {}), ("ConstantOfShape", [integers(2, 3)], {}),
    ("Range", [np.int64(2), np.int64(9), np.int64(3)], {}), ("Constant", [], {"value_floats": [1.0, 2.5]}),
    ("OneHot", [integers(2, 0), np.int64(3), np.array([0.5, 2], np.float32)], {}),
]
RULED = {op for op, *_ in (*CASES, *WHOLE)} | {"Split", "TopK", "Not", "And", "Or", "Xor", "Upsample"}


def model(
    op: str, operands: list[Operand], attributes: dict[str, Any], shape: tuple[int, ...], opset: int,
    whole: bool = False,
) -> onnx.ModelProto:
    made = Model(*shape, opset=opset)
    positive = made("Add", made("Abs", "x"), np.float32(1)) if "x" in map(str, operands) else ""
    given = [positive if isinstance(o, str) and o == "x" else "x" if isinstance(o, str) else o for o in operands]
    last = made(op, *given, **attributes)
    if whole:
        flat = made("Reshape", made("Cast", last, to=TensorProto.FLOAT), integers(-1))
        last = made("Add", flat, made("ReduceSum", "x", integers(0, 1), keepdims=0))
    return made.proto(last)


@pytest.mark.parametrize("case", CASES, ids=[f"{op}-{k}" for k, (op, *_) in enumerate(CASES)])
def test_an_operator_has_the_values_of_onnxruntime_and_a_gradient(case: Any, tmp_path: Path) -> None:
    """The gradient in a random direction beside a difference of the evaluation's values, which are the runtime's."""
    op, _, _, shape, _ = case
    proto, path = model(*case), tmp_path / "model.onnx"
    onnx.save(proto, path)
    function, xs = translation(path, torch.float32), numbers(11, 3, *shape)
    theirs = run(proto, xs)
    for x, y in zip(xs, theirs, strict=True):
        np.testing.assert_allclose(function(torch.from_numpy(x)).numpy(), y.ravel(), rtol=1e-4, atol=1e-5)
    x = torch.from_numpy(xs[0]).requires_grad_()
    y = function(x)
    weights, way = torch.from_numpy(numbers(12, len(y))), torch.from_numpy(numbers(13, *shape))
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    if op in FLAT:
        assert gradient.abs().sum() > 0
        return
    with torch.no_grad():
        ends = [float((function(x + s * way) * weights).sum()) for s in (-1e-3, 1e-3)]
    assert float((gradient * way).sum()) == pytest.approx((ends[1] - ends[0]) / 2e-3, rel=0.05, abs=0.05)


@pytest.mark.parametrize("case", WHOLE, ids=[op for op, *_ in WHOLE])
def test_whole_numbers_are_those_of_onnxruntime(case: Any, tmp_path: Path) -> None:
    op, operands, attributes = case
    proto, path = model(op, operands, attributes, (1, 5), 13, whole=True), tmp_path / "model.onnx"
    onnx.save(proto, path)
    function = translation(path, torch.float32)
    for x, y in zip(xs := numbers(11, 3, 1, 5), run(proto, xs), strict=True):
        np.testing.assert_allclose(function(torch.from_numpy(x)).numpy(), y.ravel(), rtol=1e-5, atol=1e-6)


def test_several_outputs_and_truth_values(tmp_path: Path) -> None:
    made, path = Model(1, 6), tmp_path / "model.onnx"
    first, second = made("Split", "x", integers(2, 4), outputs=2, axis=1)
    top, places = made("TopK", second, integers(3), outputs=2)
    high, low = made("Greater", top, np.float32(0.1)), made("Less", top, np.float32(0.5))
    told = [made("Not", high), made("And", high, low), made("Or", high, low), made("Xor", high, low)]
    floats = [made("Cast", name, to=TensorProto.FLOAT) for name in (*told, places)]
    proto = made.proto(made("Concat", first, top, *floats, axis=1))
    onnx.save(proto, path)
    for x, y in zip(xs := numbers(5, 4, 1, 6), run(proto, xs), strict=True):
        np.testing.assert_allclose(translation(path, torch.float32)(torch.from_numpy(x)).numpy(), y.ravel(), rtol=1e-5)


def test_every_rule_has_a_case() -> None:
    assert RULES.keys() == RULED


def test_what_has_no_rule_or_other_values_has_no_gradient(tmp_path: Path) -> None:
    made, path = Model(1, 4), tmp_path / "model.onnx"
    onnx.save(made.proto(made("Det", made("Reshape", "x", integers(2, 2)))), path)
    with pytest.raises(Untranslated, match="operators without a gradient: Det"):
        translation(path, torch.float32)
    assert not executed_file(path).has_gradient
    made, other = Model(1, 1, 4, 4, opset=13), tmp_path / "other.onnx"
    cubic = made("Resize", "x", None, np.array([1, 1, 2, 2], np.float32), mode="nearest", nearest_mode="ceil",
                 coordinate_transformation_mode="align_corners")
    onnx.save(made.proto(cubic), other)
    file = executed_file(other)
    assert not file.has_gradient, "torch's nearest neighbours are others"
    assert file.values(torch.ones(1, 1, 4, 4)).shape == (1, 64)
