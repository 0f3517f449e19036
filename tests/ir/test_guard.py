"""A network is held against what it was read from: wrong readings are refused by the node, right ones pass."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

import verify
from tests.support.onnx_models import Model, integers, numbers
from verify.errors import InputError
from verify.ir.graph import Network
from verify.ir.guard import Called, beside_module, compare, probes
from verify.ir.load import load
from verify.ir.onnx_reader import read_onnx
from verify.ir.original import original
from verify.ir.rewrite import simplify
from verify.ir.torch_export import read_pt2
from verify.ops import Scale


def file_of(folder: Path, model: Model, last: str) -> Path:
    path = folder / "model.onnx"
    onnx.save(model.proto(last), path)
    return path


def deep(batch: int | str = 1, kind: int = TensorProto.FLOAT) -> tuple[Model, str]:
    """Ten layers, with a sigmoid at the end in float32."""
    model, last = Model(batch, 8, kind=kind), "x"
    dtype = np.float32 if kind == TensorProto.FLOAT else np.float64
    for k in range(10):
        weight, bias = numbers(k, 8, 8, kind=dtype) / dtype(2), numbers(k + 50, 8, kind=dtype)
        last = model("Relu", model("Gemm", last, weight, bias))
    last = model("MatMul", last, numbers(99, 8, 2, kind=dtype) / dtype(20))
    return model, model("Sigmoid", last) if kind == TensorProto.FLOAT else last


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_right_readings_pass(tmp_path: Path, batch: int | str, kind: int) -> None:
    network = load(file_of(tmp_path, *deep(batch, kind)))
    assert compare(network, 100 * probes(network)) == ""


def misread(network: Network, place: int, change: float) -> Network:
    """With the weights of one layer larger by this share."""
    name, weight = [(name, t) for name, t in network.parameters.items() if t.ndim == 2][place]
    return replace(network, parameters={**network.parameters, name: weight * (1 + change)})


@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_wrong_reading_is_refused_by_its_first_node(tmp_path: Path, place: int) -> None:
    model, last = deep()
    network = load(file_of(tmp_path, model, last))
    assert compare(misread(network, place, 1e-7), probes(network)) == ""
    node = model.nodes[2 * place].output[0]
    with pytest.raises(InputError, match=rf"model.onnx would be read wrongly: node {node} differs from"):
        compare(misread(network, place, 1e-3), probes(network))


def test_what_is_read_wrongly_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_of(tmp_path, *deep())
    monkeypatch.setattr("verify.ir.onnx_reader.read_onnx", lambda path: misread(read_onnx(path), 3, 0.5))
    with pytest.raises(InputError, match=r"read wrongly: node v6_0 differs"):
        load(path)


@pytest.mark.parametrize("entries", [1, 40, 1000])
def test_points_that_are_looked_at_one_after_the_other(tmp_path: Path, entries: int, monkeypatch: pytest.MonkeyPatch
                                                       ) -> None:
    """However few numbers are held at once, right readings pass and wrong ones are refused by the node."""
    monkeypatch.setattr("verify.ir.guard.TOGETHER", entries)
    model, last = deep("N")
    network = load(file_of(tmp_path, model, last))
    with pytest.raises(InputError, match=rf"node {model.nodes[8].output[0]} differs"):
        compare(misread(network, 4, 1e-3), probes(network))


def test_another_number_of_outputs_is_refused(tmp_path: Path) -> None:
    model = Model(1, 4)
    path = file_of(tmp_path, model, model("Relu", "x"))
    wide = Model(1, 4)
    other = load(file_of(tmp_path, wide, wide("Concat", "x", wide("Abs", "x"), axis=1)))
    file_of(tmp_path, model, "v0_0")
    with pytest.raises(InputError, match="8 outputs as read, and 4 as run"):
        compare(replace(other, source=original(path)), probes(other))


def test_the_sets_of_verified_problems_are_looked_at(tmp_path: Path) -> None:
    """The reading is right in [-40, 40]: what is wrong shows at points of the set alone."""
    model = Model(1, 2)
    network = load(file_of(tmp_path, model, model("Relu", model("Add", "x", np.array([-1000, 0], np.float32)))))
    wrong = replace(network, parameters={name: t * torch.tensor([1.5, 1]) for name, t in network.parameters.items()})
    assert compare(wrong, probes(wrong)) == ""
    for far, refused in ((0.0, False), (2000.0, True)):
        x = torch.tensor([[far, far + 2000]])
        problem = verify.robustness(wrong, x, [1], eps=1, clip=None)
        if refused:
            with pytest.raises(InputError, match="read wrongly: node v0_0"):
                verify.solve(problem, verify.Interval())
        else:
            assert verify.solve(problem, verify.Interval()).verdicts[0] is verify.Verdict.VERIFIED


def test_a_batch_is_the_same_as_its_samples(tmp_path: Path) -> None:
    """A model that sums over an open batch axis is refused, by the reader or by the guard."""
    model = Model("N", 3)
    network = load(file_of(tmp_path, model, model("Relu", "x")))
    mixing = Model("N", 3)
    path = file_of(tmp_path, mixing, mixing("Relu", mixing("Sub", "x", mixing("ReduceMax", "x", axes=[0]))))
    with pytest.raises(InputError, match="read wrongly"):
        compare(replace(network, source=original(path)), probes(network))


def test_a_float_type_without_kernels_is_told(tmp_path: Path) -> None:
    model = Model(1, 4, kind=TensorProto.DOUBLE)
    network = load(file_of(tmp_path, model, model("LeakyRelu", "x", alpha=0.5)))
    problem = verify.robustness(network, torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64), [0], eps="1/10")
    found = verify.solve(problem, verify.Interval())
    assert found.above is not None
    assert "our reading of the model, which was not compared (onnxruntime cannot replay" in found.above.trusts


def test_values_beyond_float32_are_compared_in_float64(tmp_path: Path) -> None:
    model = Model(1, 2, kind=TensorProto.DOUBLE)
    network = load(file_of(tmp_path, model, model("MatMul", "x", np.diag([1e60, 3e-60]))))
    for change, refused in ((1e-12, False), (1e-3, True)):
        wrong = misread(network, 0, change)
        if refused:
            with pytest.raises(InputError, match="node v0_0 differs"):
                compare(wrong, probes(wrong))
        else:
            assert compare(wrong, probes(wrong)) == ""


def test_a_model_that_the_runtime_rejects_is_refused(tmp_path: Path) -> None:
    model = Model(1, 4)
    model("NoSuchOperator", "x")  # which the output does not need
    path = file_of(tmp_path, model, model("Relu", "x"))
    with pytest.raises(InputError, match=r"onnxruntime cannot replay .*model.onnx"):
        load(path)


def test_one_session_serves_all_and_is_not_sent_along(tmp_path: Path) -> None:
    model = Model(1, 4)
    path = file_of(tmp_path, model, model("Slice", "x", integers(0), integers(2), integers(1)))
    network = load(path)
    assert network.source is original(path)
    sent = pickle.loads(pickle.dumps(network))
    assert compare(sent, probes(sent)) == ""
    assert simplify(network).unmerged is network
    assert not any(isinstance(node.op, Scale) for node in sent.graph.nodes)


class Plain(nn.Sequential):
    """Two layers, and a dropout that eval mode turns off."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2), nn.Dropout(0.5))


def test_a_module_is_compared_with_its_network_and_left_in_its_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = Plain().train()
    network = verify.trace(module, torch.zeros(1, 4))
    assert module.training
    assert module[3].training
    beside_module(network, module, torch.device("cpu"))
    with pytest.raises(InputError, match="Plain would be read wrongly: its output differs"):
        beside_module(misread(network, 1, 1e-2), module, torch.device("cpu"))
    monkeypatch.setattr("verify.ir.torch_export._translate", lambda program: (misread(network, 0, 1e-2), {}))
    with pytest.raises(InputError, match="Plain would be read wrongly"):
        verify.trace(module, torch.zeros(1, 4))


@pytest.mark.parametrize("batch", [1, 4, None])
def test_a_saved_program_is_compared(tmp_path: Path, batch: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {"input": {0: torch.export.Dim("n")}} if batch is None else None
    program = torch.export.export(Plain().eval(), (torch.zeros(batch or 5, 4),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "model.pt2")
    network = read_pt2(tmp_path / "model.pt2")
    monkeypatch.setattr("verify.ir.torch_export._translate", lambda program: (misread(network, 0, 1e-2), {}))
    with pytest.raises(InputError, match=r"model\.pt2 would be read wrongly"):
        read_pt2(tmp_path / "model.pt2")


def test_a_module_that_cannot_be_called_on_any_point_is_read_all_the_same() -> None:
    class Careful(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.compiler.is_compiling() and bool((x < 0).any()):
                raise ValueError("an image has no negative values")
            return torch.relu(x)

    network = verify.trace(Careful(), torch.zeros(1, 4))
    assert compare(replace(network, source=Called(Careful(), "Careful", (4,))), torch.ones(1, 4)) == ""
