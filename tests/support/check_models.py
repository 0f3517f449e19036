"""ONNX models for the tests of the checker's reader, and what both readers make of a model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from tests.support.checked import FLOATS, evaluated
from tests.support.onnx_models import Model, integers, load, numbers
from verify.check.network import build
from verify.check.onnx import Unreadable, difference, read
from verify.proof.export import exported

Canonical = tuple[dict[str, Any], dict[str, np.ndarray]]
STATISTICS = [numbers(i, 2) for i in range(5, 8)] + [np.abs(numbers(8, 2))]


PLAIN: dict[str, Any] = {
    "kernel": numbers(1, 2, 1, 3, 3), "strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 1], "slope": 0.1,
    "order": [0, 1], "late": False, "swap": False, "bias": True, "act": "Relu", "perm": [0, 1, 2, 3],
    "offset": np.float32(0.5), "eps": 1e-3,
}


def sample_model(**changes: Any) -> onnx.ModelProto:
    """A convolution, normalised, then the difference of two branches."""
    assert changes.keys() <= PLAIN.keys()
    given, model = {**PLAIN, **changes}, Model(1, 1, 5, 5)
    windows = {name: given[name] for name in ("strides", "pads", "dilations")}
    maps = model("Conv", "x", given["kernel"], numbers(2, 2), **windows)
    maps = model("BatchNormalization", maps, *STATISTICS, epsilon=given["eps"])
    maps = model("Transpose", model("LeakyRelu", maps, alpha=given["slope"]), perm=given["perm"])
    flat = model("Slice", model("Flatten", maps), integers(0), integers(8), integers(1))
    first, second = (numbers(3 + i, 8, 8) for i in given["order"])
    bias = numbers(9, 8) if given["bias"] else None
    right = model("Gemm", flat, second) if given["late"] else ""
    left = model(given["act"], model("Gemm", flat, first, bias))
    right = right or model("Gemm", flat, second)
    both = model("Sub", *((right, left) if given["swap"] else (left, right)))
    return model.proto(model("Relu", model("Add", both, given["offset"])))


def whole(data: bytes) -> Canonical:
    """The network of a file that does not end in a softmax."""
    header, arrays, head = read(data)
    assert not head
    return header, arrays


def runs(proto: onnx.ModelProto, network: Canonical) -> None:
    """The network gives what a runtime gives."""
    stored = {tensor.name for tensor in proto.graph.initializer}
    source = next(i for i in proto.graph.input if i.name not in stored)
    kind = source.type.tensor_type
    x = np.random.default_rng(0).normal(0, 2, (2, *(d.dim_value or 1 for d in kind.shape.dim)))
    x = x.astype(np.float64 if kind.elem_type == TensorProto.DOUBLE else np.float32)
    found = evaluated(build(FLOATS, *network), FLOATS, x.reshape(2, -1).astype(np.float64))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for mine, sample in zip(found, x, strict=True):
        theirs = np.asarray(session.run(None, {source.name: sample})[0])
        scale = 1 + np.abs(theirs).max(initial=0)
        np.testing.assert_allclose(mine / scale, theirs.ravel() / scale, rtol=0, atol=1e-5)


def same(proto: onnx.ModelProto) -> Canonical:
    """Both readers make the same network of the model, and it gives what a runtime gives."""
    network = whole(proto.SerializeToString())
    assert json.loads(json.dumps(network[0])) == network[0]
    assert difference(*exported(load(proto)), *network) is None
    runs(proto, network)
    return network


def why(proto: onnx.ModelProto) -> str:
    with pytest.raises(Unreadable) as refusal:
        read(proto.SerializeToString())
    return str(refusal.value)
