"""The checker's ONNX reader: recurrent layers, and operators on constants alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.check_models import same, why
from tests.support.onnx_models import Model, integers, numbers

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def unrolled(op: str, direction: str = "forward", opset: int = 14, batch: Any = 1, state: bool = False,
             **extra: Any) -> Any:
    """All outputs of a recurrent layer over three steps, side by side."""
    both, rows = 1 + (direction == "bidirectional"), 2 * GATES[op]
    model = Model(3, 1, 4, opset=opset) if batch == 1 else Model("N", 3, 4, opset=opset)
    x = "x" if batch == 1 else model("Transpose", "x", perm=[1, 0, 2])
    weights = numbers(1, both, rows, 4), numbers(2, both, rows, 2), numbers(3, both, 2 * rows)
    states = [None, numbers(4, both, 1, 2)] if state else []
    first, *ends = model(op, x, *weights, *states, outputs=2 + (op == "LSTM"), hidden_size=2, direction=direction,
                         **extra)
    parts = [model("Transpose", first, perm=[2, 0, 1, 3]), *(model("Transpose", end, perm=[1, 0, 2]) for end in ends)]
    return model.proto(model("Concat", *(model("Flatten", part) for part in parts), axis=1))


@pytest.mark.parametrize("op", GATES)
def test_recurrent_layers(op: str) -> None:
    for k, direction in enumerate(("forward", "reverse", "bidirectional")):
        extra = {"linear_before_reset": k % 2} if op == "GRU" else {}
        same(unrolled(op, direction, (8, 14, 22)[k], "N" if k == 2 else 1, k != 1, **extra))


def test_activations_of_recurrent_layers() -> None:
    same(unrolled("RNN", activations=["Relu"]))
    same(unrolled("GRU", activations=["Sigmoid", "Relu"], linear_before_reset=1, layout=0))
    assert "has the activations" in why(unrolled("RNN", activations=["Affine"]))
    assert "a form that is not read" in why(unrolled("LSTM", input_forget=1))
    assert "attribute 'clip', which is not read" in why(unrolled("RNN", clip=1.0))


def test_constants_are_computed_where_that_is_exact_or_rounded_once() -> None:
    model = Model(1, 4)
    shape = model("Div", model("Mul", integers(4, 6), integers(1, 2)), integers(4, 3))
    filled = model("ConstantOfShape", model("Where", model("Equal", shape, integers(1, 4)), shape, integers(7, 7)))
    root = model("Pow", np.array([16, 2.25], np.float32), np.array(0.5, np.float32))
    wide = model("Expand", model("Sub", model("Neg", root), np.array([0.1, 0.3], np.float32)), integers(2, 2))
    last = model("Add", "x", model("Reshape", wide, integers(1, 4)))
    same(model.proto(model("Add", last, filled)))


@pytest.mark.parametrize(("op", "operands", "told"), [
    ("Pow", [np.array([2.0], np.float32), np.array(0.5, np.float32)], "powers that its type does not hold"),
    ("Pow", [np.array([2.0], np.float32), np.array(3, np.float32)], "another power"),
    ("Pow", [np.array([0.1], np.float32), np.array(2, np.float32)], "powers that its type does not hold"),
    ("Div", [integers(7), integers(2)], "with a remainder"), ("Mul", [integers(1 << 21), integers(2)], "beyond"),
    ("MatMul", [numbers(1, 1, 4), numbers(2, 4, 4)], "works on constants alone"),
])
def test_constants_that_runtimes_may_round_are_refused(op: str, operands: list[np.ndarray], told: str) -> None:
    model = Model(1, 4)
    found = model(op, *operands)
    found = model("Cast", found, to=1) if operands[0].dtype == np.int64 else found
    assert told in why(model.proto(model("Add", "x", found)))


def test_normalisations_of_groups_channels_and_root_mean_squares() -> None:
    scale, offset = numbers(1, 4), numbers(2, 4)
    for batch in (1, "N"):
        image = Model(batch, 4, 2, 3, opset=21)
        groups = image("GroupNormalization", "x", scale, offset, num_groups=2, epsilon=1e-3)
        same(image.proto(image("InstanceNormalization", groups, scale, offset)))
        for axis, shape in ((-1, (4,)), (-2, (3, 4))):
            rows = Model(batch, 3, 4, opset=23)
            same(rows.proto(rows("RMSNormalization", "x", numbers(3, *shape), epsilon=1e-2, axis=axis)))
    old = Model(1, 4, 2, 3, opset=18)
    told = why(old.proto(old("GroupNormalization", "x", numbers(1, 2), numbers(2, 2), num_groups=2)))
    assert "2 groups, with 2 scales" in told


@pytest.mark.parametrize("opset", [13, 18])
def test_maxima_and_minima_over_axes(opset: int) -> None:
    for op in ("ReduceMax", "ReduceMin"):
        for keep, axes in ((1, [2]), (0, [1, 2]), (1, [1, 3])):
            model = Model(1, 3, 2, 4, opset=opset)
            made = (model(op, "x", integers(*axes), keepdims=keep) if opset >= 18
                    else model(op, "x", axes=axes, keepdims=keep))
            same(model.proto(model("Flatten", made)))
    model = Model(1, 3, 2, 4, opset=opset)
    same(model.proto(model("GlobalMaxPool", "x")))


def test_rests_of_whole_constants() -> None:
    model = Model(1, 4)
    rests = model("Concat", model("Mod", integers(7, -7, 9), integers(4, 4, -4)), integers(1), axis=0)
    same(model.proto(model("Add", "x", model("Cast", rests, to=1))))
    rest = model("Cast", model("Mod", integers(-7), integers(4), fmod=1), to=1)
    assert "another rest" in why(model.proto(model("Add", "x", rest)))


@pytest.mark.parametrize("batch", [1, "N"])
def test_values_that_are_rounded_to_whole_numbers(batch: Any) -> None:
    """By one scale, with a zero point, and by one scale for each channel; nothing else computes with whole numbers."""
    one = np.array(0.1, np.float32)
    for kind in (np.uint8, np.int8):
        model = Model(batch, 3, 4, opset=13)
        zero = np.array(3, kind)
        back = model("DequantizeLinear", model("QuantizeLinear", "x", one, zero), one, zero)
        scales = (np.array([0.25, 0.5, 0.125], np.float32), np.array([1, 0, 2], kind))
        last = model("DequantizeLinear", model("QuantizeLinear", back, *scales, axis=1), *scales, axis=1)
        same(model.proto(model("Relu", last)))
    model = Model(batch, 3, 4, opset=13)
    whole = model("QuantizeLinear", "x", one)
    assert "reads whole numbers" in why(model.proto(model("DequantizeLinear", model("Add", whole, whole), one)))
    assert "reads whole numbers" in why(model.proto(model("DequantizeLinear", "x", one)))
    assert "is of whole numbers" in why(model.proto(whole))
