"""Operators that are affine, or picks, whatever they are called: against onnxruntime."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.ir.test_onnx_batch import rows_agree
from tests.support.onnx_models import Model, agree, chain, integers, load, numbers, ops
from verify.errors import UnsupportedOp
from verify.ir.evaluate import exact_value

X = "x"
IMAGE = (1, 2, 5, 6)
SCALE = np.array([1, 1, 1.7, 1], np.float32)
MASK = np.random.default_rng(0).random((5, 6)) > 0.5

# name: (input shape, opset, steps), as in test_onnx_ops
CASES = {
    "prelu by channel": (IMAGE, 16, [("PRelu", X, numbers(1, 2, 1, 1))]),
    "prelu": (IMAGE, 9, [("PRelu", X, np.float32(-0.3))]),
    "shrink": (IMAGE, 9, [("Shrink", {"lambd": 0.5, "bias": 0.5})]),
    "thresholded at 0": (IMAGE, 10, [("ThresholdedRelu", {"alpha": 0.0})]),
    "running sum": (IMAGE, 13, [("CumSum", X, np.array(2))]),
    "running sum of what comes before": (IMAGE, 11, [("CumSum", X, np.array(-1), {"exclusive": 1})]),
    "running sum from the end": (IMAGE, 14, [("CumSum", X, np.array(1), {"reverse": 1, "exclusive": 1})]),
    "stack": (IMAGE, 13, [("MatMul", X, numbers(1, 2, 6, 3))]),
    "stack of four axes": (IMAGE, 13, [("MatMul", X, numbers(1, 1, 2, 6, 3))]),
    "stack on the left": (IMAGE, 9, [("MatMul", numbers(1, 2, 4, 5), X)]),
    "stack of a short axis": ((1, 1, 5, 6), 13, [("MatMul", X, numbers(1, 3, 6, 2))]),
    "stack for rows": ((1, 6), 13, [("MatMul", X, numbers(1, 3, 6, 2))]),
    "stack for a vector": ((6,), 13, [("MatMul", X, numbers(1, 3, 6, 2))]),
    "matrix on maps": (IMAGE, 13, [("MatMul", numbers(1, 3, 5), X)]),
    "einsum of one": ((1, 2, 4), 13, [("Einsum", X, {"equation": "bij->bji"})]),
    "einsum that sums": ((1, 2, 4), 12, [("Einsum", X, {"equation": "b i j -> bi"})]),
    "mean": (IMAGE, 13, [("Mean", X, numbers(1, 6), X)]),
    "where": (IMAGE, 16, [("Where", MASK, X, numbers(1, 6))]),
    "where not": (IMAGE, 9, [("Where", MASK, np.float32(0), X)]),
    "depth to space": ((1, 8, 2, 3), 11, [("DepthToSpace", {"blocksize": 2})]),
    "depth to space by columns": ((1, 8, 2, 3), 13, [("DepthToSpace", {"blocksize": 2, "mode": "CRD"})]),
    "space to depth": ((1, 2, 4, 6), 13, [("SpaceToDepth", {"blocksize": 2})]),
    "tile": (IMAGE, 13, [("Tile", X, integers(1, 2, 1, 3))]),
    "upper triangle": (IMAGE, 14, [("Trilu", X, np.array(1))]),
    "lower triangle": (IMAGE, 14, [("Trilu", X, np.array(-2), {"upper": 0})]),
    "gather elements": (IMAGE, 13, [("GatherElements", X, np.array([[[[0, -1], [2, 3]]]]), {"axis": 3})]),
    "gather places": (IMAGE, 12, [("GatherND", X, np.array([[0, 1], [0, -2]]))]),
    "gather places of samples": ((1, 3, 4), 13, [("GatherND", X, np.array([[[1], [2]]]), {"batch_dims": 1})]),
    "scatter places": (IMAGE, 16, [("ScatterND", X, np.array([[0, 1, 2], [0, 0, -1]]), numbers(2, 2, 6))]),
    "scatter into constants": ((1, 2), 13, [("ScatterND", numbers(1, 1, 4), np.array([[[0, 3], [0, 0]]]), X)]),
    "scatter of old": (IMAGE, 10, [("Scatter", X, np.array([[[[3, 1]]]]), numbers(1, 1, 1, 1, 2), {"axis": 3})]),
    "scatter elements": (IMAGE, 13, [("ScatterElements", X, np.array([[[[3, 1]]]]), numbers(1, 1, 1, 1, 2),
                                      {"axis": 3})]),
    "pad wrap": (IMAGE, 19, [("Pad", X, integers(0, 0, 1, 2, 0, 0, 2, 3), {"mode": "wrap"})]),
    "resize linear": (IMAGE, 13, [("Resize", X, None, np.array([1, 1, 2, 0.5], np.float32), {"mode": "linear"})]),
    "resize linear by thirds": (IMAGE, 13, [("Resize", X, None, None, integers(1, 2, 9, 4), {"mode": "linear"})]),
    "resize linear by 1.7": (IMAGE, 19, [("Resize", X, None, SCALE, {"mode": "linear"})]),
    "upsample linear": (IMAGE, 9, [("Upsample", X, np.array([1, 1, 2, 4], np.float32), {"mode": "linear"})]),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    shape, opset, steps = CASES[name]
    agree(chain(*shape, steps=steps, opset=opset))


EQUATIONS = [
    ("bi,oi->bo", (1, 4), (3, 4)), ("bchw,hk->bckw", (1, 2, 4, 4), (4, 3)), ("btd,tde->bte", (1, 2, 4), (2, 4, 3)),
    ("bchw,c->bhw", (1, 2, 4, 3), (2,)), ("bchw,chw->b", (1, 2, 4, 3), (2, 4, 3)), ("...i,ij->...j", (1, 2, 4), (4, 3)),
    ("bij,bjk->bik", (1, 2, 4), (1, 4, 3)), ("bi,j->bij", (1, 4), (3,)), ("bij,ij->bij", (1, 2, 4), (2, 4)),
    ("bij,jk->bk", (1, 2, 4), (4, 3)), ("bij,kj->kbi", (1, 2, 4), (3, 4)), ("tbd,tde->ebt", (2, 1, 4), (2, 4, 3)),
]


@pytest.mark.parametrize(("equation", "shape", "weight"), EQUATIONS, ids=[e for e, *_ in EQUATIONS])
def test_einsum_with_a_constant_on_either_side(equation: str, shape: tuple[int, ...], weight: tuple[int, ...]) -> None:
    (mine, theirs), wanted = equation.split("->")[0].split(","), equation.split("->")[1]
    agree(chain(*shape, steps=[("Einsum", X, numbers(3, *weight), {"equation": equation})]))
    agree(chain(*shape, steps=[("Einsum", numbers(3, *weight), X, {"equation": f"{theirs},{mine}->{wanted}"})]))


@pytest.mark.parametrize(("equation", "shape", "weight"), EQUATIONS, ids=[e for e, *_ in EQUATIONS])
def test_einsum_of_an_open_batch(equation: str, shape: tuple[int, ...], weight: tuple[int, ...]) -> None:
    proto = chain("N", *shape[1:], steps=[("Einsum", X, numbers(3, *weight), {"equation": equation})])
    if equation[0] == "t" or equation.endswith(">kbi"):
        with pytest.raises(UnsupportedOp, match="batch axis"):
            load(proto)
    else:
        rows_agree(proto)


@pytest.mark.parametrize("step", [
    ("Einsum", X, numbers(1, 3, 4), {"equation": "bchw,bw->chw"}),
    ("Einsum", X, numbers(1, 3, 4), {"equation": "bchw,wk"}),
    ("Einsum", X, numbers(1, 3, 4), {"equation": "bchw,kl->bchw"}), ("Einsum", X, {"equation": "bcii->bci"}),
    ("Shrink", {"lambd": -0.5}), ("PRelu", X, numbers(1, 3)), ("CumSum", X, np.array(0)),
    ("MatMul", X, numbers(1, 3, 6, 2)), ("Tile", X, integers(2, 1, 1, 1)), ("Where", MASK[:4], X, X),
    ("DepthToSpace", {"blocksize": 3}), ("Trilu", X, {"upper": 1, "lower": 0}),
    ("ScatterND", X, np.array([[0, 1, 2], [0, 1, 2]]), numbers(2, 2, 6)),
    ("ScatterND", X, np.array([[0, 1, 2]]), numbers(2, 1, 6), {"reduction": "add"}),
], ids=lambda step: step[0])
def test_refused(step: tuple) -> None:
    with pytest.raises(UnsupportedOp, match=rf"node v1_0 \({step[0]}.*;"):
        load(chain(*IMAGE, steps=[("Identity",), step], opset=16))


ROWS = ("prelu by channel", "shrink", "running sum", "stack", "stack on the left", "stack of a short axis",
        "matrix on maps", "einsum of one", "einsum that sums", "where", "where not", "depth to space", "space to depth",
        "tile", "upper triangle", "resize linear", "resize linear by 1.7", "mean")


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_an_open_batch_are_treated_alone(name: str) -> None:
    (_, *shape), opset, steps = CASES[name]
    rows_agree(chain("N", *shape, steps=steps, opset=opset))


def test_beta_of_a_matrix_product_is_not_rounded_into_its_bias() -> None:
    bias = np.array([1 / 3, 1, 3], np.float32)
    network = load(chain(1, 2, steps=[("Gemm", X, numbers(1, 2, 3), bias, {"beta": 0.7})]))
    assert ops(network) == ["Linear", "Shift", "Shift"]
    total = sum(t.double().numpy() for name, t in network.parameters.items() if t.ndim == 1)
    np.testing.assert_array_equal(total, np.float64(np.float32(0.7)) * bias)
    assert ops(load(chain(1, 2, steps=[("Gemm", X, numbers(1, 2, 3), bias, {"beta": 0.5})]))) == ["Linear"]


def test_weights_of_averages_and_resizes_are_exact() -> None:
    """At rational points the network has the values that the numbers of the file have."""
    thirds = load(chain(1, 1, 3, steps=[("AveragePool", {"kernel_shape": [2], "strides": [2], "pads": [1, 1]})]))
    point = np.array([[Fraction(1, 3), Fraction(1), Fraction(1, 7)]])
    assert exact_value(thirds, point).tolist() == [[Fraction(1, 3), Fraction(4, 7)]]
    uneven = load(chain(1, 1, 3, steps=[("AveragePool", {"kernel_shape": [3], "pads": [0, 2], "ceil_mode": 1})]))
    assert exact_value(uneven, point)[0, 1:].tolist() == [Fraction(4, 7), Fraction(1, 7)]
    attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    wide = load(chain(1, 1, 3, steps=[("Resize", X, None, None, integers(1, 1, 7), attributes)]))
    assert exact_value(wide, point).tolist() == [[
        Fraction(1, 3), Fraction(5, 9), Fraction(7, 9), Fraction(1), Fraction(5, 7), Fraction(3, 7), Fraction(1, 7)]]


@pytest.mark.parametrize(("compare", "wanted"), [
    ("Greater", 1), ("GreaterOrEqual", 1), ("Less", -1), ("LessOrEqual", -1)])
def test_what_a_comparison_with_0_picks_may_be_a_relu(compare: str, wanted: int) -> None:
    zero = np.zeros(1, np.float32)
    for operands, sign in ((("v0_0", zero), wanted), ((zero, "v0_0"), -wanted)):
        for form in ("Mul", "Where", "Where else", "Not"):
            model = Model(1, 6, opset=16)
            x = model("MatMul", "x", numbers(1, 6, 6))
            larger = model(compare, *operands)
            if form == "Mul":
                out = model("Mul", x, model("Cast", larger, to=1))
            elif form == "Where":
                out = model("Where", larger, x, zero)
            elif form == "Where else":
                out = model("Where", larger, np.float32(0), x)
            else:
                out = model("Where", model("Not", larger), x, zero)
            kept = sign if form in ("Mul", "Where") else -sign
            found = ops(agree(model.proto(out)))
            assert found == (["Linear", "ReLU"] if kept > 0 else ["Linear", "Scale", "ReLU", "Scale"])


def test_comparisons_that_jump_are_refused() -> None:
    for operands, form in (((X, np.float32(1)), "Where"), ((X, np.float32(0)), "Ones"), ((X, np.float32(0)), "Out")):
        model = Model(1, 6, opset=16)
        larger = model("Greater", *operands)
        out = model("Cast", larger, to=1)
        if form != "Out":
            out = model("Where", larger, X if form == "Where" else np.float32(1), np.float32(0))
        with pytest.raises(UnsupportedOp, match="jump"):
            load(model.proto(out))
