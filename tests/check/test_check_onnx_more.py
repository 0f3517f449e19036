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
