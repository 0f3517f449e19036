"""ONNX operators that are compositions: products, softmax, normalisation, recurrent layers, attention."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from tests.support.onnx_models import Model, agree, integers, load, numbers, ops
from verify.errors import UnsupportedOp
from verify.ops import IntervalBounds

SCALAR = np.float32
BATCHES = [1, "N"]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
NORMS = {  # name: (shape of a sample, opset, operator, operands behind the first, attributes)
    "layer": ((3, 8), 17, "LayerNormalization", [numbers(1, 8), numbers(2, 8)], {"epsilon": 1e-2}),
    "layer over two axes": ((3, 8), 22, "LayerNormalization", [numbers(1, 3, 8), numbers(2, 3, 8)], {"axis": 1}),
    "layer of images": ((4, 5, 6), 17, "LayerNormalization", [numbers(1, 6)], {}),
    "root mean square": ((3, 8), 23, "RMSNormalization", [numbers(1, 8)], {}),
    "group": ((4, 5, 6), 21, "GroupNormalization", [numbers(1, 4), numbers(2, 4)], {"num_groups": 2, "epsilon": 1e-3}),
    "instance": ((4, 5, 6), 13, "InstanceNormalization", [numbers(1, 4), numbers(2, 4)], {}),
    "mean and variance": ((4, 5, 6), 13, "MeanVarianceNormalization", [], {"axes": [2, 3]}),
    "sum of sizes": ((4, 5), 13, "LpNormalization", [], {"p": 1, "axis": 1}),
    "length": ((4, 5), 8, "LpNormalization", [], {"axis": 2}),
    "neighbours": ((4, 5, 6), 13, "LRN", [], {"size": 3, "alpha": 0.3, "beta": 0.6, "bias": 1.3}),
}
MASK = np.array([[0, -np.inf, 0], [0, 0, 0], [-np.inf, -np.inf, 0], [0, 0, 1]], SCALAR)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", NORMS)
def test_normalisation(name, batch):
    shape, opset, op, operands, attributes = NORMS[name]
    model = Model(batch, *shape, opset=opset)
    agree(model.proto(model(op, "x", *operands, **attributes)))


@pytest.mark.parametrize("op", ["ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"])
def test_reductions(op):
    for batch in BATCHES:
        for opset in (8, 18):
            model = Model(batch, 4, 5, opset=opset)
            x = model("Add", model("Abs", "x"), SCALAR(0.1)) if op == "ReduceLogSum" else "x"
            agree(model.proto(model(op, x, axes=[1]) if opset < 18 else model(op, x, integers(1, 2), keepdims=0)))
        model = Model(batch, 1, 5)
        agree(model.proto(model(op, model("Abs", "x"), axes=[1])))


@pytest.mark.parametrize("batch", BATCHES)
def test_products_of_varying_tensors(batch):
    built = {
        "with a column": lambda m: m("Mul", "x", m("ReduceMax", "x", axes=[2])),
        "quotient": lambda m: m("Div", "x", m("Add", m("Abs", "x"), SCALAR(2))),
        "quotient of a constant": lambda m: m("Div", numbers(1, 3), m("Add", m("Abs", "x"), SCALAR(1))),
        "with its transpose": lambda m: m("MatMul", "x", m("Transpose", "x", perm=[0, 2, 1])),
        "broadcast": lambda m: m("MatMul", m("Unsqueeze", "x", integers(1)),
                                 m("Transpose", m("Reshape", "x", integers(0, 2, 2, 3)), perm=[0, 1, 3, 2])),
    }
    for build in built.values():
        model = Model(batch, 4, 3)
        assert {"Multiply", "MatMul"} & set(ops(agree(model.proto(build(model))))) or build is built[
            "quotient of a constant"]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("equation", [
    "bij,bkj->bik", "bij,bij->b", "bij,bij->bij", "bij,bij->bi", "bij,bkl->bjl", "bij,bkj->bk", "b...j,b...j->b...",
])
def test_einsum_of_varying_tensors(equation, batch):
    model = Model(batch, 4, 3)
    agree(model.proto(model("Einsum", "x", model("Abs", "x"), equation=equation)))


def test_products_without_a_batch():
    model = Model(3, 4)
    agree(model.proto(model("Gemm", "x", model("Abs", "x"), numbers(1, 3), transB=1, alpha=0.5, beta=0.3)))
    for shape in ((3, 4), (1, 4)):
        model = Model(*shape)
        agree(model.proto(model("MatMul", "x", model("Transpose", "x"))))
    model = Model(4)
    agree(model.proto(model("MatMul", "x", model("Abs", "x"))))


def test_what_is_common_to_both_factors_is_seen():
    model = Model(1, 4)
    assert ops(agree(model.proto(model("Mul", "x", "x")))) == ["Power"]
    model = Model(1, 4)
    assert {"Multiply", "Power"} <= set(ops(agree(model.proto(model("Div", "x", "x")))))  # 1, but for the pole at 0


@pytest.mark.parametrize("batch", BATCHES)
def test_masked_softmax(batch):
    for build in (
        lambda m: m("Add", "x", MASK), lambda m: m("Where", np.isfinite(MASK), "x", SCALAR(-np.inf)),
        lambda m: m("Add", "x", np.where(np.isfinite(MASK), 0, -1e9).astype(SCALAR)),
    ):
        model = Model(batch, 4, 3)
        agree(model.proto(model("Neg", model("Softmax", build(model), axis=-1))))
    model = Model(batch, 4, 3)
    with pytest.raises(UnsupportedOp, match=r"\(Relu, .*minus infinity, which a softmax alone may"):
        load(model.proto(model("Relu", model("Add", "x", MASK))))
    model = Model(batch, 4, 3)
    with pytest.raises(UnsupportedOp, match="all minus infinity"):
        load(model.proto(model("Softmax", model("Add", "x", np.full(3, -np.inf, SCALAR)), axis=-1)))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_recurrent_layers(op, direction):
    for batch, opset, reset in ((1, 8, 0), ("N", 14, 1), ("N", 22, 0)):
        both, rows = 1 + (direction == "bidirectional"), 2 * GATES[op]
        model = Model(3, 1, 4, opset=opset) if batch == 1 else Model("N", 3, 4, opset=opset)
        x = "x" if batch == 1 else model("Transpose", "x", perm=[1, 0, 2])
        extra = {"linear_before_reset": reset} if op == "GRU" else {}
        weights = numbers(1, both, rows, 4), numbers(2, both, rows, 2), numbers(3, both, 2 * rows)
        states = [None, numbers(4, both, 1, 2)] if batch == 1 else []
        first, *ends = model(op, x, *weights, *states, outputs=2 + (op == "LSTM"), hidden_size=2, direction=direction,
                             **extra)
        parts = [model("Transpose", first, perm=[2, 0, 1, 3]), *(model("Transpose", e, perm=[1, 0, 2]) for e in ends)]
        agree(model.proto(model("Concat", *(model("Flatten", part) for part in parts), axis=1)))


@pytest.mark.parametrize("batch", BATCHES)
def test_attention(batch):
    model = Model(batch, 3, 8, opset=23)
    attended = model("Attention", "x", "x", model("Relu", "x"), q_num_heads=2, kv_num_heads=2, is_causal=1, scale=0.3)
    agree(model.proto(attended))
    model = Model(batch, 2, 3, 4, opset=23)
    agree(model.proto(model("Attention", "x", "x", "x", np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], bool))))
    model = Model(batch, 4, 3, 4, opset=23)
    few = model("Slice", "x", integers(0), integers(2), integers(1))
    agree(model.proto(model("Attention", "x", few, few, numbers(4, 3, 3))))


def test_local_functions_are_read_as_their_nodes():
    model = Model(1, 4, opset=18)
    model.nodes.append(helper.make_node("Twice", ["x"], ["y"], domain="own"))
    proto = model.proto("y")
    nodes = [helper.make_node("Exp", ["a"], ["e"]), helper.make_node("Mul", ["e", "e"], ["b"])]
    imports = [helper.make_opsetid("", 18)]
    proto.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], nodes, imports))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert ops(agree(proto)) == ["Exp", "Power"]


def test_a_softmax_is_bounded_as_by_its_closed_form():
    """Intervals of s_i are attained at corners: the score of i at one end, all others at the other."""
    model = Model(1, 5)
    network = load(model.proto(model("Identity", model("Mul", model("Softmax", "x"), SCALAR(1)))))
    generator = torch.Generator().manual_seed(0)
    low = 4 * torch.randn(6, 5, generator=generator)
    high = low + torch.rand(6, 5, generator=generator) * 3
    box = IntervalBounds(low.double(), high.double())
    values = {network.graph.input: box}
    for node, p in network.double().walk():
        values[node.name] = node.op.interval(p, *(values[name] for name in node.inputs))
    found = values[network.graph.output]
    for i in range(5):
        ends = [torch.where(torch.arange(5) == i, a, b).double().softmax(1)[:, i]
                for a, b in ((low, high), (high, low))]
        share = 1 + 1e-13  # of rounding
        assert ((found.low[:, i] <= ends[0] * share) & (ends[1] <= found.high[:, i] * share)).all()
        torch.testing.assert_close(torch.stack([found.low[:, i], found.high[:, i]]), torch.stack(ends))


def test_opsets_up_to_23_are_read():
    """Opsets 22 and 23 are read; the newest that is, and no newer one."""
    model = Model(1, 4, opset=23)
    agree(model.proto(model("Relu", "x")))
    model = Model(1, 4, opset=24)
    proto = model.proto(model("Relu", "x"))
    assert isinstance(proto, onnx.ModelProto)
    with pytest.raises(UnsupportedOp, match="8 to 23 are read"):
        load(proto)


@pytest.mark.parametrize(("divisor", "curve"), [(3, False), (4, True)])
def test_a_gate_whose_factor_no_float_holds_stays_a_product(divisor: int, curve: bool) -> None:
    """x / 3 * sigmoid(x) is a third of a curve, and 1/3 rounded to a float is another network in real arithmetic."""
    model = Model(1, 5)
    proto = model.proto(model("Mul", model("Div", "x", SCALAR(divisor)), model("Sigmoid", "x")))
    network = agree(proto)
    assert ("Swish" in ops(network)) == curve
    assert ("Multiply" in ops(network)) != curve
