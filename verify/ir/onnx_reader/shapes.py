"""Constants that need no runtime: stored numbers, and the arithmetic of shapes on whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from verify.ir.onnx_reader.values import places

MOST_ENTRIES = 1 << 16  # of an array that is a shape, or the positions along an axis

_KINDS = {onnx.TensorProto.INT64: np.int64, onnx.TensorProto.INT32: np.int32, onnx.TensorProto.BOOL: np.bool_}

Arrays = Sequence[np.ndarray]
Attributes = dict[str, Any]


def computed(node: onnx.NodeProto, opset: int, inputs: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The one output of a node with constant inputs, or None where it is for the runtime to evaluate."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Constant":
        return _constant(attributes)
    if node.op_type == "Identity" and inputs[0] is not None:
        return inputs[0]
    given = [array for array in inputs if array is not None]
    small = all(array.dtype in _KINDS.values() and array.size <= MOST_ENTRIES for array in given)
    if node.op_type not in _WHOLE or not (small or node.op_type == "Shape") or len(given) < len(inputs):
        return None
    with np.errstate(all="ignore"):  # whole numbers wrap around, as in the runtime
        return _WHOLE[node.op_type](given, attributes)


def _constant(attributes: Attributes) -> np.ndarray | None:
    (form, value), *more = attributes.items()
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if form == "value" and not more:
        return numpy_helper.to_array(value)
    return np.array(value, kinds[form]) if form in kinds and not more else None


def _axes(arrays: Arrays, attributes: Attributes, rank: int) -> tuple[int, ...]:
    """The axes that Squeeze and Unsqueeze name, in an input since opset 13."""
    found = arrays[1].ravel().tolist() if len(arrays) > 1 else attributes.get("axes", [])
    if not all(-rank <= axis < rank for axis in found):
        raise ValueError(f"names the axes {found} of {rank}")
    return tuple(axis % rank for axis in found)


def _gather(arrays: Arrays, attributes: Attributes) -> np.ndarray:
    axis = attributes.get("axis", 0)
    n = arrays[0].shape[axis]
    if ((arrays[1] < -n) | (arrays[1] >= n)).any():
        raise ValueError(f"picks entries outside an axis of length {n}")
    return np.asarray(np.take(arrays[0], arrays[1].astype(np.int64) % max(n, 1), axis))


def _unsqueeze(arrays: Arrays, attributes: Attributes) -> np.ndarray:
    count = arrays[1].size if len(arrays) > 1 else len(attributes["axes"])
    return np.expand_dims(arrays[0], _axes(arrays, attributes, arrays[0].ndim + count))


def _squeeze(arrays: Arrays, attributes: Attributes) -> np.ndarray:
    axes = _axes(arrays, attributes, arrays[0].ndim)
    return arrays[0].squeeze(axes if len(arrays) > 1 or "axes" in attributes else None)


def _quotient(arrays: Arrays, attributes: Attributes) -> np.ndarray:
    """The quotient of whole numbers, rounded toward zero as ONNX does."""
    above = np.abs(arrays[0]) // np.abs(arrays[1])
    return np.asarray(above * np.sign(arrays[0]) * np.sign(arrays[1]))


def _cast(arrays: Arrays, attributes: Attributes) -> np.ndarray | None:
    kind = _KINDS.get(attributes["to"])
    return None if kind is None else arrays[0].astype(kind)


def _slice(arrays: Arrays, attributes: Attributes) -> np.ndarray:
    given = [array.ravel().tolist() for array in arrays[1:]] or [attributes["starts"], attributes["ends"]]
    axes = given[2] if len(given) > 2 else attributes.get("axes", range(len(given[0])))
    steps = given[3] if len(given) > 3 else [1] * len(given[0])
    found = arrays[0]
    for start, end, axis, step in zip(given[0], given[1], axes, steps, strict=True):
        found = np.take(found, places(found.shape[axis], start, end, step), axis)
    return found


_WHOLE: dict[str, Callable[[Arrays, Attributes], np.ndarray | None]] = {
    "Add": lambda a, _: np.asarray(a[0] + a[1]),
    "Sub": lambda a, _: np.asarray(a[0] - a[1]),
    "Mul": lambda a, _: np.asarray(a[0] * a[1]),
    "Div": _quotient,
    "Equal": lambda a, _: np.asarray(a[0] == a[1]),
    "Where": lambda a, _: np.where(*a) if a[1].dtype == a[2].dtype else None,
    "Cast": _cast,
    "Concat": lambda a, attributes: np.concatenate(a, attributes["axis"]),
    "Gather": _gather,
    "Shape": lambda a, attributes: np.array(a[0].shape[attributes.get("start", 0) : attributes.get("end")], np.int64),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
