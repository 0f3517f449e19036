"""Steps of random graphs over curves that bend, curves that jump, whole numbers, and sums along axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator
from onnx import TensorProto

from tests.fuzz.windows import reals
from tests.support.onnx_models import Model

Shape = tuple[int, ...]
CURVES = ("Exp", "Erf", "Sin", "Cos", "Atan", "Softsign", "Celu", "Mish", "Gelu", "Sinh", "Cosh", "Tan", "Log", "Sqrt",
          "Reciprocal", "Pow")
LEAST = {"Mish": 18, "Gelu": 20, "GroupNormalization": 21, "RMSNormalization": 23, "Trilu": 14}
JUMPS = ("Floor", "Ceil", "Round", "Sign", "Shrink", "ThresholdedRelu")
SUMS = ("CumSum", "Trilu", "LpNormalization", "LRN", "MeanVarianceNormalization", "GroupNormalization",
        "RMSNormalization", "Where", "Einsum", "ReduceL1", "ReduceProd")


def _drawn(rng: Generator, model: Model, names: tuple[str, ...]) -> str:
    """A name of an operator that this opset has."""
    return str(rng.choice([name for name in names if LEAST.get(name, 1) <= model.opset]))


def curved(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    """Of values that are kept where the curve is no steeper than floats bear."""
    op = _drawn(rng, model, CURVES)
    one = np.ones((), reals(rng, model).dtype)
    if op in ("Log", "Sqrt", "Reciprocal", "Pow"):
        x = model("Add", model("Abs", x), one)
    elif op in ("Exp", "Sinh", "Cosh", "Tan"):
        x = model("Tanh", x)
    if op == "Pow":
        return model(op, x, one * float(rng.choice([-1.5, -1, 0.5, 1, 2, 3])))
    attributes: dict[str, Any] = {"alpha": float(np.round(rng.random() + 0.2, 2))} if op == "Celu" else {}
    if op == "Gelu" and rng.random() < 0.5:
        attributes["approximate"] = str(rng.choice(["none", "tanh"]))
    return model(op, x, **attributes)


def jumped(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    """Rounded, cut off, or moved to a scale and back."""
    if rng.random() < 0.4 and model.opset >= 10 and model.kind == TensorProto.FLOAT:
        return _whole(rng, model, x, values[x])
    op = _drawn(rng, model, JUMPS)
    attributes: dict[str, Any] = {}
    if op == "Shrink":
        attributes = {"lambd": float(np.round(rng.random() + 0.1, 2)), "bias": float(np.round(rng.random() / 2, 2))}
    if op == "ThresholdedRelu":
        attributes = {"alpha": float(np.round(rng.random() + 0.1, 2))}
    return model(op, x, **attributes)


def _whole(rng: Generator, model: Model, x: str, shape: Shape) -> str:
    """Quantised, multiplied with bytes or not, and moved back; weights so small that no sum leaves 16 bits."""
    kind = (np.uint8, np.int8)[rng.integers(2)]
    zero = kind(rng.integers(0, 100))
    scale, back = (np.float32(np.round(rng.random() / 10 + 0.01, 3)) for _ in range(2))
    whole = model("QuantizeLinear", x, scale, zero)
    weight = rng.integers(-9, 10, (shape[-1], 3)).astype(np.int8)
    form = rng.integers(4)
    if form == 0 and len(shape) > 1:
        made = model("MatMulInteger", whole, weight, zero, np.int8(rng.integers(-2, 3)))
        return model("Mul", model("Cast", made, to=1), back)
    if form == 1 and len(shape) > 1:
        made = model("QLinearMatMul", whole, scale, zero, weight, back, np.int8(1), np.float32(0.3), zero)
        return model("DequantizeLinear", made, np.float32(0.3), zero)
    if form == 2 and len(shape) == 4:
        kernel = rng.integers(-9, 10, (2, shape[1], 2, 2)).astype(np.int8)
        made = model("QLinearConv", whole, scale, zero, kernel, back, np.int8(0), np.float32(0.3), zero,
                     pads=[1, 0, 0, 1])
        return model("DequantizeLinear", made, np.float32(0.3), zero)
    return model("DequantizeLinear", whole, back, zero)


def summed(rng: Generator, model: Model, x: str, values: dict[str, Shape]) -> str:
    """Sums, norms and choices along axes."""
    op, shape = _drawn(rng, model, SUMS), values[x]
    rank = len(shape)
    axis, channels = int(rng.integers(-rank, rank)), (*shape, 1)[1]
    if op == "CumSum":
        flags = {name: int(rng.integers(0, 2)) for name in ("exclusive", "reverse")}
        return model(op, x, np.array(axis, np.int64), **flags)
    if op == "Trilu":
        return model(op, x, np.array(rng.integers(-1, 2), np.int64), upper=int(rng.integers(0, 2)))
    if op == "LpNormalization":
        return model(op, model("Add", x, reals(rng, model) + reals(rng, model).dtype.type(9)), axis=axis, p=2)
    if op == "LRN":
        return model(op, x, size=int(rng.choice([1, 2, 3])), alpha=0.3, beta=float(rng.choice([0.5, 0.75])), bias=1.0)
    if op == "GroupNormalization":
        return model(op, x, reals(rng, model, channels), reals(rng, model, channels), num_groups=1, epsilon=0.1)
    if op == "RMSNormalization":
        return model(op, x, reals(rng, model, shape[-1]), epsilon=0.1)
    if op == "Where":
        return model(op, rng.random(shape[-1]) < 0.5, x, reals(rng, model, shape[-1]))
    if op == "Einsum":
        return model(op, x, x, equation="...i,...i->...") if rank > 1 else model("Identity", x)
    if op in ("ReduceL1", "ReduceProd"):
        if model.opset >= 18:
            return model(op, x, np.array([axis], np.int64))
        return model(op, x, axes=[axis])
    return model(op, x)
