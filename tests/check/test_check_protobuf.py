"""Files that are no ONNX models, or none of the form that the checker's reader reads."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import verify.check.onnx as reader
from tests.support.check_models import sample_model, whole, why
from tests.support.checked import FLOATS
from tests.support.onnx_models import Model, chain, integers
from verify.check.network import build
from verify.check.onnx import Unreadable, difference


def test_models_of_another_form_are_unreadable():
    assert "'v0_0' (Asin) is not among" in why(chain(1, 3, steps=[("Asin",)]))
    assert "opset" in why(chain(1, 3, steps=[("Relu",)], opset=7))
    assert "does not come of the input" in why(chain(1, 3, steps=[("Identity",)]))
    assert "type" in why(Model(1, 3, kind=TensorProto.FLOAT16).proto("x"))
    assert "attribute 'axis'" in why(chain(1, 3, steps=[("Relu", {"axis": 1})]))
    assert "is no int" in why(chain(1, 3, steps=[("Flatten", {"axis": 1.0})]))
    assert "not finite" in why(chain(1, 2, steps=[("MatMul", "x", np.full((2, 2), np.nan, np.float32))]))
    assert "float64" in why(chain(1, 2, steps=[("MatMul", "x", np.zeros((2, 2)))]))
    model = Model(1, 3)
    assert "2 outputs" in why(model.proto(model("Relu", "x"), model("Abs", "x")))
    proto = chain(1, 3, steps=[("Relu",)])
    proto.graph.node[0].domain = "elsewhere"
    assert "no standard operator" in why(proto)
    proto = chain(1, 3, steps=[("MatMul", "x", np.eye(3, dtype=np.float32))])
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL
    assert "another file" in why(proto)
    proto = chain(1, 3, steps=[("Relu",), ("Abs",)])
    proto.graph.node[1].output[0] = proto.graph.node[0].output[0]
    assert "no earlier node" in why(proto) or "already" in why(proto)


def test_nothing_grows_beyond_its_limits(monkeypatch: pytest.MonkeyPatch):
    doubling = chain(1, 4, steps=[("Concat", "x", "x", {"axis": 1})] * 60)
    assert "positions" in why(doubling)
    assert "positions" in why(chain(1, 1, 3, 3, steps=[("Pad", "x", integers(0, 0, 0, 0, 0, 0, 1 << 40, 1 << 40))]))
    assert "positions" in why(chain(1, 4, steps=[("Add", "x", np.zeros((1 << 13, 1), np.float32)),
                                                 ("Unsqueeze", "x", integers(0)),
                                                 ("Add", "x", np.zeros((1 << 13, 1, 1), np.float32))]))
    pool = {"kernel_shape": [1 << 20, 1 << 20], "pads": [1 << 20] * 4}
    assert "positions" in why(chain(1, 1, 3, 3, steps=[("MaxPool", "x", pool)]))
    tensor = TensorProto(dims=[1 << 40, 1 << 20], data_type=TensorProto.FLOAT, name="w", raw_data=b"1234")
    model = Model(1, 4)
    model.stored.append(tensor)
    assert "4 bytes" in why(model.proto(model("MatMul", "x", "w")))
    monkeypatch.setattr(reader, "LARGEST", 1 << 20)
    with pytest.raises(Unreadable, match="more than 1048576 bytes"):
        whole(gzip.compress(bytes(1 << 24)))


VALID = sample_model().SerializeToString()


def unharmed(data: bytes) -> None:
    """Read, or Unreadable in one sentence."""
    why = ""
    try:
        build(FLOATS, *whole(data))
    except Unreadable as refusal:
        why = str(refusal)
    assert "\n" not in why


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_random_bytes_are_unreadable(data: bytes):
    with pytest.raises(Unreadable):
        whole(data)
    unharmed(b"\x1f\x8b" + data)


@given(st.integers(0, len(VALID) - 1))
@settings(max_examples=200, deadline=2000)
def test_truncated_models_are_unreadable(length: int):
    with pytest.raises(Unreadable):
        whole(VALID[:length])
    unharmed(gzip.compress(VALID)[: length // 2])


@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@example([(635, 128)])  # a negative variance
@settings(max_examples=500, deadline=2000)
def test_mutated_models_never_raise_anything_else(changes: list[tuple[int, int]]):
    data = bytearray(VALID)
    for place, byte in changes:
        data[place] = byte
    unharmed(bytes(data))


def test_gzipped_models_are_read():
    assert difference(*whole(gzip.compress(VALID)), *whole(VALID)) is None
