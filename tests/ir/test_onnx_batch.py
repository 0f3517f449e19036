"""A symbolic batch axis is proved to keep the samples apart, or the node that might mix them is refused."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.support.onnx_models import Model, agree, attempt, chain, integers, load, numbers, ops, run
from verify.errors import UnsupportedOp


def rows_agree(proto: onnx.ModelProto, batch: int = 5) -> None:
    """The runtime's answer to a batch is the network's, row by row."""
    network = load(proto)
    x = numbers(0, batch, *(d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim[1:]))
    theirs = run(proto, x[None])[0]
    mine = network(torch.from_numpy(x)).numpy()
    assert theirs.shape[0] == batch
    np.testing.assert_allclose(mine.reshape(batch, -1), theirs.reshape(batch, -1), rtol=1e-5, atol=1e-5)


def test_symbolic_batch_through_moves():
    rows_agree(chain("N", 2, 3, steps=[("Reshape", "x", integers(-1, 6)), ("Add", "x", numbers(1, 6))]))
    rows_agree(chain(None, 2, 3, steps=[("Reshape", "x", integers(0, -1)), ("MatMul", "x", numbers(1, 6, 2))]))
    moved = [("Transpose", {"perm": [1, 0, 2]}), ("MatMul", "x", numbers(1, 3, 4)), ("Transpose", {"perm": [1, 0, 2]})]
    assert ops(load(chain("N", 2, 3, steps=moved))) == ["Linear"]
    rows_agree(chain("N", 2, 3, steps=moved))
    rows_agree(chain("N", 2, 3, steps=[("Slice", "x", integers(0, 1), integers(1 << 60, 2)), ("Flatten",)]))
    rows_agree(chain("N", 2, 1, steps=[("Unsqueeze", "x", integers(0)), ("Squeeze", "x", integers(0, 3))]))
    rows_agree(chain("N", 2, 1, steps=[("ReduceSum", "x", integers(1, 2), {"keepdims": 0}), ("Relu",),
                                       ("Unsqueeze", "x", integers(1)), ("Gemm", "x", numbers(1, 1, 3))]))


def test_symbolic_batch_through_shape_arithmetic():
    model = Model("N", 4, 3)
    size = model("Unsqueeze", model("Gather", model("Shape", "x"), np.array(0), axis=0), integers(0))
    token = model("Mul", model("ConstantOfShape", model("Concat", size, integers(1, 3), axis=0),
                               value=helper.make_tensor("v", 1, [1], [1.0])), numbers(1, 3))
    joined = model("Concat", token, "x", axis=1)
    flat = model("Reshape", joined, model("Concat", size, integers(-1), axis=0))
    rows_agree(model.proto(model("Add", flat, model("Expand", numbers(2, 15), model("Shape", flat)))))


def test_hard_coded_batch_of_one_in_a_symbolic_model():
    network = agree(chain("N", 2, 3, steps=[("Reshape", "x", integers(1, 6)), ("Relu",)]))
    assert network.output_shape == (6,)


@pytest.mark.parametrize("step", [
    ("Reshape", "x", integers(-1, 3)), ("Reshape", "x", integers(1, -1, 3)), ("Reshape", "x", integers(-1)),
    ("Reshape", "x", integers(6, -1)), ("Flatten", {"axis": 0}), ("Flatten", {"axis": 2}),
    ("ReduceSum", "x", integers(0)), ("ReduceSum",), ("ReduceMax", {"axes": [-3]}), ("Concat", "x", "x", {"axis": 0}),
    ("Gather", "x", np.array(0)), ("Slice", "x", integers(0), integers(1)), ("Slice", "x", integers(1), integers(9)),
    ("Split", "x", integers(1)), ("Expand", "x", integers(4, 2, 3)), ("Add", "x", numbers(1, 4, 2, 3)),
    ("Squeeze", "x", integers(0)), ("Pad", "x", integers(1, 0, 0, 0, 0, 0)), ("MatMul", numbers(1, 2, 4, 1), "x"),
    ("Transpose", {"perm": [1, 0, 2]}),
], ids=lambda step: step[0])
def test_steps_along_a_symbolic_batch_axis_are_refused(step):
    with pytest.raises(UnsupportedOp, match=r"batch axis|stack of matrices"):
        load(chain("N", 2, 3, steps=[step]))


@pytest.mark.parametrize("step", [
    ("ReduceMean", {"axes": [0]}), ("Concat", "x", "x", {"axis": 0}), ("Gather", "x", np.array(0)),
    ("Slice", "x", integers(1), integers(9)),
], ids=lambda step: step[0])
def test_steps_along_a_batch_axis_of_one_are_refused(step):
    with pytest.raises(UnsupportedOp, match="batch axis"):
        load(chain(1, 2, 3, steps=[step]))


def test_a_value_that_depends_on_the_batch_size_is_refused():
    model = Model("N", 3)
    size = model("Cast", model("Gather", model("Shape", "x"), np.array(0)), to=1)
    with pytest.raises(UnsupportedOp, match="depend on the size of the batch"):
        load(model.proto(model("Div", "x", size)))


def test_what_is_accepted_with_a_symbolic_batch_treats_rows_alone() -> None:
    seen: Counter[str] = Counter()
    settings(deadline=None, max_examples=60)(given(data=st.data())(_chain_over_a_symbolic_batch))(seen=seen)
    assert seen["accepted"] >= 10, f"too few are accepted: {seen}"


def _chain_over_a_symbolic_batch(data: st.DataObject, seen: Counter[str]) -> None:
    model, last = Model("N", 2, 3), "x"
    known = np.arange(30).reshape(5, 2, 3)
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["Reshape", "Transpose", "Flatten", "ReduceSum", "Squeeze", "Unsqueeze"]))
        axis = data.draw(st.integers(0, max(0, known.ndim - 1)))
        if kind == "Reshape":
            shapes = [(5, 6), (5, 1, 6), (1, 5, 6), (6, 5), (2, 5, 3), (3, 10), (30,), (5, 3, 2)]
            shape = data.draw(st.sampled_from(shapes))
            target = [-1 if n % 5 == 0 else n for n in shape]
            if known.size == 30:
                known, last = known.reshape(shape), model(kind, last, integers(*target))
        elif kind == "Transpose":
            order = data.draw(st.permutations(range(known.ndim)))
            known, last = known.transpose(order), model(kind, last, perm=order)
        elif kind == "Flatten":
            known, last = known.reshape(math.prod(known.shape[:axis]), -1), model(kind, last, axis=axis)
        elif kind == "ReduceSum" and known.ndim > 1:
            known, last = known.sum(axis), model(kind, last, integers(axis), keepdims=0)
        elif kind == "Squeeze":
            known, last = known.squeeze(), model(kind, last)
        elif kind == "Unsqueeze":
            known, last = np.expand_dims(known, axis), model(kind, last, integers(axis))
    proto = model.proto(model("Relu", last))
    network, refusal = attempt(proto, load)
    seen["refused" if network is None else "accepted"] += 1
    if network is None:
        assert "batch axis" in refusal
    else:
        rows_agree(proto)
