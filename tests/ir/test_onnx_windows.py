"""Random single windows, pads and resizes with all their attributes and opsets: onnxruntime's values, or a refusal."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.support.onnx_cases import WINDOWS
from tests.support.onnx_models import Model, agree, attempt, integers, load, numbers
from verify.errors import InputError, UnsupportedOp

SEED, CASES = 0, 60


def _session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession | None:
    """The runtime as it is without optimisations, or None where it takes no such model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options)
    except Exception:  # of the runtime's many kinds
        return None


def _verdict(proto: onnx.ModelProto) -> str:
    """`read` with the runtime's values, `refused`, or `alone` where the runtime has no values."""
    network, _ = attempt(proto, load)
    if network is None:
        return "refused"
    kind = proto.graph.input[0].type.tensor_type
    x = np.random.default_rng(SEED).normal(0, 1, (3, *(d.dim_value for d in kind.shape.dim)))
    x = x.astype(np.float64 if kind.elem_type == onnx.TensorProto.DOUBLE else np.float32)
    session = _session(proto)
    try:
        theirs = [np.asarray(session.run(None, {"x": sample})[0]) for sample in x] if session else []
    except Exception:  # of the runtime's many kinds
        return "alone"
    mine = network(torch.from_numpy(x).reshape(3, *network.input_shape)).numpy()
    for row, expected in zip(mine, theirs, strict=False):
        np.testing.assert_allclose(row.ravel(), expected.ravel(), rtol=1e-5, atol=1e-4, err_msg=str(proto))
    return "read" if theirs else "alone"


@pytest.mark.parametrize("kind", WINDOWS)
def test_random_nodes_mean_what_the_runtime_makes_of_them(kind: str) -> None:
    seen = Counter(_verdict(WINDOWS[kind](np.random.default_rng([SEED, i]))) for i in range(CASES))
    assert seen["read"] >= CASES // 4, f"seed {SEED}: {seen}"


@pytest.mark.parametrize(("op", "attributes", "opset"), [
    ("MaxPool", {"kernel_shape": [2], "strides": [2], "auto_pad": "VALID", "ceil_mode": 1}, 12),
    ("AveragePool", {"kernel_shape": [2], "strides": [2], "auto_pad": "VALID", "ceil_mode": 1}, 13),
    ("AveragePool", {"kernel_shape": [3], "strides": [2], "pads": [1, 1], "ceil_mode": 1, "count_include_pad": 1}, 19),
    ("MaxPool", {"kernel_shape": [2], "pads": [1, 1], "storage_order": 1}, 12),
])
def test_rounding_up_holds_for_all_paddings(op: str, attributes: dict, opset: int) -> None:
    model = Model(1, 2, 5, opset=opset)
    agree(model.proto(model(op, "x", **attributes)))


def test_an_axis_without_entries_is_not_resized() -> None:
    model = Model(1, 1, 4)
    none = model("Slice", "x", integers(1), integers(1), integers(2))
    with pytest.raises(UnsupportedOp, match=r"node v1_0 \(Resize"):
        load(model.proto(model("Resize", none, None, None, integers(1, 1, 3), mode="nearest")))


@pytest.mark.parametrize(("op", "attributes"), [
    ("Conv", {"auto_pad": "SAME_UPPER", "strides": [4, 4]}), ("Conv", {"auto_pad": "SAME_LOWER", "strides": [5, 5]}),
    ("MaxPool", {"auto_pad": "SAME_UPPER", "strides": [4, 4], "kernel_shape": [1, 1], "storage_order": 1}),
    ("AveragePool", {"auto_pad": "SAME_UPPER", "strides": [4, 4], "kernel_shape": [1, 1]}),
    ("MaxPool", {"auto_pad": "SAME_UPPER", "pads": [0, 0, 1, 1], "kernel_shape": [2, 2]}),
    ("MaxPool", {"kernel_shape": [9, 2]}), ("MaxPool", {"kernel_shape": [2, 2], "pads": [0, 0, -1, 0]}),
])
def test_windows_that_runtimes_read_in_several_ways_are_refused(op: str, attributes: dict) -> None:
    model = Model(1, 1, 8, 8, opset=19)
    weights = [numbers(1, 1, 1, 1, 1)] if op == "Conv" else []
    with pytest.raises(UnsupportedOp, match=rf"node v0_0 \({op}"):
        load(model.proto(model(op, "x", *weights, **attributes)))


def test_nearest_resize_rounds_as_its_opset_does() -> None:
    for opset in (10, 11, 13):
        model = Model(1, 1, 1, 3, opset=opset)
        region = [] if opset == 10 else [np.zeros(0, np.float32)]
        agree(model.proto(model("Resize", "x", *region, np.array([1, 1, 1, 0.7], np.float32), mode="nearest")))


@pytest.mark.parametrize(("coordinates", "rounding", "n", "m"), [
    ("asymmetric", "round_prefer_ceil", 7, 2), ("tf_half_pixel_for_nn", "round_prefer_floor", 11, 13),
])
def test_places_almost_in_the_middle_of_two_entries_are_refused(coordinates: str, rounding: str, n: int, m: int
                                                                ) -> None:
    """The middle itself, as where the length is halved, is read."""
    for lengths, refused in (((n, m), True), ((8, 4), False)):
        model = Model(1, 1, lengths[0])
        attributes: dict[str, Any] = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
        proto = model.proto(model("Resize", "x", None, None, integers(1, 1, lengths[1]), **attributes))
        if refused:
            with pytest.raises(UnsupportedOp, match=r"node v0_0 \(Resize.* so close to the middle of two entries"):
                load(proto)
        else:
            agree(proto)


def test_bounds_of_float64_networks_beyond_float32() -> None:
    model = Model(1, 3, kind=onnx.TensorProto.DOUBLE)
    wide = model("Mul", "x", np.array(1e200))
    network = agree(model.proto(model("Clip", wide, np.array(-1e199), np.array(1e300))))
    assert float(network(torch.full((1, 3), -1.0, dtype=torch.float64)).max()) == -1e199
    model = Model(1, 3, kind=onnx.TensorProto.DOUBLE)
    with pytest.raises(UnsupportedOp, match=r"node v0_0 \(Cast"):
        load(model.proto(model("Cast", model("Cast", "x", to=1), to=11)))


def test_huge_results_are_refused_before_they_are_made() -> None:
    for op, operands in (("Expand", [integers(1 << 20, 1 << 20)]), ("Tile", [integers(1 << 20, 1 << 20)]),
                         ("CumSum", [np.array(1)]), ("Resize", [None, np.array([1, 1e7], np.float32)]),
                         ("Add", [np.ones((1 << 10, 1), np.float32)]), ("Gather", [np.zeros(1 << 24, np.int64)])):
        model = Model(1, 1 << 14, opset=13)
        with pytest.raises((UnsupportedOp, InputError), match=rf"node v0_0 \({op}"):
            load(model.proto(model(op, "x", *operands)))


@pytest.mark.parametrize(("op", "operands", "attributes", "opset"), [
    ("MaxPool", [], {"kernel_shape": [2, 2], "ceil_mode": 1}, 8), ("Upsample", [np.ones(4, np.float32)], {}, 10),
    ("AveragePool", [], {"kernel_shape": [2, 2], "dilations": [1, 1]}, 18), ("Squeeze", [], {"axes": [0]}, 13),
    ("Flatten", [], {"axis": 1.0}, 13), ("ReduceMax", [integers(1)], {}, 13), ("HardSwish", [], {}, 13),
    ("ConvTranspose", [numbers(1, 2, 2, 2, 2)], {"auto_pad": "VALID", "pads": [0, 1, 0, 1]}, 13),
    ("Conv", [numbers(1, 1, 2, 1, 1)], {"pads": [1 << 20, 1 << 20, 0, 0]}, 13),
    ("MatMul", [numbers(1, 4, 1 << 22)], {}, 13),
    ("ConvTranspose", [numbers(1, 2, 2, 2, 2)], {"strides": [1 << 10, 1 << 10]}, 13),
    ("Conv", [numbers(1, 1 << 12, 2, 1, 1)], {"pads": [50, 50, 0, 0]}, 13),
    ("MaxPool", [], {"kernel_shape": [2048, 2048], "pads": [2047, 2047, 2047, 2047]}, 13),
])
def test_forms_of_other_opsets_and_huge_results(op: str, operands: list, attributes: dict, opset: int) -> None:
    model = Model(1, 2, 8, 4, opset=opset)
    with pytest.raises(UnsupportedOp, match=rf"node v0_0 \({op}"):
        load(model.proto(model(op, "x", *operands, **attributes)))


def test_an_attribute_given_twice_and_an_input_without_entries_are_refused() -> None:
    model = Model(1, 3)
    proto = model.proto(model("Flatten", "x", axis=1))
    proto.graph.node[0].attribute.append(proto.graph.node[0].attribute[0])
    with pytest.raises(UnsupportedOp, match="attribute axis"):
        load(proto)
    for shape in ((0, 3), (1, 1 << 40)):
        with pytest.raises(InputError, match="no entries or more than"):
            load(Model(*shape).proto("x"))
