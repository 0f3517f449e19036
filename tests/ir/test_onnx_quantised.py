"""Whole numbers in ONNX files: rounded values, and the operators that compute with bytes, beside onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.onnx_models import Model, agree, load, numbers, ops
from verify.errors import UnsupportedOp

SCALE, SMALL = np.float32(0.037), np.float32(0.011)


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("opset", [10, 13, 21])
def test_quantised_values_are_rounded_and_cut_off(opset: int, batch: int | str) -> None:
    for zero in ([np.int8(3)], [np.uint8(100)], []):
        model = Model(batch, 3, 5, opset=opset)
        whole = model("QuantizeLinear", "x", SCALE, *zero)
        network = agree(model.proto(model("DequantizeLinear", whole, SCALE, *zero)))
        assert ops(network)[:2] == ["Divide", "RoundToEven"]
        assert "Clip" in ops(network)
    if opset >= 13:
        model = Model(batch, 3, 5, opset=opset)
        each = np.array([0.01, 0.02, 0.03], np.float32), np.array([1, 2, 3], np.int8)
        agree(model.proto(model("DequantizeLinear", model("QuantizeLinear", "x", *each, axis=1), *each, axis=1)))


def small_bytes(seed: int, *shape: int, kind: type = np.int8) -> np.ndarray:
    """Random whole numbers between -20 and 20, or 0 and 40: sums of two products of them and bytes are of 16 bits, as
    onnxruntime adds them up on some processors."""
    drawn = np.random.default_rng(seed).integers(-20, 21, shape)
    return (drawn + (20 if kind is np.uint8 else 0)).astype(kind)


def quantised(model: Model, x: str, zero: Any) -> str:
    return model("QuantizeLinear", x, SCALE, zero)


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_sums_of_products_of_whole_numbers_are_exact(kind: type, batch: int | str) -> None:
    zero = kind(9)
    model = Model(batch, 6, opset=13)
    whole = model("MatMulInteger", quantised(model, "x", zero), small_bytes(0, 6, 3), zero, np.int8(2))
    network = agree(model.proto(model("Mul", model("Cast", whole, to=1), SMALL)))
    assert ops(network).count("RoundToEven") == 1
    model = Model(batch, 2, 5, 6, opset=13)
    attributes: dict[str, Any] = {"pads": [1, 0, 0, 2], "strides": [2, 1]}
    moved = model("Transpose", quantised(model, "x", np.uint8(9)), perm=[0, 1, 3, 2])
    whole = model("ConvInteger", moved, small_bytes(1, 4, 2, 3, 2, kind=np.uint8), np.uint8(9), np.uint8(1),
                  **attributes)
    agree(model.proto(model("Mul", model("Cast", whole, to=1), SMALL)))


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("group", [1, 2])
def test_quantised_convolutions(group: int, each: bool) -> None:
    for zero in (np.uint8(130), np.uint8(0)):
        model = Model("N", 2, 6, 5, opset=13)
        scales = np.array([0.02, 0.03, 0.01, 0.05], np.float32) if each else SMALL
        zeros = np.zeros(4, np.int8) if each else np.int8(1 if group == 1 else 0)
        made = model("QLinearConv", quantised(model, "x", zero), SCALE, zero, small_bytes(2, 4, 2 // group, 3, 3),
                     scales, zeros, np.float32(0.05), np.uint8(120), np.array([7, -40, 100, 0], np.int32),
                     group=group, pads=[1, 1, 0, 1])
        pooled = model("MaxPool", made, kernel_shape=[2, 2])
        network = agree(model.proto(model("DequantizeLinear", pooled, np.float32(0.05), np.uint8(120))))
        assert ops(network).count("RoundToEven") == 2


@pytest.mark.parametrize("each", [False, True])
def test_quantised_products_of_matrices(each: bool) -> None:
    scales = np.array([0.02, 0.03, 0.01], np.float32) if each else SMALL
    zeros = np.array([0, 1, 2], np.int8) if each else np.int8(4)
    model = Model(1, 4, 6, opset=13)
    made = model("QLinearMatMul", quantised(model, "x", np.int8(-5)), SCALE, np.int8(-5), small_bytes(3, 6, 3), scales,
                 zeros, np.float32(0.02), np.int8(1))
    agree(model.proto(model("DequantizeLinear", made, np.float32(0.02), np.int8(1))))


def test_quantised_products_of_values_that_vary() -> None:
    model = Model(1, 4, 6, opset=13)
    left = quantised(model, "x", np.uint8(128))
    right = model("Transpose", left, perm=[0, 2, 1])
    zero = SCALE, np.uint8(128)
    made = model("QLinearMatMul", left, *zero, right, *zero, np.float32(0.4), np.uint8(100))
    network = agree(model.proto(model("DequantizeLinear", made, np.float32(0.4), np.uint8(100))))
    assert "MatMul" in ops(network)


BYTES = np.ones((6, 2), np.uint8)
MANY = np.full((70_000, 1), 1, np.uint8)


def test_what_whole_numbers_cannot_be_is_refused() -> None:
    model = Model(1, 6, opset=13)
    with pytest.raises(UnsupportedOp, match=r"\(DynamicQuantizeLinear.*takes its scale from the values themselves"):
        load(model.proto(model("DynamicQuantizeLinear", "x")))
    model = Model(1, 70_000, opset=13)
    with pytest.raises(UnsupportedOp, match=r"may sum up to 17850000, beyond 16777216"):
        load(model.proto(model("MatMulInteger", quantised(model, "x", np.uint8(0)), MANY)))
    model = Model(1, 6, opset=13)
    with pytest.raises(UnsupportedOp, match="scale that is not positive"):
        load(model.proto(model("QLinearMatMul", quantised(model, "x", np.uint8(0)), -SCALE, np.uint8(0), BYTES, SCALE,
                               np.uint8(0), SCALE, np.uint8(0))))


@pytest.mark.parametrize("op", ["Div", "Add", "Mul", "Greater"])
def test_arithmetic_of_integers_is_not_read_as_that_of_floats(op: str) -> None:
    """7 / 2 is 3 there."""
    model = Model(1, 6, opset=13)
    whole = model("MatMulInteger", quantised(model, "x", np.uint8(0)), BYTES)
    with pytest.raises(UnsupportedOp, match=rf"\({op}.*whole numbers in a type of integers"):
        load(model.proto(model(op, whole, np.int32(2))))


@pytest.mark.parametrize("p", [1, 2, 4])
def test_pools_of_norms(p: int) -> None:
    given: list[dict[str, Any]] = [
        {"pads": [1, 0, 0, 1], "strides": [2, 1]}, {"auto_pad": "SAME_UPPER"}, {"dilations": [1, 2]},
    ]
    for attributes in given:
        model = Model("N", 2, 5, 6, opset=18)
        network = agree(model.proto(model("LpPool", "x", kernel_shape=[2, 3], p=p, **attributes)))
        assert ("Power" in ops(network)) == (p > 1)
    model = Model("N", 2, 5, 6, opset=18)
    agree(model.proto(model("GlobalLpPool", "x", p=p)))
    with pytest.raises(UnsupportedOp, match="norm of number 3, whose root no float holds"):
        load(model.proto(model("GlobalLpPool", "x", p=3)))


@pytest.mark.parametrize("op", ["Sinh", "Cosh", "Tan"])
def test_waves_made_of_others(op: str) -> None:
    model = Model(1, 5, opset=13)
    agree(model.proto(model(op, model("Mul", model("Tanh", "x"), numbers(0, 5) / 2))))


@pytest.mark.parametrize("axes", [[1], [2], [-1, 1]])
def test_products_along_axes(axes: list[int]) -> None:
    for keep in (0, 1):
        model = Model("N", 3, 4, opset=18)
        network = agree(model.proto(model("ReduceProd", "x", np.array(axes, np.int64), keepdims=keep)))
        assert "Multiply" in ops(network)
