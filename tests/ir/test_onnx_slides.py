"""Convolutions, poolings, resizes and slices with drawn attributes, beside the reference evaluator."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.onnx_models import IMAGE, Model, agree, axes, chain, integers, numbers, ops


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_convolution(data):
    dims = data.draw(st.integers(1, 3))
    kernel, groups = data.draw(axes(dims, 1, 3)), data.draw(st.sampled_from([1, 2]))
    attributes = {"strides": data.draw(axes(dims, 1, 3)), "dilations": data.draw(axes(dims, 1, 2)), "group": groups}
    padding = data.draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"]))
    if padding == "pads":
        attributes["pads"] = data.draw(axes(dims, 0, 2)) + data.draw(axes(dims, 0, 2))
    elif padding != "none":  # wider strides cut the input, which is refused
        strides = np.minimum(attributes["strides"], np.add(kernel, 1)).tolist()
        attributes.update(auto_pad=padding, dilations=[1] * dims, strides=strides)
    model = Model(1, 2, *data.draw(axes(dims, 5, 7)), opset=data.draw(st.sampled_from([8, 13, 21])))
    last = "x"
    if data.draw(st.booleans()):
        pads = [0, 0, *data.draw(axes(dims, 0, 2)), 0, 0, *data.draw(axes(dims, 0, 2))]
        last = model("Pad", "x", pads=pads) if model.opset < 11 else model("Pad", "x", integers(*pads))
    weights = [numbers(1, 4, 2 // groups, *kernel), numbers(2, 4)]
    agree(model.proto(model("Conv", last, *weights[: data.draw(st.integers(1, 2))], **attributes)))


def test_padding_node_joins_the_convolution():
    weight = numbers(1, 3, 2, 3, 3)
    pad = ("Pad", "x", integers(0, 0, 1, 1, 0, 0, 1, 1))
    assert ops(agree(chain(*IMAGE, steps=[pad, ("Conv", "x", weight)]))) == ["Conv"]
    assert ops(agree(chain(*IMAGE, steps=[pad, ("Conv", "x", weight, {"auto_pad": "SAME_UPPER"})]))) == ["Conv"]
    uneven = ("Pad", "x", integers(0, 0, 1, 1, 0, 0, 2, 2))
    assert ops(agree(chain(*IMAGE, steps=[uneven, ("Conv", "x", weight)]))) == ["Select", "Conv"]
    channels = ("Pad", "x", integers(0, 1, 1, 1, 0, 0, 1, 1))
    assert ops(agree(chain(*IMAGE, steps=[channels, ("Conv", "x", numbers(1, 3, 3, 3, 3))]))) == ["Select", "Conv"]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_transposed_convolution(data):
    dims = data.draw(st.integers(1, 2))
    kernel, strides = data.draw(axes(dims, 2, 4)), data.draw(axes(dims, 1, 2))
    groups = data.draw(st.sampled_from([1, 2]))
    attributes = {"strides": strides, "group": groups, "dilations": data.draw(axes(dims, 1, 2))}
    if data.draw(st.booleans()):
        attributes["output_padding"] = [s - 1 for s in strides]
    padding = data.draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "output_shape"]))
    sizes = data.draw(axes(dims, 3, 5))
    if padding == "pads":
        attributes["pads"] = data.draw(axes(dims, 0, 1)) + data.draw(axes(dims, 0, 1))
    elif padding == "output_shape":
        attributes["output_shape"] = [n * s for n, s in zip(sizes, strides, strict=True)]
    else:
        attributes["auto_pad"] = padding
    model = Model(1, 2, *sizes, opset=data.draw(st.sampled_from([8, 13])))
    weights = [numbers(1, 2, 3, *kernel), numbers(2, 3 * groups)]
    agree(model.proto(model("ConvTranspose", "x", *weights, **attributes)))


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_pooling(data):
    op, dims = data.draw(st.sampled_from(["MaxPool", "AveragePool"])), data.draw(st.integers(1, 3))
    kernel = data.draw(axes(dims, 2, 3))
    attributes = {"kernel_shape": kernel, "strides": data.draw(axes(dims, 1, 3))}
    padding = data.draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"]))
    if padding == "pads":
        attributes["pads"] = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    elif padding != "none":  # onnxruntime refuses strides beyond the kernel here
        attributes.update(auto_pad=padding, strides=np.minimum(attributes["strides"], kernel).tolist())
    opset = data.draw(st.sampled_from([8, 12, 19]))
    if opset > 8 and padding in ("pads", "none"):
        attributes["ceil_mode"] = data.draw(st.integers(0, 1))
    if op == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    elif opset > 8 and padding in ("pads", "none"):
        attributes["dilations"] = data.draw(axes(dims, 1, 2))
    model = Model(1, 2, *data.draw(axes(dims, 5, 7)), opset=opset)
    agree(model.proto(model(op, "x", **attributes)))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_resize(data):
    modes = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
    attributes = {
        "coordinate_transformation_mode": data.draw(st.sampled_from(modes)),
        "nearest_mode": data.draw(st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])),
    }
    opset, height = data.draw(st.sampled_from([11, 13, 19])), data.draw(st.integers(1, 6))
    model = Model(1, 2, height, 4, opset=opset)
    nothing = np.zeros(0, np.float32)
    if data.draw(st.booleans()):
        sizes = integers(1, 2, data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
        operands = [nothing, nothing if opset == 11 else None, sizes]
    else:
        factors = [data.draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.7, 3.0])) for _ in range(2)]
        operands = [nothing, np.array([1, 1, factors[0] if height > 1 else 2, factors[1]], np.float32)]
    agree(model.proto(model("Resize", "x", *operands, mode="nearest", **attributes)))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_slice(data):
    starts, ends = ([data.draw(st.integers(-7, 7)) for _ in range(2)] for _ in range(2))
    steps = [data.draw(st.sampled_from([-3, -1, 1, 2])) for _ in range(2)]
    model = Model(1, 4, 6)
    cut = model("Slice", "x", *(integers(*v) for v in (starts, ends, [1, 2], steps)))
    agree(model.proto(model("Concat", model("Flatten", cut), model("Flatten", "x"), axis=1)))
