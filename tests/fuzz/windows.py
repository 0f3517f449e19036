"""One convolution, pooling, pad or resize with all of its attributes, at any opset that is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.random import Generator
from onnx import TensorProto

from tests.support.onnx_models import Model

OPSETS = (8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
PADS = ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")


def window(rng: Generator) -> onnx.ModelProto:
    """A model of one such node, and sometimes of a Pad before it."""
    dims = int(rng.choice([1, 2, 2, 3]))
    most = 9 if dims < 3 else 5
    kind = TensorProto.DOUBLE if rng.random() < 0.2 else TensorProto.FLOAT
    channels = int(rng.integers(1, 4))
    shape = (1, channels, *whole(rng, dims, 1, most))
    batch = "N" if rng.random() < 0.1 else 1
    model = Model(batch, *shape[1:], opset=int(rng.choice(OPSETS)), kind=kind)
    make = KINDS[rng.integers(len(KINDS))]
    last = "x"
    if make is not padded and rng.random() < 0.15:
        last, shape = padded(rng, model, last, shape)
    last, _ = make(rng, model, last, shape)
    if rng.random() < 0.3:
        last = model("Relu", last)
    return model.proto(last)


def whole(rng: Generator, count: int, low: int, high: int) -> list[int]:
    """Random integers, both ends included."""
    return [int(n) for n in rng.integers(low, high + 1, count)]


def reals(rng: Generator, model: Model, *shape: int) -> np.ndarray:
    """Random numbers in the type of the model."""
    return rng.normal(0, 1, shape).astype(np.float64 if model.kind == TensorProto.DOUBLE else np.float32)


def placed(rng: Generator, dims: int, dilated: bool = True) -> dict[str, Any]:
    """Strides, dilations, pads and auto_pad, each there or not."""
    found: dict[str, Any] = {}
    if rng.random() < 0.7:
        found["strides"] = whole(rng, dims, 1, 4)
    if dilated and rng.random() < 0.3:
        found["dilations"] = whole(rng, dims, 1, 3)
    if rng.random() < 0.35:
        found["auto_pad"] = str(rng.choice(PADS))
    if ("auto_pad" not in found and rng.random() < 0.6) or rng.random() < 0.05:
        found["pads"] = whole(rng, 2 * dims, -1 if rng.random() < 0.1 else 0, 3)
    return found


def convolved(rng: Generator, model: Model, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    dims = len(shape) - 2
    groups = shape[1] if rng.random() < 0.3 else 1
    made = groups * int(rng.integers(1, 3))
    kernel = whole(rng, dims, 1, 3)
    attributes = {**placed(rng, dims), "group": groups}
    if rng.random() < 0.5:
        attributes["kernel_shape"] = kernel
    weights = [reals(rng, model, made, shape[1] // groups, *kernel)]
    if rng.random() < 0.5:
        weights.append(reals(rng, model, made))
    return model("Conv", x, *weights, **attributes), ()


def transposed(rng: Generator, model: Model, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    dims = len(shape) - 2
    groups = shape[1] if rng.random() < 0.3 else 1
    kernel = whole(rng, dims, 1, 3)
    attributes = {**placed(rng, dims), "group": groups}
    if rng.random() < 0.3:
        attributes["output_padding"] = whole(rng, dims, 0, 2)
    if rng.random() < 0.1:
        attributes["output_shape"] = whole(rng, dims, 3, 12)
    weights = [reals(rng, model, shape[1], int(rng.integers(1, 3)), *kernel)]
    if rng.random() < 0.5:
        weights.append(reals(rng, model, weights[0].shape[1] * groups))
    return model("ConvTranspose", x, *weights, **attributes), ()


def pooled(rng: Generator, model: Model, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    dims, op = len(shape) - 2, str(rng.choice(["MaxPool", "AveragePool", "LpPool"], p=[0.5, 0.45, 0.05]))
    least = {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[op]
    attributes = {**placed(rng, dims, model.opset >= least), "kernel_shape": whole(rng, dims, 1, 4)}
    if model.opset >= (18 if op == "LpPool" else 10) and rng.random() < 0.4:
        attributes["ceil_mode"] = int(rng.integers(0, 2))
    if op == "AveragePool" and rng.random() < 0.5:
        attributes["count_include_pad"] = int(rng.integers(0, 2))
    if op == "MaxPool" and rng.random() < 0.2:
        attributes["storage_order"] = int(rng.integers(0, 2))
    return model(op, x, **attributes), ()


def pooled_globally(rng: Generator, model: Model, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    return model(str(rng.choice(["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])), x), ()


def padded(rng: Generator, model: Model, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    rank, mode = len(shape), str(rng.choice(["constant", "constant", "edge", "reflect", "wrap"]))
    low = -1 if rng.random() < 0.2 else 0
    ends = [n if place % rank > 1 or rng.random() < 0.1 else 0 for place, n in enumerate(whole(rng, 2 * rank, low, 3))]
    attributes: dict[str, Any] = {"mode": mode} if rng.random() < 0.9 else {}
    fill = reals(rng, model) if rng.random() < 0.4 else None
    grown = tuple(n + a + b for n, a, b in zip(shape, ends[:rank], ends[rank:], strict=True))
    if model.opset < 11:
        attributes |= {} if fill is None else {"value": float(fill)}
        return model("Pad", x, pads=ends, **attributes), grown
    operands: list[Any] = [np.array(ends, np.int64)]
    operands += [] if fill is None else [fill]
    if model.opset >= 18 and rng.random() < 0.4:
        some = rng.permutation(rank)[: rng.integers(1, rank + 1)]
        axes = [int(a) - (rank if rng.random() < 0.3 else 0) for a in some]
        operands[0] = operands[0].reshape(2, rank)[:, axes].reshape(-1)
        operands = [operands[0], fill, np.array(axes, np.int64)]
        kept = {a % rank for a in axes}
        grown = tuple(g if i in kept else n for i, (n, g) in enumerate(zip(shape, grown, strict=True)))
    return model("Pad", x, *operands, **attributes), grown


COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric",
               "tf_half_pixel_for_nn", "tf_crop_and_resize")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resized(rng: Generator, model: Model, x: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    rank, mode = len(shape), str(rng.choice(["nearest", "linear", "cubic"], p=[0.6, 0.35, 0.05]))
    choices = [0.4, 0.5, 0.75, 1, 1.3, 1.5, 1.7, 2, 3]
    scales = np.array([1, 1, *rng.choice(choices, rank - 2)], np.float32)
    attributes: dict[str, Any] = {"mode": mode} if rng.random() < 0.9 else {}
    if model.opset < 11:
        if model.opset == 8:
            return model("Upsample", x, scales=scales.tolist(), **attributes), ()
        return model("Resize" if model.opset == 10 else "Upsample", x, scales, **attributes), ()
    if rng.random() < 0.7:
        attributes["coordinate_transformation_mode"] = str(rng.choice(COORDINATES))
    if rng.random() < 0.7:
        attributes["nearest_mode"] = str(rng.choice(ROUNDINGS))
    for name, least, value in (("exclude_outside", 11, 1), ("antialias", 18, 1), ("cubic_coeff_a", 11, -0.5)):
        if model.opset >= least and rng.random() < 0.1:
            attributes[name] = value
    sizes, axes = [max(1, int(n * s)) for n, s in zip(shape, scales, strict=True)], list(range(rank))
    if model.opset >= 18 and rng.random() < 0.4:
        axes = [int(a) for a in 2 + rng.permutation(rank - 2)]
        attributes["axes"] = [a - rank if rng.random() < 0.3 else a for a in axes]
        if rng.random() < 0.3:
            attributes["keep_aspect_ratio_policy"] = str(rng.choice(["stretch", "not_larger", "not_smaller"]))
    roi = np.array([0] * len(axes) + [1] * len(axes), np.float32) if rng.random() < 0.5 else np.zeros(0, np.float32)
    if rng.random() < 0.5:
        return model("Resize", x, roi, scales[axes], **attributes), ()
    none = None if model.opset >= 13 else np.zeros(0, np.float32)
    return model("Resize", x, roi, none, np.array([sizes[a] for a in axes], np.int64), **attributes), ()


KINDS = (convolved, convolved, transposed, pooled, pooled, pooled, pooled_globally, padded, padded, resized, resized)
