"""Random single nodes with all their attributes, for comparing a reader of ONNX files with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from tests.support.onnx_models import Model, integers

Random = np.random.Generator
_AUTO = ["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]


def _some(rng: Random, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def _numbers(rng: Random, *shape: int) -> np.ndarray:
    return rng.normal(0, 1, shape).astype(np.float32)


def _axes(rng: Random, dims: int, low: int, high: int) -> list[int]:
    return rng.integers(low, high + 1, dims).tolist()


def _window(rng: Random, kernel: list[int], most: int, lengths: bool = True) -> dict[str, Any]:
    """Attributes that convolutions and pooling share, each given or not."""
    dims, found = len(kernel), {}
    if rng.random() < 0.8:
        found["strides"] = _axes(rng, dims, 1, 5)
    if lengths and rng.random() < 0.3:
        found["dilations"] = _axes(rng, dims, 1, 2)
    if rng.random() < 0.7:
        found["auto_pad"] = _some(rng, *_AUTO)
    if rng.random() < 0.5:
        found["pads"] = rng.integers(0 if rng.random() < 0.9 else -1, most + 1, 2 * dims).tolist()
    return found


def pooling(rng: Random) -> onnx.ModelProto:
    op, dims = _some(rng, "MaxPool", "AveragePool"), int(rng.integers(1, 4))
    opset = int(_some(rng, 8, 10, 11, 12, 19, 21))
    kernel = _axes(rng, dims, 1, 4)
    attributes = _window(rng, kernel, min(kernel) - 1, opset >= (10 if op == "MaxPool" else 19))
    if opset >= 10 and rng.random() < 0.5:
        attributes["ceil_mode"] = 1
    if op == "AveragePool" and rng.random() < 0.5:
        attributes["count_include_pad"] = 1
    if op == "MaxPool" and rng.random() < 0.3:
        attributes["storage_order"] = 1
    kind = onnx.TensorProto.DOUBLE if op == "MaxPool" and opset >= 8 and rng.random() < 0.3 else onnx.TensorProto.FLOAT
    model = Model(1, int(rng.integers(1, 3)), *_axes(rng, dims, 1, 9), opset=opset, kind=kind)
    return model.proto(model(op, "x", kernel_shape=kernel, **attributes))


def convolution(rng: Random) -> onnx.ModelProto:
    dims, groups = int(rng.integers(1, 4)), int(_some(rng, 1, 1, 2))
    kernel = _axes(rng, dims, 1, 4)
    model = Model(1, 2, *_axes(rng, dims, 1, 9), opset=int(_some(rng, 8, 11, 13, 21)))
    weights = [_numbers(rng, 4, 2 // groups, *kernel), _numbers(rng, 4)][: int(rng.integers(1, 3))]
    return model.proto(model("Conv", "x", *weights, group=groups, **_window(rng, kernel, 3)))


def transposed_convolution(rng: Random) -> onnx.ModelProto:
    dims, groups = int(rng.integers(1, 4)), int(_some(rng, 1, 1, 2))
    kernel, lengths = _axes(rng, dims, 1, 4), _axes(rng, dims, 1, 5)
    attributes = _window(rng, kernel, 2)
    strides = attributes.get("strides", [1] * dims)
    if rng.random() < 0.4:
        attributes["output_padding"] = _axes(rng, dims, 0, 2)
    if rng.random() < 0.3:
        attributes["output_shape"] = [n * s + int(rng.integers(-1, 2)) for n, s in zip(lengths, strides, strict=True)]
    model = Model(1, 2, *lengths, opset=int(_some(rng, 8, 11, 13, 21)))
    return model.proto(model("ConvTranspose", "x", _numbers(rng, 2, 2, *kernel), group=groups, **attributes))


def padding(rng: Random) -> onnx.ModelProto:
    opset, rank = int(_some(rng, 8, 11, 13, 18, 19, 21)), int(rng.integers(2, 5))
    shape = [1, *_axes(rng, rank - 1, 1, 5)]
    mode = _some(rng, "constant", "constant", "reflect", "edge", *(["wrap"] if opset >= 19 else []))
    low = _some(rng, 0, 0, -2)
    widths = np.array([[0, *rng.integers(low, 5, rank - 1)] for _ in range(2)])
    model = Model(*shape, opset=opset)
    if opset < 11:
        return model.proto(model("Pad", "x", pads=widths.ravel().tolist(), mode=mode, value=float(_some(rng, 0, 0.5))))
    operands = ["x", integers(*widths.ravel()), _some(rng, None, np.float32(0.5))]
    if opset >= 18 and rng.random() < 0.5:
        axes = rng.permutation(np.arange(1, rank))[: rng.integers(1, rank)]
        operands = ["x", integers(*widths[:, axes].ravel()), operands[2], integers(*axes - rank * rng.integers(0, 2))]
    return model.proto(model("Pad", *operands, mode=mode))


def resizing(rng: Random) -> onnx.ModelProto:
    opset = int(_some(rng, 8, 9, 10, 10, 11, 13, 18, 19, 21))
    mode, rank = _some(rng, "nearest", "nearest", "linear"), int(_some(rng, 2, 3, 4, 5))
    shape = [1, int(rng.integers(1, 4)), *_axes(rng, 3, 1, 6)][:rank]
    drawn = [_some(rng, 0.3, 0.5, 0.7, 1.0, 1.2, 1.5, 1.7, 2.0, 2.7, 3.0, 4.0) for _ in range(3)]
    factors = np.array([1, 1, *drawn], np.float32)[:rank]
    factors = np.maximum(factors, 1) if opset < 10 else factors
    factors = np.where(np.floor(factors * shape) < 1, 1, factors).astype(np.float32)
    model = Model(*shape, opset=opset)
    if opset == 8:
        return model.proto(model("Upsample", "x", scales=factors.tolist(), mode=mode))
    if opset < 11:
        return model.proto(model("Upsample" if opset == 9 else "Resize", "x", factors, mode=mode))
    attributes: dict[str, Any] = {"mode": mode}
    if rng.random() < 0.8:
        attributes["coordinate_transformation_mode"] = _some(
            rng, "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn",
            *(["half_pixel_symmetric"] if opset >= 19 else []))
    if rng.random() < 0.8:
        attributes["nearest_mode"] = _some(rng, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    axes = list(range(rank))
    if opset >= 18:
        if rng.random() < 0.3:
            attributes["antialias"] = int(rng.integers(0, 2))
        if rng.random() < 0.3:
            attributes["keep_aspect_ratio_policy"] = _some(rng, "stretch", "not_larger", "not_smaller")
        if rng.random() < 0.4:
            axes = list(range(rank))[2:] or axes
            attributes["axes"] = axes
    nothing = np.zeros(0, np.float32)
    empty = None if opset >= 13 else nothing
    if rng.random() < 0.5:
        sizes = [int(m) for m in np.maximum(1, np.floor(factors * shape))]
        return model.proto(model("Resize", "x", nothing, empty, integers(*(sizes[a] for a in axes)), **attributes))
    return model.proto(model("Resize", "x", nothing, factors[axes], **attributes))


WINDOWS: dict[str, Callable[[Random], onnx.ModelProto]] = {
    "pooling": pooling, "convolution": convolution, "transposed convolution": transposed_convolution,
    "padding": padding, "resizing": resizing,
}
