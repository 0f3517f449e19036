"""The ONNX front-end on whole files: the shared benchmark networks, constants, and what is refused."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from tests.support.helpers import SHARED, needs_shared
from tests.support.onnx_models import Model, agree, attempt, chain, integers, load, numbers, ops
from verify.errors import InputError, UnsupportedOp
from verify.ir.onnx_reader import read_onnx

READ = ("test", "mnist_fc", "reach_prob_density", "rl_benchmarks", "safenlp", "collins_rul_cnn", "oval21",
        "cifar10_resnet", "sri_resnet_a", "cifar_biasfield")
PARTLY_READ = ("nn4sys", "vit", "lsnc", "ml4acopf", "cctsdb_yolo")
REFUSED_OF_THESE = ("patch-1", "patch-3")
VNNCOMP = SHARED / "vnncomp"


def shared_models(families: tuple[str, ...], pattern: str = "*") -> list:
    files = [p for family in families for p in sorted((VNNCOMP / family / "onnx").glob(pattern))]
    return [pytest.param(p, id=p.name) for p in files]


def agrees_with_the_runtime(path, network) -> None:
    stored = path.read_bytes()
    session = onnxruntime.InferenceSession(gzip.decompress(stored) if path.suffix == ".gz" else stored)
    feed = session.get_inputs()[0]
    shape = [n if isinstance(n, int) else 1 for n in feed.shape]
    x = np.random.default_rng(0).random((7, *shape), np.float32)
    theirs = np.stack([np.asarray(session.run(None, {feed.name: sample})[0]) for sample in x]).reshape(7, -1)
    rows = torch.from_numpy(x).reshape(7, *network.input_shape)
    mine = network(rows)
    np.testing.assert_allclose(mine.flatten(1), theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    one_by_one = torch.cat([network(row[None]) for row in rows])
    torch.testing.assert_close(mine, one_by_one, rtol=1e-5, atol=1e-5 * float(mine.abs().max()))


@needs_shared
@pytest.mark.parametrize("path", shared_models(READ) + shared_models(("acasxu",), "*_[135]_4_*"))
def test_shared_network(path):
    agrees_with_the_runtime(path, read_onnx(path))


@needs_shared
@pytest.mark.parametrize("path", shared_models(PARTLY_READ))
def test_shared_network_agrees_or_names_the_node(path):
    network, refusal = attempt(path, read_onnx)
    if path.name.removesuffix(".gz").removesuffix(".onnx") not in REFUSED_OF_THESE:
        assert network is not None, refusal
        agrees_with_the_runtime(path, network)
    else:
        assert network is None, "this file is read now: take it out of REFUSED_OF_THESE"
        assert re.match(r"node \S+ \(Cast, inputs of shape", refusal)


# ------------------------------------------------------------------------------------------- files and constants


def test_gzip_and_listed_initialisers(tmp_path):
    model = Model(1, 3)
    proto = model.proto(model("Relu", model("MatMul", "x", numbers(1, 3, 2))), listed=True)
    path = tmp_path / "model.onnx.gz"
    path.write_bytes(gzip.compress(proto.SerializeToString(), mtime=0))
    assert read_onnx(str(path)).digest == load(proto).digest == agree(proto).digest


def test_weights_beside_the_file(tmp_path):
    proto = chain(1, 40, steps=[("MatMul", "x", numbers(1, 40, 40))])
    path, digest = tmp_path / "model.onnx", load(proto).digest
    onnx.save(proto, path, save_as_external_data=True, location="weights", size_threshold=10)
    assert read_onnx(path).digest == digest
    (tmp_path / "weights").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_onnx(path)


def test_double_precision():
    model = Model(1, 3, kind=TensorProto.DOUBLE)
    network = agree(model.proto(model("Relu", model("MatMul", "x", numbers(1, 3, 2, kind=np.float64)))))
    assert network.dtype == torch.float64


def test_constants_in_all_forms():
    model = Model(1, 4)
    forms = [model("Constant", value_float=2.0), model("Constant", value_floats=[1.0, 2.0, 3.0, 4.0]),
             model("Constant", value=helper.make_tensor("t", 1, [4], [1.0, 0.0, 2.0, 0.0])),
             model("Cast", model("Constant", value_ints=[1, 2, 3, 4]), to=1),
             model("Sqrt", model("Transpose", np.abs(numbers(1, 4, 1))))]
    last = "x"
    for constant in forms:
        last = model("Add", last, constant)
    agree(model.proto(last))


def test_what_the_output_does_not_need_is_not_read():
    model = Model(1, 4)
    model("ArgMax", "x")
    model("Add", "x", np.full(4, np.nan, np.float32))
    assert ops(agree(model.proto(model("Relu", "x")))) == ["ReLU"]


def test_a_small_model_is_read_at_once(tmp_path):
    path = tmp_path / "model.onnx"
    steps = [step for i in range(4) for step in [("Gemm", "x", numbers(i, 50, 50), numbers(i, 50)), ("Relu",)]]
    path.write_bytes(chain(1, 50, steps=steps).SerializeToString())
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        read_onnx(path)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1


def test_importing_the_front_end_imports_no_onnx():
    code = "import sys, verify.ir.onnx_reader; sys.exit('onnx' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(("name", "content"), [
    ("a.onnx", b"not a model at all"), ("a.onnx", b""), ("a.onnx.gz", b"not gzip"),
    ("a.onnx", chain(1, 3, steps=[("MatMul", "x", numbers(1, 3, 30))]).SerializeToString()[:200]),
    ("a.onnx.gz", gzip.compress(chain(1, 3, steps=[("Relu",)]).SerializeToString(), mtime=0)[:60]),
])
def test_broken_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)) as found:
        read_onnx(path)
    assert "\n" not in str(found.value)


def test_missing_file(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(InputError, match="there is no file"):
            read_onnx(path)


def with_two_ends() -> list[onnx.ModelProto]:
    model = Model(1, 3)
    two_outputs = model.proto(model("Relu", "x"), model("Abs", "x"))
    two_inputs = model.proto("v0_0")
    two_inputs.graph.input.append(helper.make_tensor_value_info("z", 1, [1]))
    return [two_outputs, two_inputs]


def without_shape() -> onnx.ModelProto:
    proto = chain(1, 3, steps=[("Relu",)])
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    return proto


def from_other_domain() -> onnx.ModelProto:
    proto = chain(1, 3, steps=[("Relu",)])
    proto.graph.node[0].domain = "com.example"
    return proto


@pytest.mark.parametrize(("proto", "error", "message"), [
    (with_two_ends()[0], InputError, r"2 outputs \(v0_0, v1_0\)"),
    (with_two_ends()[1], InputError, r"2 inputs \(x, z\)"),
    (without_shape(), InputError, "has no shape"),
    (from_other_domain(), UnsupportedOp, "com.example"),
    (chain(1, 3, "H", steps=[("Relu",)]), InputError, "only the first length may be open"),
    (chain(1, 3, steps=[("Relu",)], opset=7), UnsupportedOp, "opset 7"),
    (chain(1, 3, steps=[("Relu",)], opset=24), UnsupportedOp, "opset 24"),
    (Model(1, 3, kind=TensorProto.FLOAT16).proto("x"), InputError, "neither float32 nor float64"),
    (Model(1, 3).proto("nowhere"), UnsupportedOp, "reads nowhere"),
    (chain(1, 3, steps=[("MatMul", "x", np.full((3, 3), np.inf, np.float32))]), InputError, "tensor c0, .*not finite"),
    (chain(1, 3, steps=[("Mul", "x", np.float32(np.nan))]), InputError, "tensor c0, .*not finite"),
    (chain(1, 3, steps=[("Shape",)]), InputError, "does not depend on its input"),
])
def test_refused_model(proto, error, message):
    with pytest.raises(error, match=message):
        load(proto)


IMAGE, DOUBLED = (1, 2, 5, 6), np.array([1, 1, 2, 2], np.float32)


@pytest.mark.parametrize("step", [
    ("Pow", "x", np.float32(0)), ("Pow", "x", np.array([2, 3], np.float32)), ("Pow", np.float32(2), "x"),
    ("MatMul", "x", "x"),
    ("Div", "x", np.float32(0)), ("Clip", "x", np.float32(2), np.float32(1)), ("Clip", "x", np.float32(np.nan)),
    ("Clip", "x", np.float32(0), "x"), ("Cast", {"to": 7}), ("Cast", {"to": 10}), ("HardSigmoid", {"alpha": 0.0}),
    ("Dropout", "x", np.float32(0.5), np.array(True)), ("BatchNormalization", "x", *[np.ones(2, np.float32)] * 3),
    ("BatchNormalization", "x", *[np.ones(2, np.float32)] * 4, {"training_mode": 1}),
    ("Conv", "x", "x"), ("Conv", "x", np.ones((3, 1, 2, 2), np.float32)), ("Conv", "x", np.ones((3, 2, 2), np.float32)),
    ("Conv", "x", np.ones((3, 2, 2, 2), np.float32), {"auto_pad": "SAME_UPPER", "dilations": [2, 2]}),
    ("Conv", "x", np.ones((3, 2, 2, 2), np.float32), {"strides": [1]}),
    ("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 1]}),
    ("MaxPool", {"kernel_shape": [2, 2], "pads": [2, 2, 2, 2]}), ("Reshape", "x", integers(7, -1)),
    ("Gather", "x", integers(2), {"axis": 1}), ("Transpose", {"perm": [0, 1]}), ("Relu", {"unknown": 1}),
    ("Squeeze", "x", integers(1)), ("Unsqueeze", "x", integers(9)), ("Add", "x", numbers(1, 4)),
    ("Concat", "x", numbers(1, 2, 2, 5, 6), {"axis": 1}), ("Pad", "x", integers(*range(8)), {"mode": "other"}),
    ("Resize", "x", None, DOUBLED, {"mode": "cubic"}), ("Gemm", "x", numbers(1, 6, 3)),
    ("Resize", "x", None, DOUBLED, {"coordinate_transformation_mode": "tf_crop_and_resize"}),
    ("MatMul", "x", numbers(1, 5, 3)), ("MatMul", "x", numbers(1, 3, 6, 3)),
    ("Split", "x", integers(1, 2), {"axis": 1}),
    ("ScatterND", "x", integers(0, 0, 0, 6).reshape(1, 4), np.ones(1, np.float32)),
], ids=lambda step: step[0])
def test_refused_node(step):
    proto = chain(*IMAGE, steps=[("Identity",), step])
    with pytest.raises((UnsupportedOp, InputError), match=rf"node v1_0 \({step[0]}") as found:
        load(proto)
    assert "\n" not in str(found.value)
    assert ";" in str(found.value), "the remedy follows a semicolon"


def test_second_outputs_are_refused_where_they_are_read():
    model = Model(*IMAGE)
    best, where = model("MaxPool", "x", outputs=2, kernel_shape=[2, 2])
    agree(model.proto(best))
    with pytest.raises(UnsupportedOp, match=f"reads {where}"):
        load(model.proto(model("Cast", where, to=1)))


def test_constants_that_are_random_or_cannot_be_evaluated_are_refused():
    model = Model(1, 3)
    with pytest.raises(UnsupportedOp, match="random"):
        load(model.proto(model("Add", "x", model("RandomNormal", shape=[3]))))
    model = Model(1, 3)
    with pytest.raises(UnsupportedOp, match=r"node v0_0 \(Reshape, constant inputs of shape \(3,\), \(1,\)\)"):
        load(model.proto(model("Add", "x", model("Reshape", numbers(1, 3), integers(7)))))


def test_numbers_that_the_input_type_cannot_hold_are_refused():
    model = Model(1, 3)
    wide = model("Cast", "x", to=TensorProto.DOUBLE)
    with pytest.raises(UnsupportedOp, match="cannot hold"):
        load(model.proto(model("Add", wide, np.full(3, 0.1))))
