"""Random models of every operator, attribute and opset that is read: both readers beside onnxruntime."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.fuzz.cases import GENERATORS, judged, model_of
from tests.fuzz.compare import Outcome, compared
from tests.support.onnx_models import Model
from verify.check import onnx_layers
from verify.ir.onnx_reader import linear

SHORT = {"graphs": 200, "windows": 180, "constants": 120}
LONG = {"graphs": 20_000, "windows": 30_000, "constants": 12_000}


def differences(kind: str, seeds: range) -> list[str]:
    """The cases of these seeds that differ; there are some of every kind that both runtimes and readers take."""
    found: Counter[Outcome] = Counter()
    wrong = []
    for seed, _, outcome in judged(kind, seeds):
        found.update((outcome.toolkit, outcome.checker))
        wrong += [f"{kind}:{seed} {outcome.reasons}"] if outcome.differs else []
    assert found[Outcome.SAME] > len(seeds) / 4, found
    return wrong


@pytest.mark.parametrize("kind", GENERATORS)
def test_no_reader_differs_from_the_runtime(kind: str) -> None:
    assert differences(kind, range(SHORT[kind])) == []


@pytest.mark.conformance
@pytest.mark.parametrize("kind", GENERATORS)
def test_no_reader_differs_from_the_runtime_at_length(kind: str) -> None:
    assert differences(kind, range(1000, 1000 + LONG[kind])) == []


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_seed_is_a_model(kind: str) -> None:
    first, again, other = (model_of(kind, seed).SerializeToString() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_wrong_readers_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reader with one flaw: the other one is still right."""
    model = Model(1, 1, 4, 4)
    proto = model.proto(model("Conv", "x", np.ones((1, 1, 2, 2), np.float32), strides=[2, 2], pads=[1, 0, 0, 1]))
    assert compared(proto, 0).toolkit == compared(proto, 0).checker == Outcome.SAME
    one, other = (Outcome.DIFFERENT, Outcome.SAME), (Outcome.SAME, Outcome.DIFFERENT)
    for part, outcomes in ((linear, one), (onnx_layers, other)):
        with monkeypatch.context() as patch:
            patch.setattr(part, "pad_lengths", lambda *given, right=part.pad_lengths: right(*given)[::-1])
            found = compared(proto, 0)
        assert (found.toolkit, found.checker) == outcomes
