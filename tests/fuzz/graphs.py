"""Whole graphs of the operators that are read, at random, with one or two branches and an open batch axis or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.random import Generator
from onnx import TensorProto

from tests.fuzz.curves import curved, jumped, summed
from tests.fuzz.windows import KINDS, OPSETS, reals, whole
from tests.support.onnx_models import Model

Shape = tuple[int, ...]
SMOOTH = ("Sigmoid", "Tanh")
BENT = ("Relu", "Abs", "LeakyRelu", "HardSigmoid", "Clip", "Neg", "Identity", "Dropout", "Cast", "PRelu", "HardSwish",
        "ThresholdedRelu", "Softplus", "Elu", "Selu")
COMPOSED = ("Softmax", "LogSoftmax", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")
SHAPED = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather", "Split", "Expand",
          "DepthToSpace", "SpaceToDepth", "Tile")


def graph(rng: Generator) -> onnx.ModelProto:
    """A model of a few nodes, each over a value that there is."""
    batch = "N" if rng.random() < 0.25 else 1
    shape = [(2, 4, 4), (1, 5, 3), (6,), (3, 4), (4, 2, 3)][rng.integers(5)]
    kind = TensorProto.DOUBLE if rng.random() < 0.05 else TensorProto.FLOAT
    model = Model(batch, *shape, opset=int(rng.choice(OPSETS)), kind=kind)
    values: dict[str, Shape] = {"x": (1, *shape)}
    for _ in range(int(rng.integers(1, 7))):
        name = list(values)[-1] if rng.random() < 0.7 else str(rng.choice(list(values)))
        step, before = STEPS[rng.integers(len(STEPS))], len(model.nodes)
        made = step(rng, model, name, values)
        found = _shape_of(model, made)
        if found is None:  # it does not fit, and is left out
            del model.nodes[before:]
        else:
            values[made] = found
    return model.proto(list(values)[-1])


def _shape_of(model: Model, name: str) -> Shape | None:
    """By onnx's own inference; None where it fails, or for a value that is empty or large."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model.proto(name), strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return None
    tensor = inferred.graph.output[0].type.tensor_type
    found = tuple(d.dim_value or 1 for d in tensor.shape.dim)
    fits = tensor.HasField("shape") and 1 <= len(found) <= 5 and min(found) > 0 and np.prod(found, dtype=int) <= 400
    return found if fits and tensor.elem_type == model.kind else None


def bent(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    op = str(rng.choice(SMOOTH if rng.random() < 0.1 else BENT))
    if op == "Clip" and model.opset >= 11:
        ends = [reals(rng, model) - model_type(model)(1), reals(rng, model) + model_type(model)(1)]
        return model(op, x, *[end if rng.random() < 0.7 else None for end in ends])
    if op == "Clip":
        return model(op, x, min=float(rng.normal()) - 1, max=float(rng.normal()) + 1)
    if op == "Cast":
        return model(op, x, to=model.kind)
    if op == "PRelu":
        return model(op, x, reals(rng, model, *_broadcast(rng, values[x])))
    attributes: dict[str, Any] = {}
    if op in ("LeakyRelu", "HardSigmoid", "ThresholdedRelu", "Elu") and rng.random() < 0.6:
        attributes["alpha"] = float(np.round(rng.normal(), 2))
    if op == "HardSigmoid" and rng.random() < 0.5:
        attributes["beta"] = float(np.round(rng.random(), 2))
    return model(op, x, **attributes)


def model_type(model: Model) -> type:
    return np.float64 if model.kind == TensorProto.DOUBLE else np.float32


def _broadcast(rng: Generator, shape: Shape) -> Shape:
    """A shape that broadcasts to this one: fewer axes, or axes of length 1; sometimes one that makes it grow."""
    kept = shape[rng.integers(0, len(shape) + 1):]
    found = tuple(n if rng.random() < 0.6 else 1 for n in kept)
    return (int(rng.integers(1, 3)), *found) if rng.random() < 0.05 else found


def joined(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    """An operator of two values, or of a value and a constant."""
    if rng.random() < 0.2:
        return _product(rng, model, x, values)
    op = str(rng.choice(["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Concat"]))
    alike = [name for name, shape in values.items() if len(shape) == len(values[x])]
    constant = reals(rng, model, *_broadcast(rng, values[x]))
    if op == "Div":
        constant = (np.sign(constant) * (np.abs(constant) + 1)).astype(constant.dtype)
    if op == "Concat":
        other = constant if rng.random() < 0.3 else str(rng.choice(alike))
        axis = int(rng.integers(-len(values[x]), len(values[x])))
        return model(op, *([x, other] if rng.random() < 0.5 else [other, x]), axis=axis)
    other = str(rng.choice(alike)) if op in ("Add", "Sub", "Max", "Min", "Sum") and rng.random() < 0.5 else constant
    pair = [x, other] if rng.random() < 0.75 else [other, x]
    return model(op, *pair, *([x] if op in ("Sum", "Max", "Min", "Mean") and rng.random() < 0.2 else []))


def _product(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    """A product or a quotient of two values, the divisor far from 0; or of two matrices."""
    alike = [name for name, shape in values.items() if len(shape) == len(values[x])]
    other, op = str(rng.choice(alike)), str(rng.choice(["Mul", "Div", "MatMul"]))
    if op == "MatMul":
        order = [*range(len(values[x]))[:-2], len(values[x]) - 1, len(values[x]) - 2]
        return model(op, x, model("Transpose", other, perm=order)) if len(values[x]) > 1 else model("Mul", x, other)
    return model(op, x, other if op == "Mul" else model("Add", model("Abs", other), model_type(model)(1)))


def multiplied(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    shape = list(values[x])
    right = rng.random() < 0.75
    if len(shape) == 2 and rng.random() < 0.5:
        flags: dict[str, Any] = {name: int(rng.integers(0, 2)) for name in ("transA", "transB") if rng.random() < 0.3}
        flags |= {name: float(rng.choice([0.5, 0.3, 2])) for name in ("alpha", "beta") if rng.random() < 0.2}
        inner = shape[0 if flags.get("transA") else 1] if right else shape[1 if flags.get("transB") else 0]
        other = (inner, 3) if right else (2, inner)
        flipped = other[::-1] if flags.get("transB" if right else "transA") else other
        pair = [x, reals(rng, model, *flipped)] if right else [reals(rng, model, *flipped), x]
        bias = [reals(rng, model, *[(3,), (1, 3), (1,), ()][rng.integers(4)])] if rng.random() < 0.6 else []
        return model("Gemm", *pair, *bias, **flags)
    if right or len(shape) < 2:
        return model("MatMul", x, reals(rng, model, shape[-1], *([int(rng.integers(1, 5))] * int(rng.integers(0, 2)))))
    return model("MatMul", reals(rng, model, 3, shape[-2]), x)


def shaped(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    shape, rank = values[x], len(values[x])
    op = str(rng.choice(SHAPED))
    axis, old = int(rng.integers(-rank, rank)), model.opset < 13
    if op == "Reshape":
        target = [[-1], [0, -1], [1, -1], [*shape[:-2], -1], [0, *shape[1:][::-1]]][rng.integers(5)]
        if rng.random() < 0.2:  # of a shape that the graph computes
            start = model("Gather", model("Shape", x), np.array([0], np.int64))
            return model(op, x, model("Concat", start, np.array([-1], np.int64), axis=0))
        return model(op, x, np.array(target, np.int64))
    if op == "Flatten":
        return model(op, x, **({"axis": axis} if rng.random() < 0.6 else {}))
    if op == "Transpose":
        order = [0, *(1 + rng.permutation(rank - 1))] if rng.random() < 0.7 else rng.permutation(rank)
        named: dict[str, Any] = {"perm": [int(a) for a in order]} if rng.random() < 0.9 else {}
        return model(op, x, **named)
    if op in ("Squeeze", "Unsqueeze"):
        axes = [axis] if rng.random() < 0.9 else None
        if op == "Unsqueeze" or axes:
            axes = axes or [1]
            return model(op, x, axes=axes) if old else model(op, x, np.array(axes, np.int64))
        return model(op, x)
    return _moved(rng, model, op, x, shape, axis)


def _moved(rng: Generator, model: Model, op: str, x: str, shape: Shape, axis: int) -> str:
    rank, old = len(shape), model.opset < 13
    if op == "Slice":
        parts = [whole(rng, 1, -5, 5), whole(rng, 1, -5, 9), [axis], [int(rng.choice([1, 1, 2, -1, -2]))]]
        if model.opset < 10:
            return model(op, x, starts=parts[0], ends=parts[1], axes=parts[2])
        return model(op, x, *(np.array(part, np.int64) for part in parts))
    if op == "Gather":
        n = shape[axis]
        picked = np.array(whole(rng, 2, -n, n - 1) if rng.random() < 0.6 else rng.integers(-n, n), np.int64)
        return model(op, x, picked, axis=axis)
    if op == "Split":
        first = int(rng.integers(0, shape[axis] + 1))
        sizes = [first, shape[axis] - first]
        if rng.random() < 0.4:
            extra = {"num_outputs": 2} if model.opset >= 18 else {}
            return model(op, x, axis=axis, outputs=2, **extra)[0]
        if old:
            return model(op, x, axis=axis, outputs=2, split=sizes)[0]
        return model(op, x, np.array(sizes, np.int64), axis=axis, outputs=2)[int(rng.integers(0, 2))]
    if op in ("Expand", "Tile"):
        target = [n if n > 1 else int(rng.integers(1, 3)) for n in shape] if op == "Expand" else whole(rng, rank, 1, 2)
        return model(op, x, np.array(target, np.int64))
    has_mode = op == "DepthToSpace" and model.opset >= 11
    mode: dict[str, Any] = {"mode": str(rng.choice(["DCR", "CRD"]))} if has_mode else {}
    return model(op, x, blocksize=2, **mode)


def reduced(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    op, rank = str(rng.choice(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", *COMPOSED])), len(values[x])
    axes = [int(a) - (rank if rng.random() < 0.3 else 0) for a in rng.permutation(rank)[: rng.integers(1, rank + 1)]]
    if "Softmax" in op:
        return model(op, x, **({"axis": axes[0]} if rng.random() < 0.7 else {}))
    attributes: dict[str, Any] = {"keepdims": int(rng.integers(0, 2))} if rng.random() < 0.7 else {}
    if rng.random() < 0.1:
        return model(op, x, **attributes)
    if model.opset >= (13 if op == "ReduceSum" else 18):
        return model(op, x, np.array(axes, np.int64), **attributes)
    return model(op, x, axes=axes, **attributes)


def normalised(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    channels = (*values[x], 1)[1]
    if rng.random() < 0.4:
        if model.opset >= 17 and rng.random() < 0.6:
            return model("LayerNormalization", x, reals(rng, model, values[x][-1]), epsilon=0.1)
        return model("InstanceNormalization", x, reals(rng, model, channels), reals(rng, model, channels), epsilon=0.1)
    parts = [reals(rng, model, channels) for _ in range(4)]
    attributes: dict[str, Any] = {"epsilon": 0.1} if rng.random() < 0.5 else {}
    return model("BatchNormalization", x, *parts[:3], np.abs(parts[3]), **attributes)


def windowed(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    if len(values[x]) < 3:
        return model("Relu", x)
    found = KINDS[rng.integers(len(KINDS))](rng, model, x, values[x])[0]
    return found


STEPS: tuple[Callable[[Generator, Model, str, dict[str, Shape]], str], ...] = (
    bent, bent, bent, joined, joined, multiplied, multiplied, shaped, shaped, reduced, normalised, windowed, windowed,
    curved, curved, jumped, jumped, summed,
)
