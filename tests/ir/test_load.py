"""Every kind of model that `load` reads, and every way in which it says no."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from verify.errors import InputError
from verify.ir.load import load
from verify.ir.torch_export import trace

FACTORIES = '''
import torch
from torch import nn


def pair():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.zeros(1, 4)


def attribute():
    module, module_example = pair()
    module.example_input = module_example
    return module


def bare():
    return pair()[0]


def number():
    return 7


def broken():
    raise RuntimeError("no such luck")


def poisoned():
    module, example = pair()
    nn.init.constant_(module[0].bias, float("inf"))
    return module, example


limit = 3
'''


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module of factories."""
    (tmp_path / "my_factories.py").write_text(FACTORIES)
    (tmp_path / "my_broken_module.py").write_text("raise ValueError('half written')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_factories", raising=False)
    return "my_factories"


def _module(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


X = torch.randn(7, 4, generator=torch.Generator().manual_seed(11))


@pytest.mark.parametrize("factory", ["pair", "attribute"])
def test_factories(factories: str, factory: str) -> None:
    torch.testing.assert_close(load(f"{factories}:{factory}")(X), _module()(X).detach())


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_replace_those_of_the_factory(factories: str, suffix: str, tmp_path: Path) -> None:
    other = _module(seed=5)
    path = tmp_path / f"weights{suffix}"
    write = save_file if suffix == ".safetensors" else torch.save
    write(other.state_dict(), path)
    torch.testing.assert_close(load(f"{factories}:pair", path)(X), other(X).detach())


def test_bundled_names() -> None:
    from verify.models import build, bundled

    module, example = build(bundled()[0])
    torch.testing.assert_close(load(bundled()[0])(example), module(example).detach())


def test_pt2_files(tmp_path: Path) -> None:
    path = tmp_path / "small.pt2"
    torch.export.save(torch.export.export(_module().eval(), (X[:1],)), path)
    torch.testing.assert_close(load(path)(X), _module()(X).detach())


def _onnx(module: nn.Sequential, path: Path) -> Path:
    """The small network written by hand: Gemm with transB, Relu, MatMul and Add."""
    state = {name: t.detach().numpy() for name, t in module.state_dict().items()}
    weights = {"w1": state["0.weight"], "b1": state["0.bias"], "w2": state["2.weight"].T.copy(), "b2": state["2.bias"]}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], transB=1), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]), helper.make_node("Add", ["c", "b2"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", n]) for end, n in (("x", 4), ("y", 2))]
    graph = helper.make_graph(
        nodes, "small", ends[:1], ends[1:], [numpy_helper.from_array(w, name) for name, w in weights.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def test_the_onnx_and_pytorch_routes_agree(tmp_path: Path) -> None:
    torch.testing.assert_close(load(_onnx(_module(), tmp_path / "small.onnx"))(X), trace(_module(), X)(X))


@pytest.mark.parametrize(("name", "message"), [
    ("none.pt2", "there is no model file none.pt2"),
    ("none.onnx", "there is no model file none.onnx"),
    ("none.onnx.gz", "there is no model file none.onnx.gz"),
    ("resnet", "there is no model resnet: neither a file nor bundled"),
    ("weights.safetensors", "there is no model weights.safetensors: neither"),
    ("my_factories:nothing", "module my_factories has no callable 'nothing'"),
    ("my_factories:limit", "module my_factories has no callable 'limit'"),
    ("my_factories:", "module my_factories has no callable ''"),
    ("my_missing:factory", "cannot import my_missing"),
    ("my_broken_module:factory", "importing my_broken_module raised ValueError: half written"),
    ("my_factories:broken", "the factory my_factories:broken raised RuntimeError: no such luck"),
    ("my_factories:number", "the factory my_factories:number returned int"),
    ("my_factories:bare", "the factory my_factories:bare gives no example input"),
    ("my_factories:poisoned", "parameter 0.bias has a value that is not finite"),
])
@pytest.mark.usefixtures("factories")
def test_models_that_cannot_be_read(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load(name)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_module_is_not_loaded_but_traced() -> None:
    with pytest.raises(InputError, match=r"not Sequential; for a torch module call verify\.trace"):
        load(_module())  # type: ignore[arg-type]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    other = tmp_path / "model.h5"
    other.write_bytes(b"1")
    with pytest.raises(InputError, match="is not a kind of model file"):
        load(other)
    path = tmp_path / "small.pt2"
    torch.export.save(torch.export.export(_module().eval(), (X[:1],)), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"is not a readable torch\.export program"):
        load(path)
    path = _onnx(_module(), tmp_path / "small.onnx")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"small\.onnx"):
        load(path)


def test_weights_that_do_not_fit(factories: str, tmp_path: Path) -> None:
    name = f"{factories}:pair"
    state = _module().state_dict()
    cases = {
        "missing": ({k: v for k, v in state.items() if k != "2.bias"}, r"has no 2\.bias"),
        "unexpected": (state | {"4.weight": torch.zeros(1)}, r"has 4\.weight, which the model lacks"),
        "shape": (state | {"0.weight": torch.zeros(3, 5)}, r"0\.weight has shape \(3, 5\) .* but \(3, 4\) in"),
        "nan": (state | {"0.bias": torch.full((3,), float("nan"))}, r"0\.bias in .* not finite"),
        "double": (state | {"0.bias": torch.zeros(3, dtype=torch.float64)}, r"0\.bias is torch\.float64 .* rounded"),
    }
    for case, (weights, message) in cases.items():
        path = tmp_path / f"{case}.safetensors"
        save_file(weights, path)
        with pytest.raises(InputError, match=message):
            load(name, path)


def test_weight_files_that_cannot_be_read(factories: str, tmp_path: Path) -> None:
    name = f"{factories}:pair"
    with pytest.raises(InputError, match="there is no weights file"):
        load(name, tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="is of no known kind"):
        load(name, tmp_path / "weights.bin")
    for suffix in (".safetensors", ".pt"):
        path = tmp_path / f"cut{suffix}"
        write = save_file if suffix == ".safetensors" else torch.save
        write(_module().state_dict(), path)
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(InputError, match="cannot be read") as caught:
            load(name, path)
        assert "\n" not in str(caught.value)
    torch.save(_module(), tmp_path / "whole.pt")  # a pickled module would run code
    with pytest.raises(InputError, match="cannot be read"):
        load(name, tmp_path / "whole.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="is not a state dict of tensors"):
        load(name, tmp_path / "list.pt")
    with pytest.raises(InputError, match="leave out the weights file"):
        load(tmp_path / "model.onnx", tmp_path / "list.pt")
