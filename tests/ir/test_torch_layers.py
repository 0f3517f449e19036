"""What torch.nn offers, layer by layer: traced and bounded, or refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.torch_layers import HEAD, LAYERS, outcome, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "layers.md"
BOUNDED = ("Bilinear", "LayerNorm", "GroupNorm", "InstanceNorm2d", "GRUCell", "Softmax in the middle", "logsumexp",
           "scaled_dot_product_attention, causal", "CosineSimilarity", "squeeze and excitation")
REFUSED = {"argmax": "which jumps", "BatchNorm2d without statistics": "samples depend on each other",
           "FractionalMaxPool2d": "differ from run to run", "CrossMapLRN2d": "torch.export cannot",
           "fft": "outside the operator families"}


@pytest.mark.parametrize("name", BOUNDED)
def test_a_layer_has_finite_bounds(name: str) -> None:
    assert outcome(name) == "traced, bounded"


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_is_refused_with_its_reason(name: str) -> None:
    assert REFUSED[name] in outcome(name)


def test_the_page_lists_all_layers() -> None:
    listed = [line.split(" | ")[0].removeprefix("| ") for line in PAGE.read_text().splitlines() if " | " in line]
    assert listed[1:] == list(LAYERS), "run python -m tests.support.torch_layers > docs/layers.md"


@pytest.mark.conformance
def test_the_page_says_what_is() -> None:
    assert PAGE.read_text() == HEAD + table(), "run python -m tests.support.torch_layers > docs/layers.md"
