"""The checker's own ONNX reader: the same networks as the main one's export, and what a runtime computes."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz.compare import Outcome, compared
from tests.ir.test_onnx_ops import CASES
from tests.support.check_models import runs, same, whole, why
from tests.support.helpers import SHARED, needs_shared
from tests.support.onnx_models import Model, axes, chain, integers, load, numbers, ops
from verify.check.onnx import difference
from verify.ir.load import load as load_file
from verify.proof.export import exported

UNREAD = {  # cases of other operators, or of forms that are not read exactly
    "attention", "concat one", "gemm beta", "gemm scaled", "hard sigmoid", "hard sigmoid default",
    "hard sigmoid falling", "matmul stack of one", "matmul taller", "maximum constant", "maximum constants",
    "minimum constant", "pad attributes", "pad edge", "pad inputs", "pad reflect", "power", "resize 10",
    "resize axes", "upsample 8", "upsample 9", "vanish",
}
FAMILIES = ("acasxu", "cifar10_resnet", "cifar_biasfield", "collins_rul_cnn", "mnist_fc", "oval21",
            "reach_prob_density", "rl_benchmarks", "safenlp", "sri_resnet_a", "test")


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str):
    shape, opset, steps = CASES[name]
    proto = chain(*shape, steps=steps, opset=opset)
    if name in UNREAD:
        assert "node 'v" in why(proto) or name in ("attention", "concat one")
    else:
        same(proto)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_convolution(data: st.DataObject):
    dims, groups = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 2]))
    attributes = {"strides": data.draw(axes(dims, 1, 3)), "dilations": data.draw(axes(dims, 1, 2)), "group": groups}
    padding = data.draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"]))
    if padding == "pads":
        attributes["pads"] = data.draw(axes(dims, 0, 2)) + data.draw(axes(dims, 0, 2))
    elif padding != "none":
        attributes.update(auto_pad=padding, dilations=[1] * dims)
    model, last = Model(1, 2, *data.draw(axes(dims, 5, 7))), "x"
    if data.draw(st.booleans()):
        pads = [0, 0, *data.draw(axes(dims, 0, 2)), 0, 0, *data.draw(axes(dims, 0, 2))]
        last = model("Pad", "x", integers(*pads))
    kernel = data.draw(axes(dims, 1, 3))
    if padding.startswith("SAME"):  # wider strides are refused
        attributes["strides"] = np.minimum(attributes["strides"], np.array(kernel) + 1).tolist()
    weights = [numbers(1, 4, 2 // groups, *kernel), numbers(2, 4)]
    same(model.proto(model("Conv", last, *weights[: data.draw(st.integers(1, 2))], **attributes)))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_transposed_convolution(data: st.DataObject):
    dims, groups = data.draw(st.integers(1, 2)), data.draw(st.sampled_from([1, 2]))
    strides = data.draw(axes(dims, 1, 2))
    attributes = {"strides": strides, "group": groups, "dilations": data.draw(axes(dims, 1, 2))}
    if data.draw(st.booleans()):
        attributes["output_padding"] = [s - 1 for s in strides]
    if data.draw(st.booleans()):
        attributes["pads"] = data.draw(axes(dims, 0, 1)) + data.draw(axes(dims, 0, 1))
    model = Model(1, 2, *data.draw(axes(dims, 3, 5)))
    weights = [numbers(1, 2, 3, *data.draw(axes(dims, 2, 4))), numbers(2, 3 * groups)]
    same(model.proto(model("ConvTranspose", "x", *weights, **attributes)))


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_pooling(data: st.DataObject):
    """Where windows hold different numbers of entries the main reader rounds a factor, and this one divides."""
    op, dims = data.draw(st.sampled_from(["MaxPool", "AveragePool"])), data.draw(st.integers(1, 3))
    kernel = data.draw(axes(dims, 2, 3))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": data.draw(axes(dims, 1, 3))}
    padding = data.draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"]))
    if padding == "pads":
        attributes["pads"] = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    elif padding != "none":
        attributes.update(auto_pad=padding, strides=np.minimum(attributes["strides"], kernel).tolist())
    if op == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    elif padding in ("pads", "none"):
        attributes.update(ceil_mode=data.draw(st.integers(0, 1)), dilations=data.draw(axes(dims, 1, 2)))
    model = Model(1, 2, *data.draw(axes(dims, 5, 7)))
    proto = model.proto(model(op, "x", **attributes))
    if "Scale" not in ops(load(proto)):
        same(proto)
    else:
        runs(proto, whole(proto.SerializeToString()))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32])
@pytest.mark.parametrize(("opset", "axis"), [(10, None), (13, None), (13, 0), (13, 1), (19, -1), (21, 1)])
def test_weights_behind_a_scale(kind: type, opset: int, axis: int | None):
    rng, model = np.random.default_rng(opset), Model(1, 5, opset=opset)
    weight = rng.integers(0 if kind is np.uint8 else -128, 128, (5, 6)).astype(kind)
    size = () if axis is None else weight.shape[axis]
    scale = np.asarray(rng.uniform(0.001, 0.1, size), np.float32)
    zero = np.asarray(0 * rng.integers(0, 9, size) if kind is np.int32 else rng.integers(0, 9, size), kind)
    attributes = {} if axis is None else {"axis": axis}
    real = model("DequantizeLinear", weight, scale, *([] if kind is np.int32 and axis else [zero]), **attributes)
    proto = model.proto(model("Relu", model("MatMul", "x", real)))
    assert difference(*exported(load(proto)), *whole(proto.SerializeToString())) is None
    found = compared(proto, opset)  # optimised, the runtime rounds activations to 8 bits too
    assert found.toolkit == found.checker == Outcome.SAME


def test_half_weights_are_read_once_they_are_cast():
    model, half = Model(1, 5), numbers(1, 5, 6).astype(np.float16)
    same(model.proto(model("Relu", model("MatMul", "x", model("Cast", half, to=1)))))
    assert "constant of float16" in why(model.proto(model("Relu", model("MatMul", "x", half))))
    proto = model.proto(model("Relu", model("MatMul", "x", model("Cast", half, to=1))))
    proto.graph.initializer[-1].ClearField("raw_data")
    proto.graph.initializer[-1].int32_data.extend(half.view(np.uint16).ravel().tolist())
    assert "values in ['int32_data']" in why(proto)


def test_other_scales_are_unreadable():
    weight, scale, one = np.ones((5, 6), np.int8), np.ones(5, np.float32), np.ones((), np.float32)
    zero, large = np.zeros((), np.int8), np.full((5, 6), 1 << 25, np.int32)
    cases: list[tuple[int, list[np.ndarray], dict[str, Any]]] = [
        (12, [weight, scale], {}), (13, [weight, scale], {"axis": 1}), (13, [weight, one, zero.astype(np.uint8)], {}),
        (13, [weight, scale, zero], {"axis": 0}), (13, [large, one], {}),
        (21, [weight, np.ones((5, 3), np.float32)], {"axis": 1, "block_size": 2}),
    ]
    for opset, operands, attributes in cases:
        model = Model(1, 5, opset=opset)
        proto = model.proto(model("Relu", model("MatMul", "x", model("DequantizeLinear", *operands, **attributes))))
        assert why(proto).startswith("node 'v0_0' (DequantizeLinear)")


def test_sums_of_values_and_splits():
    for op in ("Add", "Sub"):
        model = Model(1, 3, 4)
        same(model.proto(model(op, model("Relu", "x"), model("ReduceSum", "x", integers(1)))))
    model = Model(1, 6, opset=18)
    parts = model("Split", "x", outputs=3, axis=1, num_outputs=3)
    same(model.proto(model("Concat", *parts[::-1], axis=1)))
    model = Model(1, 6)
    same(model.proto(model("Sub", *model("Split", model("Abs", "x"), integers(3, 3), outputs=2, axis=1))))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_slice(data: st.DataObject):
    """Ends are clamped as ONNX clamps them, which is not as Python does."""
    starts, ends = ([data.draw(st.integers(-7, 7)) for _ in range(2)] for _ in range(2))
    steps = [data.draw(st.sampled_from([-3, -1, 1, 2])) for _ in range(2)]
    model = Model(1, 4, 6)
    cut = model("Slice", "x", *(integers(*v) for v in (starts, ends, [1, 2], steps)))
    proto = model.proto(model("Relu", cut))
    if load(model.proto(model("Concat", model("Flatten", cut), model("Flatten", "x"), axis=1))).outputs > 24:
        same(proto)
    else:
        assert "output of shape" in why(proto)


def test_division_by_constants_without_zeros():
    same(chain(1, 4, steps=[("Div", "x", np.array([2, -0.7, 1024, 3], np.float32))]))
    same(chain(1, 2, 3, steps=[("Div", "x", np.array([[3], [255]], np.float32))]))
    assert "without zeros" in why(chain(1, 4, steps=[("Div", "x", np.array([1, 0, 1, 1], np.float32))]))
    same(chain(1, 4, steps=[("Exp",), ("Div", np.array([[3], [1]], np.float32), "x")]))


# what runtimes take in different ways, or what an opset does not know: (shape, opset, step), words of the refusal
REFUSED = {
    "wide stride": (
        (1, 1, 8, 8), 13, ("Conv", "x", numbers(0, 1, 1, 1, 1), {"strides": [4, 4], "auto_pad": "SAME_UPPER"}),
        "padding would be negative"),
    "wide pooling stride": (
        (1, 1, 8), 13, ("MaxPool", {"kernel_shape": [1], "strides": [4], "auto_pad": "SAME_LOWER"}),
        "padding would be negative"),
    "valid ceil": (
        (1, 1, 5), 12, ("MaxPool", {"kernel_shape": [2], "strides": [2], "auto_pad": "VALID", "ceil_mode": 1}),
        "ceil_mode with auto_pad"),
    "two pads": ((1, 1, 5), 13, ("MaxPool", {"kernel_shape": [2], "pads": [1, 0], "auto_pad": "SAME_UPPER"}),
                 "pads beside its auto_pad"),
    "cutting": ((1, 1, 5), 13, ("Pad", "x", integers(0, 0, -1, 0, 0, 0)), "cuts"),
    "later attribute": ((1, 4), 13, ("Clip", {"min": 0.0}), "opset 13 does not know"),
    "earlier input": ((1, 4), 9, ("Slice", "x", integers(0), integers(1)), "opset 9 knows one"),
    "uneven parts": ((1, 5), 13, ("Split", {"axis": 1, "outputs": 2}), "into 2 equal parts"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_forms_that_are_refused(name: str):
    shape, opset, (op, *given), words = REFUSED[name]
    attributes = dict(given.pop()) if isinstance(given[-1], dict) else {}
    model = Model(*shape, opset=opset)
    found = model(op, *(given or ["x"]), outputs=attributes.pop("outputs", 1), **attributes)
    assert words in why(model.proto(model("Relu", found if isinstance(found, str) else found[0])))


def test_a_wide_stride_that_leaves_out_one_entry_is_read():
    for mode in ("SAME_UPPER", "SAME_LOWER"):
        model = Model(1, 2, 6, 6)
        same(model.proto(model("Conv", "x", numbers(0, 3, 2, 1, 1), strides=[2, 2], auto_pad=mode)))


def test_booleans_are_0_or_1():
    model = Model(1, 2)
    model.stored.append(TensorProto(name="b", data_type=TensorProto.BOOL, dims=[2], raw_data=b"\1\2"))
    assert "booleans other than 0 and 1" in why(model.proto(model("Add", "x", model("Cast", "b", to=1))))


def test_a_batch_axis_left_open_and_shapes_that_are_computed():
    model = Model(None, 2, 3, 4)
    size = model("Unsqueeze", model("Gather", model("Shape", "x"), np.array(0)), integers(0))
    shape = model("Concat", size, integers(-1), axis=0)
    flat = model("Reshape", model("Relu", "x"), shape)
    same(model.proto(model("Gemm", flat, numbers(0, 24, 3), numbers(1, 3))))
    same(chain("N", 5, steps=[("MatMul", "x", numbers(0, 5, 3)), ("Add", "x", numbers(1, 3)), ("Relu",)]))
    assert "batch axis" in why(chain(None, 1, 3, steps=[("Squeeze",), ("Relu",)]))


def test_constants_in_every_form():
    model = Model(1, 4)
    value = numpy_helper.from_array(numbers(1, 4, 3))
    weight = model("Constant", value=value)
    column = model("Constant", value_ints=[0])
    moved = model("Transpose", model("Transpose", weight, perm=[1, 0]), perm=[1, 0])
    out = model("MatMul", model("Relu", "x"), model("Identity", moved))
    same(model.proto(model("Gather", out, column, axis=1)))
    for kind in (TensorProto.FLOAT, TensorProto.DOUBLE):
        model = Model(1, 4, kind=kind)
        model.stored.append(helper.make_tensor("w", kind, [4, 2], [0.1 * i for i in range(8)]))  # no raw data
        same(model.proto(model("MatMul", "x", "w"), listed=True))


def test_what_only_the_network_needs_is_read():
    model = Model(1, 4)
    model("HardSigmoid", "x")
    model.stored.append(TensorProto(name="strings", data_type=TensorProto.STRING, dims=[1], string_data=[b"a"]))
    same(model.proto(model("Relu", "x")))


@needs_shared
@pytest.mark.parametrize("family", FAMILIES)
def test_published_networks_are_the_same_to_both_readers(family: str):
    paths = sorted((SHARED / "vnncomp" / family / "onnx").iterdir())
    assert paths
    for path in paths:
        header, arrays = whole(path.read_bytes())
        assert difference(*exported(load_file(path)), header, arrays) is None, path.name
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if path in (paths[0], paths[-1]):
            runs(onnx.load_model_from_string(data), (header, arrays))
