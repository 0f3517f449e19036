"""What torch.nn offers, layer by layer: traced, bounded and certified, or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import verify
from tests.support.torch_layers import HEAD, LAYERS, layer, outcome, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "layers.md"
CERTIFIED = ("Bilinear", "GroupNorm", "InstanceNorm2d", "GRUCell", "Softmax in the middle", "logsumexp",
             "scaled_dot_product_attention, causal", "CosineSimilarity", "squeeze and excitation", "Hardshrink")
REFUSED = {"argmax": "which jumps", "BatchNorm2d without statistics": "samples depend on each other",
           "FractionalMaxPool2d": "differ from run to run", "CrossMapLRN2d": "torch.export cannot",
           "fft": "outside the operator families"}


@pytest.mark.parametrize("name", CERTIFIED)
def test_a_layer_has_finite_bounds_and_a_certificate(name: str) -> None:
    assert outcome(name) == "traced, bounded, certified"
    assert f"| {name} | traced, bounded, certified |" in PAGE.read_text().splitlines()


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_is_refused_with_its_reason(name: str) -> None:
    assert REFUSED[name] in outcome(name)


def test_the_page_lists_all_layers() -> None:
    listed = [line.split(" | ")[0].removeprefix("| ") for line in PAGE.read_text().splitlines() if " | " in line]
    assert listed[1:] == list(LAYERS), "run python -m tests.support.torch_layers > docs/layers.md"


@pytest.mark.conformance
def test_the_page_says_what_is() -> None:
    assert PAGE.read_text() == HEAD + table(), "run python -m tests.support.torch_layers > docs/layers.md"


@pytest.mark.parametrize("name", ["MultiheadAttention", "LayerNorm", "LSTMCell", "masked softmax", "logsumexp", "prod"])
def test_gradients_are_those_of_the_module(name: str) -> None:
    module, x = layer(name)
    network = verify.trace(module, x).double()
    x, module = x.double().requires_grad_(), module.double()
    weights = torch.randn(module(x).shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found, known = (torch.autograd.grad((f(x) * weights).sum(), x)[0] for f in (network, module))
    torch.testing.assert_close(found, known, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["scaled_dot_product_attention, causal", "GroupNorm", "bmm", "GRUCell",
                                  "InstanceNorm2d"])
def test_a_program_of_several_samples_is_that_of_one(name: str, tmp_path: Path) -> None:
    module, x = layer(name)
    x = torch.cat([x, x[:1] * 0.5])  # three samples
    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(module, (x,)), path)
    torch.testing.assert_close(verify.load(path)(x), module(x), rtol=1e-4, atol=1e-5)
