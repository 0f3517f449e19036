"""Chains of layers read without torch.export: the same networks, to the last name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import verify.models
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from verify.models.architectures import NAMES, make, normalized

from verify.errors import InputError
from verify.ir.layers import read_chain
from verify.ir.load import load
from verify.ir.torch_export import trace

IMAGE = torch.zeros(1, 2, 8, 8)
VECTOR = torch.zeros(2, 6)


def assert_same(module: nn.Module, example: Tensor) -> None:
    chain = read_chain(module, example)
    assert chain is not None
    traced = trace(module, example)
    assert chain.graph == traced.graph
    assert chain.digest == traced.digest


@pytest.mark.parametrize("name", verify.models.bundled())
def test_bundled_networks_are_the_exported_ones(name: str):
    assert_same(*verify.models.build(name))
    assert load(name).digest == trace(*verify.models.build(name)).digest


def test_bundled_networks_load_without_torch_export():
    """Its import of torch._dynamo takes longer than all else that a first result needs."""
    name = "mnist-interval-0.1"
    script = f"import sys; from verify.ir.load import load; load('{name}'); print('torch._dynamo' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("dm-") or name == "tutorial"])
def test_architectures_are_the_exported_ones(name: str, batch_norm: bool):
    module = make(name, (1, 28, 28), 10, seed=1, batch_norm=batch_norm)
    assert_same(module, torch.zeros(1, 1, 28, 28))
    assert module.training


@st.composite
def chains(draw: st.DrawFn) -> nn.Sequential:
    """Convolutions, then dense layers, of every option that is read."""
    layers: list[nn.Module] = []
    channels, extent = 2, 8
    if draw(st.booleans()):
        layers.append(normalized(nn.Identity(), [0.5, 0.25], [1.5, 3.0])[0])
    for _ in range(draw(st.integers(0, 3))):
        out, kernel = draw(st.sampled_from([2, 4])), draw(st.integers(1, 3))
        stride, padding, dilation = draw(st.integers(1, 2)), draw(st.integers(0, 2)), draw(st.integers(1, 2))
        extent = (extent + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        if extent < 1:
            return nn.Sequential(nn.Flatten(), nn.Linear(128, 1))
        layers.append(nn.Conv2d(channels, out, kernel, stride, padding, dilation, draw(st.sampled_from([1, 2])),
                                draw(st.booleans())))
        channels = out
        if draw(st.booleans()):
            layers.append(nn.BatchNorm2d(channels, eps=draw(st.sampled_from([1e-5, 1e-3]))))
        layers.append(nn.ReLU())
    width = channels * extent * extent
    head: list[nn.Module] = [nn.Flatten()]
    for out in draw(st.lists(st.integers(1, 5), min_size=1, max_size=2)):
        head += [nn.Linear(width, out, draw(st.booleans())), nn.ReLU()]
        head += [nn.BatchNorm1d(out)] if draw(st.booleans()) else []
        width = out
    return nn.Sequential(nn.Sequential(*layers), *head) if draw(st.booleans()) else nn.Sequential(*layers, *head)


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(chains(), st.integers(0, 2**31))
def test_random_chains_are_the_exported_ones(module: nn.Sequential, seed: int):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)
    assert_same(module, IMAGE)
    assert_same(module.double(), IMAGE.double())


class Doubled(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def doubling_hook(module: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> Tensor:
    return 2 * result


def hooked() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 2))
    module[0].register_forward_hook(doubling_hook)
    return module


def hooked_outside() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 2))
    module.register_forward_pre_hook(lambda module, arguments: (2 * arguments[0],))
    return module


def replaced() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 2))
    vars(module[0])["forward"] = lambda x: x[:, :2]
    return module


def shared() -> nn.Module:
    layer = nn.Linear(6, 6)
    return nn.Sequential(layer, nn.ReLU(), layer)


def tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    module[2].weight = module[0].weight
    return module


OTHERS = {
    "subclass": lambda: Doubled(nn.Linear(6, 2)), "hook": hooked, "hook outside": hooked_outside, "forward": replaced,
    "shared": shared, "tied": tied, "sigmoid": lambda: nn.Sequential(nn.Linear(6, 2), nn.Sigmoid()),
    "parametrized": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))),
    "empty": nn.Sequential,
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_modules_are_left_to_torch_export(name: str):
    assert read_chain(OTHERS[name](), VECTOR) is None


@pytest.mark.parametrize("layer", [
    nn.Conv2d(2, 2, 3, padding="same"), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), nn.Linear(8, 2),
    nn.Flatten(2), nn.BatchNorm2d(2, affine=False), nn.BatchNorm2d(2, track_running_stats=False), nn.Conv2d(3, 2, 3),
    nn.ReLU(inplace=True),
])  # fmt: skip
def test_other_options_are_left_to_torch_export(layer: nn.Module):
    assert read_chain(nn.Sequential(layer, nn.ReLU()), IMAGE) is None


def test_mixed_types_are_left_to_torch_export():
    assert read_chain(nn.Sequential(nn.Linear(6, 2)), VECTOR.double()) is None
    assert read_chain(nn.Sequential(nn.Linear(6, 2)), VECTOR.int()) is None


def test_an_input_that_does_not_fit_is_told_by_torch_export(tmp_path, monkeypatch):
    (tmp_path / "misfit.py").write_text(
        "import torch\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear(6, 2)), torch.zeros(1, 5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"torch\.export cannot follow Sequential on an input of shape"):
        load("misfit:make")
