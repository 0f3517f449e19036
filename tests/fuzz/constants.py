"""One operator over constants alone, whose values a reader has to know or to refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.random import Generator
from onnx import TensorProto

from tests.fuzz.windows import OPSETS, placed, reals, whole
from tests.support.onnx_models import Model

UNARY = ("Abs", "Acos", "Asinh", "Atan", "Ceil", "Celu", "Cos", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
         "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Shrink",
         "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh", "ThresholdedRelu")
BINARY = ("Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "PRelu", "Sub", "Sum")
REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
              "ReduceProd", "ReduceSum", "ReduceSumSquare")
ALONG = ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "CumSum", "ArgMax", "ArgMin", "Flatten", "TopK")
NORMS = ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "LRN", "MeanVarianceNormalization")
MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "Split", "Pad", "Concat", "Expand", "Tile",
         "GatherElements", "ConstantOfShape")
OTHERS = ("DepthToSpace", "SpaceToDepth", "Where", "Cast", "Trilu", "Range", "OneHot")
WINDOWS = ("MaxPool", "AveragePool", "Conv", "Gemm", "MatMul", "GlobalAveragePool", "Resize")


def folded(rng: Generator) -> onnx.ModelProto:
    """A model that adds the result to relu(x), x of one entry."""
    kind = TensorProto.DOUBLE if rng.random() < 0.1 else TensorProto.FLOAT
    model = Model(1, 1, opset=int(rng.choice(OPSETS)), kind=kind)
    group = GROUPS[rng.integers(len(GROUPS))]
    result = group(rng, model, tuple(whole(rng, int(rng.integers(1, 5)), 1, 4)))
    cast = model("Cast", result, to=kind)
    flat = model("Reshape", cast, np.array([1, -1], np.int64))
    return model.proto(model("Add", model("Relu", "x"), flat))


def axis_of(rng: Generator, rank: int) -> int:
    return int(rng.integers(-rank, rank))


def unary(rng: Generator, model: Model, shape: tuple[int, ...]) -> str:
    op = str(rng.choice(UNARY))
    attributes: dict[str, Any] = {}
    if op in ("Celu", "Elu", "HardSigmoid", "LeakyRelu", "Selu", "ThresholdedRelu") and rng.random() < 0.5:
        attributes["alpha"] = float(np.round(rng.random() + 0.1, 2))
    if op == "Shrink":
        attributes = {"lambd": 0.4, "bias": 0.1}
    return model(op, reals(rng, model, *shape), **attributes)


def binary(rng: Generator, model: Model, shape: tuple[int, ...]) -> str:
    other = tuple(n if rng.random() < 0.7 else 1 for n in shape[rng.integers(0, len(shape)):])
    pair = [reals(rng, model, *shape), reals(rng, model, *other)]
    op = str(rng.choice(BINARY))
    if op == "Pow":
        pair[0] = np.abs(pair[0])
    return model(op, *(pair if op == "PRelu" or rng.random() < 0.7 else pair[::-1]))


def reduced(rng: Generator, model: Model, shape: tuple[int, ...]) -> str:
    op, rank = str(rng.choice(REDUCTIONS)), len(shape)
    x = np.abs(reals(rng, model, *shape)) + np.float32(0.1) if "Log" in op else reals(rng, model, *shape)
    x = x.astype(np.float64 if model.kind == TensorProto.DOUBLE else np.float32)
    attributes: dict[str, Any] = {"keepdims": int(rng.integers(0, 2))} if rng.random() < 0.7 else {}
    axes = [int(a) - (rank if rng.random() < 0.3 else 0) for a in rng.permutation(rank)[: rng.integers(0, rank + 1)]]
    as_input = model.opset >= (13 if op == "ReduceSum" else 18)
    if as_input and rng.random() < 0.3:
        attributes["noop_with_empty_axes"] = int(rng.integers(0, 2))
    if rng.random() < 0.3:
        return model(op, x, **attributes)
    if as_input:
        return model(op, x, np.array(axes, np.int64), **attributes)
    return model(op, x, axes=axes, **attributes) if axes else model(op, x, **attributes)


def along(rng: Generator, model: Model, shape: tuple[int, ...]) -> str:
    op, x = str(rng.choice(ALONG)), reals(rng, model, *shape)
    attributes: dict[str, Any] = {"axis": axis_of(rng, len(shape))} if rng.random() < 0.7 else {}
    if op == "CumSum":
        flags = {"exclusive": int(rng.integers(0, 2)), "reverse": int(rng.integers(0, 2))}
        return model(op, x, np.array(axis_of(rng, len(shape)), np.int64), **flags)
    if op == "TopK":
        return model(op, x, np.array([1], np.int64), outputs=2, **attributes)[int(rng.integers(0, 2))]
    if op == "LpNormalization" and rng.random() < 0.5:
        attributes["p"] = int(rng.integers(1, 3))
    if op.startswith("Arg"):
        attributes["keepdims"] = int(rng.integers(0, 2))
    return model(op, x, **attributes)


def normalised(rng: Generator, model: Model, shape: tuple[int, ...]) -> str:
    op, shape = str(rng.choice(NORMS)), (int(rng.integers(1, 3)), int(rng.integers(1, 5)), *shape[:2])
    x, channels = reals(rng, model, *shape), shape[1]
    parts = [reals(rng, model, channels) for _ in range(3)]
    attributes: dict[str, Any] = {"epsilon": 0.01} if rng.random() < 0.5 else {}
    if op == "BatchNormalization":
        return model(op, x, *parts, np.abs(reals(rng, model, channels)), **attributes)
    if op == "InstanceNormalization":
        return model(op, x, *parts[:2], **attributes)
    if op == "LayerNormalization":
        axis = int(rng.integers(1, len(shape)))
        return model(op, x, reals(rng, model, *shape[axis:]), axis=axis, **attributes)
    if op == "LRN":
        return model(op, x, size=int(rng.choice([1, 2, 3])), alpha=0.9, beta=0.5, bias=float(rng.integers(1, 3)))
    return model(op, x)


def moved(rng: Generator, model: Model, shape: tuple[int, ...]) -> str:
    op, rank, x = str(rng.choice(MOVES)), len(shape), reals(rng, model, *shape)
    axis, old = axis_of(rng, rank), model.opset < 13
    if op == "Transpose":
        order: dict[str, Any] = {"perm": [int(a) for a in rng.permutation(rank)]} if rng.random() < 0.8 else {}
        return model(op, x, **order)
    if op in ("Reshape", "Expand", "Tile", "ConstantOfShape"):
        target = {"Reshape": [-1, int(rng.choice([0, 1]))], "Expand": [2, *shape], "Tile": whole(rng, rank, 1, 2),
                  "ConstantOfShape": list(shape)}[op]
        return model(op, *([] if op == "ConstantOfShape" else [x]), np.array(target, np.int64))
    if op in ("Squeeze", "Unsqueeze"):
        x = x[..., None] if op == "Squeeze" else x
        axes = [x.ndim - 1 if rng.random() < 0.5 else -1]
        return model(op, x, axes=axes) if old else model(op, x, np.array(axes, np.int64))
    if op == "Slice":
        parts = [[int(rng.integers(-5, 5))], [int(rng.integers(-5, 6))], [axis], [int(rng.choice([1, 2, -1]))]]
        if model.opset < 10:
            return model(op, x, starts=parts[0], ends=parts[1], axes=parts[2])
        return model(op, x, *(np.array(part, np.int64) for part in parts))
    if op in ("Gather", "GatherElements"):
        n = shape[axis]
        picked = (whole(rng, 2, -n, n - 1) if op == "Gather" else rng.integers(-n, n, shape))
        return model(op, x, np.array(picked, np.int64), axis=axis)
    if op == "Split":
        extra = {"num_outputs": 2} if model.opset >= 18 else {}
        return model(op, x, axis=axis, outputs=2, **extra)[int(rng.integers(0, 2))]
    if op == "Pad":
        pads, mode = whole(rng, 2 * rank, 0, 2), str(rng.choice(["constant", "edge", "reflect"]))
        if model.opset < 11:
            return model(op, x, pads=pads, mode=mode)
        return model(op, x, np.array(pads, np.int64), reals(rng, model), mode=mode)
    return model("Concat", x, reals(rng, model, *shape), axis=axis)


def made(rng: Generator, model: Model, shape: tuple[int, ...]) -> str:
    op, x = str(rng.choice(OTHERS)), reals(rng, model, *shape)
    if op in ("DepthToSpace", "SpaceToDepth"):
        has_mode = op == "DepthToSpace" and model.opset >= 11
        mode: dict[str, Any] = {"mode": str(rng.choice(["DCR", "CRD"]))} if has_mode else {}
        return model(op, reals(rng, model, 1, 8, 2, 4), blocksize=2, **mode)
    if op == "Where":
        return model(op, x > 0, x, reals(rng, model, *shape[-1:]))
    if op == "Cast":
        kind = [np.int64, np.float64, np.float32][rng.integers(3)]
        return model(op, (100 * x).astype(kind), to=int(rng.choice([6, 7, 9])))
    if op == "Trilu":
        diagonal = np.array(rng.integers(-2, 3), np.int64)
        return model(op, reals(rng, model, 3, 4), diagonal, upper=int(rng.integers(0, 2)))
    if op == "Range":
        return model(op, *(np.array(n, np.int64) for n in (rng.integers(0, 3), rng.integers(3, 9), 2)))
    return model(op, np.array([0, -1, 2], np.int64), np.array(4, np.int64), np.array([0.5, 2], np.float32), axis=-1)


def windowed(rng: Generator, model: Model, shape: tuple[int, ...]) -> str:
    op, x = str(rng.choice(WINDOWS)), reals(rng, model, 1, 2, *whole(rng, 2, 2, 6))
    if op in ("MaxPool", "AveragePool"):
        extra = {"ceil_mode": 1} if model.opset >= 10 and rng.random() < 0.4 else {}
        extra |= {"count_include_pad": 1} if op == "AveragePool" and rng.random() < 0.5 else {}
        return model(op, x, kernel_shape=whole(rng, 2, 1, 3), **placed(rng, 2, False), **extra)
    if op == "Conv":
        return model(op, x, reals(rng, model, 2, 2, 2, 2), **placed(rng, 2))
    if op == "Gemm":
        flags = {"transA": int(rng.integers(0, 2)), "alpha": 0.3, "beta": 0.7}
        return model(op, reals(rng, model, 3, 3), reals(rng, model, 3, 2), reals(rng, model, 2), **flags)
    if op == "MatMul":
        return model(op, reals(rng, model, *shape, 2, 3), reals(rng, model, 3, 2))
    if op == "Resize":
        scales = np.array([1, 1, *rng.choice([0.5, 1.5, 1.7, 2], 2)], np.float32)
        if model.opset < 11:
            return model("Upsample" if model.opset == 9 else op, x, scales)
        return model(op, x, np.zeros(0, np.float32), scales, mode=str(rng.choice(["nearest", "linear"])))
    return model(op, x)


GROUPS = (unary, unary, binary, reduced, along, along, normalised, normalised, moved, made, windowed)
