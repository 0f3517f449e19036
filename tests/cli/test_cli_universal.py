"""`verify universal` as a user meets it: the table, JSON, kept perturbations, one line for bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli_cases import error_of
from verify.cli.main import run


def universal(*more: str, eps: str = "1/100,2") -> int:
    return run(["universal", "net.onnx", "--data", "data.npz", "--eps", eps, "--timeout", "1", *more])


def test_the_table_json_and_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: y_0 - y_1 = x_0 + x_1 - 0.75 - relu(x_0 - x_1) is at least 0.28 from 0 for each sample in L2."""
    assert universal("--out", "kept") == 0
    out, _ = capsys.readouterr()
    assert re.search(r"^eps +UAP +SGD-UAP +one fools +at most +own fool +rigour", out, re.MULTILINE)
    assert re.search(r"^1/100 +0 +0 +0 +0 +0 +float", out, re.MULTILINE)
    kept = json.loads((here / "kept/universal.json").read_text())
    with np.load(here / "kept/deltas.npz") as deltas:
        assert np.abs(deltas["1/100"]).max() <= 0.01
        assert np.abs(deltas["2"]).max() <= 2
    assert universal("--json") == 0
    found = json.loads(capsys.readouterr().out)
    far = found["eps"]["2"]
    assert 1 <= far["lower"] <= far["upper"] <= far["samples"] == 4
    assert far["single"] == [4, 4]
    assert len(far["fooled"]) == far["lower"]
    assert found["config"] == kept["config"]
    assert universal("--out", "kept") == 2
    assert "universal.json already" in error_of(capsys)


@pytest.mark.parametrize(("more", "message"), [(["--timeout", "0"], "positive"), (["--norm", "l7"], "l7"),
                                               (["--eps", "-1"], "-1")])
def test_mistakes(here: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert universal("--out", "new", *more) == 2
    assert message in error_of(capsys)
    assert not (here / "new").exists()
