"""What the checker's reader makes of products, powers and softmax."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.check_models import runs, same, whole
from tests.support.onnx_models import Model, chain, integers


@pytest.mark.parametrize("shapes", [((3, 4), (4, 2)), ((2, 3, 4), (4, 2)), ((4,), (4, 2)), ((2, 3, 4), (4,)),
                                    ((2, 1, 3, 4), (5, 4, 2)), ((1, 3, 4), (1, 4, 1)), ((4,), (4,))])
def test_products_of_two_varying_values_are_what_a_runtime_gives(shapes: tuple[tuple[int, ...], ...]):
    """Both factors are slices of the input, reshaped."""
    model, sizes = Model(60, opset=13), [int(np.prod(shape)) for shape in shapes]
    parts = [model("Reshape", model("Slice", "x", integers(start), integers(start + size)), integers(*shape))
             for start, size, shape in zip((0, 7), sizes, shapes, strict=True)]
    out = model("Reshape", model("MatMul", *parts), integers(-1))
    square = model("Mul", out, out)
    other = model("Mul", square, model("Exp", model("Sub", out, square)))
    found = model("Div", other, model("Add", square, np.float32(2)))
    proto = model.proto(model("Div", np.array([3], np.float32), model("Exp", model("Tanh", found))))
    runs(proto, whole(proto.SerializeToString()))


def test_products_with_gates_are_one_curve():
    x, root = "x", np.float32(2**0.5)
    for gate, half in (
        (lambda m: m("Sigmoid", x), None), (lambda m: m("Sigmoid", m("Mul", x, np.float32(1.702))), None),
        (lambda m: m("Tanh", m("Softplus", x)), None),
        (lambda m: m("Add", m("Erf", m("Div", x, root)), np.float32(1)), 0.5),
        (lambda m: m("Cos", x), None),
    ):
        model = Model(1, 4, opset=13)
        factor = x if half is None else model("Mul", x, np.float32(half))
        header, _ = same(model.proto(model("Neg", model("Mul", factor, gate(model)))))
        assert any(node["op"] == "product" for node in header["nodes"]) == ("cos" in str(header))
    model = Model(1, 4, opset=13)
    header, _ = same(model.proto(model("Div", x, model("Add", model("Abs", x), np.float32(1)))))
    assert [node["op"] for node in header["nodes"]] == ["curve"]


def test_whole_powers_of_one_value_are_one():
    model = Model(1, 4, opset=13)
    x = model("Exp", "x")
    square = model("Mul", x, x)
    under = model("Reciprocal", x)
    for made, exponents, is_product in (
        (model("Mul", square, x), ["3"], False), (model("Div", x, square), ["-1"], False),
        (model("Div", np.float32(3), square), ["-2"], False), (model("Mul", under, under), ["-2"], False),
        # where x is 0 these have no value
        (model("Div", square, x), ["-1", "2"], True), (model("Mul", under, square), ["-1", "2"], True),
        (model("Div", x, x), ["-1"], True), (model("Div", np.float32(1), under), ["-1", "-1"], False),
    ):
        header, _ = same(model.proto(model("Neg", made)))
        powers = [value for node in header["nodes"] if node.get("function") == "power" for value in node["parameters"]]
        assert sorted(powers) == exponents
        assert any(node["op"] == "product" for node in header["nodes"]) == is_product


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("is_shifted", [False, True])
def test_a_softmax_that_is_spelled_out_is_one(axis: int, is_shifted: bool):
    model, along = Model(1, 3, 4, opset=12), {"axes": [axis], "keepdims": 1}
    x = model("Sub", "x", model("ReduceMean", "x", **along)) if is_shifted else "x"
    terms = model("Exp", x)
    header, _ = same(model.proto(model("Neg", model("Div", terms, model("ReduceSum", terms, **along)))))
    assert not any(node["op"] in ("product", "maximum") for node in header["nodes"])
    if axis == 1 and not is_shifted:  # over a mean, the sum over two axes, or another sum, it is none
        both = model("ReduceSum", terms, axes=[1, 2], keepdims=1)
        apart = model("ReduceSum", model("Exp", model("Neg", "x")), **along)
        for other in (model("ReduceMean", terms, **along), both, apart):
            header, _ = same(model.proto(model("Neg", model("Div", terms, other))))
            assert any(node["op"] == "product" for node in header["nodes"])


@pytest.mark.parametrize(("op", "shape", "axis", "opset"), [
    ("Softmax", (1, 3, 2), 2, 13), ("Softmax", (1, 4, 3), 1, 13), ("LogSoftmax", (1, 3, 4), -1, 13),
    ("LogSoftmax", (2, 2, 2), 0, 13), ("Softmax", (2, 3, 2), 1, 11),
])
def test_softmax_of_rows(op: str, shape: tuple[int, ...], axis: int, opset: int):
    same(chain(*shape, steps=[(op, {"axis": axis}), ("Neg",)], opset=opset))
