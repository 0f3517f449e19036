"""Nodes that end the process of the reference runtime, or keep it for ever: refused by name before it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.onnx_models import Model, integers, numbers
from verify.errors import InputError, UnsupportedOp
from verify.ir.load import load

IMAGE, KERNEL = np.ones((1, 2, 4, 4), np.float32), numbers(1, 2, 1, 2, 2)
ATTRIBUTES: list[tuple[str, list[np.ndarray], dict[str, Any], str]] = [
    ("Conv", [KERNEL], {"group": 0}, "group"), ("ConvTranspose", [KERNEL], {"group": 0}, "group"),
    ("DepthToSpace", [], {"blocksize": 1 << 32}, "blocksize"),
    ("AveragePool", [], {"kernel_shape": [1 << 40, 1]}, "kernel_shape"),
    ("AveragePool", [], {"kernel_shape": [1 << 20, 1 << 20]}, "kernel_shape"),
    ("MaxPool", [], {"kernel_shape": [1, 1], "strides": [0, 1]}, "strides"),
    ("GatherND", [integers(0, 0)], {"batch_dims": -(1 << 63)}, "batch_dims"),
]


def load_from(folder: Path, proto: onnx.ModelProto) -> None:
    path = folder / "model.onnx"
    onnx.save(proto, path)
    load(path)


@pytest.mark.parametrize("place", ["varying", "constant", "unneeded", "branch"])
@pytest.mark.parametrize(("op", "operands", "attributes", "named"), ATTRIBUTES)
def test_attributes_that_the_runtime_divides_by(op: str, operands: list[np.ndarray], attributes: dict[str, Any],
                                                named: str, place: str, tmp_path: Path) -> None:
    model = Model(1, 2, 4, 4, opset=18)
    if place == "branch":
        model.stored = [onnx.numpy_helper.from_array(array, f"a{k}") for k, array in enumerate(operands)]
        node = helper.make_node(op, ["x", *(t.name for t in model.stored)], ["inner"], **attributes)
        ends = [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)]
        branch = helper.make_graph([node], "branch", [], ends)
        last = model("If", np.array(True), then_branch=branch, else_branch=branch)
    else:
        made = model(op, IMAGE if place == "constant" else "x", *operands, **attributes)
        last = model("Relu", "x") if place == "unneeded" else model("Add", "x", made) if place == "constant" else made
    with pytest.raises(UnsupportedOp, match=rf"^node (v0_0|inner) \({op}\) has {named} \["):
        load_from(tmp_path, model.proto(last))


@pytest.mark.parametrize(("op", "operands", "attributes", "reason"), [
    ("Mod", [integers(-(1 << 63)), integers(-1)], {}, "the least number of its type"),
    ("Div", [np.full(1 << 17, -(1 << 31), np.int32), np.full(1, -1, np.int32)], {}, "the least number of its type"),
    ("Div", [np.ones(4, np.uint8), np.zeros(1, np.uint8)], {}, "divides by zero"),
    ("InstanceNormalization", [numbers(0, 1, 1, 0, 2), *[numbers(1, 1)] * 2], {}, "without entries"),
    ("DFT", [np.ones((1, 4, 1), np.float32)], {}, "is not evaluated over constants"),
])
def test_constants_that_end_the_runtime(op: str, operands: list[np.ndarray], attributes: dict[str, Any], reason: str,
                                        tmp_path: Path) -> None:
    model = Model(1, 1, opset=18)
    made = model("Cast", model("ReduceMax", model("Reshape", model(op, *operands, **attributes), integers(-1)),
                               keepdims=0), to=1)
    with pytest.raises(UnsupportedOp, match=rf"node v0_0 \({op}, constant inputs .* cannot be evaluated: .*{reason}"):
        load_from(tmp_path, model.proto(model("Add", "x", made)))


def test_a_tensor_without_its_numbers_and_constants_that_grow_are_told(tmp_path: Path) -> None:
    model = Model(1, 1)
    proto = model.proto(model("Gemm", "x", numbers(1, 1, 1)))
    proto.graph.initializer[0].dims[:] = [10**6, 10**6]
    with pytest.raises(InputError, match=r"tensor c0 does not hold the numbers of its shape \[1000000, 1000000\]"):
        load_from(tmp_path, proto)
    for size, told in ((1 << 25, "makes constants of 134217728 bytes of 8"), (1 << 40, "it makes more than 536870912")):
        model = Model(1, 1)
        made = model("ConstantOfShape", integers(size))
        with pytest.raises(UnsupportedOp, match=rf"node v0_0 \(ConstantOfShape.*{told}") as found:
            load_from(tmp_path, model.proto(model("Add", "x", model("ReduceMax", made))))
        assert "onnxruntime_src" not in str(found.value)


def test_values_that_are_too_many_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.ir.onnx_reader.reader.VALUES", 100)
    model, last = Model(1, 30), "x"
    for _ in range(4):
        last = model("Relu", last)
    with pytest.raises(UnsupportedOp, match=r"node v3_0 \(Relu.* values of the network more than 100 entries in all"):
        load_from(tmp_path, model.proto(last))
