"""`verify smooth` as a user meets it: a table that says statistical, JSON, continued runs, one line for bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.cli_cases import error_of
from verify.cli.main import run


def smooth(*more: str, sigma: str = "1/10") -> int:
    return run(["smooth", "net.onnx", "--data", "data.npz", "--sigma", sigma, "--draws", "400", *more])


def test_the_table_and_a_continued_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: y_0 - y_1 = x_0 + x_1 - 0.75 - relu(x_0 - x_1), at least 0.28 from 0 for samples 0 and 1 in L2; sample 3
    has another label."""
    assert smooth("--eps", "0.05,1/10,1", "--out", "run") == 0
    out, err = capsys.readouterr()
    assert "net.onnx on 4 samples of data.npz, l2, noise of sigma 1/10, 400 draws" in out
    assert re.search(r"^0.05 +50.0 % +2 of 4$", out, re.MULTILINE)
    assert re.search(r"^1 +0.0 % +0 of 4$", out, re.MULTILINE)
    assert "each answer is right with probability 0.999" in " ".join(out.split())
    assert "no proof" in out
    assert "verified" not in out + err
    assert smooth("--eps", "0.05,1/10,1", "--out", "run", "--resume", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "statistical"
    assert found["robust"]["0.05"] == 2
    assert found["robust"]["1"] == 0
    assert (found["samples"], found["errors"], found["draws"]) == (4, 0, 400)
    assert smooth("--out", "run", "--resume", "--seed", "1") == 2
    assert "run" in error_of(capsys)


@pytest.mark.parametrize(("more", "message"), [
    (["--confidence", "1"], "confidence is 1 but must lie between 0 and 1"),
    (["--confidence", "much"], "confidence"), (["--eps", "0.1,-1"], "-1"), (["--draws", "0"], "draws"),
])
def test_mistakes(here: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert smooth(*more) == 2
    assert message in error_of(capsys)
    assert not (here / "runs").exists()


def test_no_noise_is_a_mistake(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smooth(sigma="0") == 2
    assert "sigma is 0 but must lie between" in error_of(capsys)
