"""What users get wrong is told in one line with the remedy, and a command that is refused leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.cli_cases import X, Y, certify, error_of, onnx_file, property_file
from verify.cli.main import run
from verify.data import load_data
from verify.runs.certification.records import spelled


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx_file(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    return tmp_path


def images() -> tuple[nn.Module, Tensor]:
    """A network of images (3, 8, 8)."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 7), nn.Flatten(), nn.Linear(8, 2)).eval(), torch.zeros(1, 3, 8, 8)


class Last(nn.Module):
    """The same function of images (8, 8, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = images()[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x.permute(0, 3, 1, 2))


def last() -> tuple[nn.Module, Tensor]:
    return Last().eval(), torch.zeros(1, 8, 8, 3)


def broken() -> tuple[nn.Module, Tensor]:
    return nn.Linear(2, 2)(torch.zeros(3, 3)), torch.zeros(1, 2)


BROKEN_LINE = broken.__code__.co_firstlineno + 1


@pytest.mark.parametrize("eps", ["0,03", "0,3", "1/100,03"])
def test_a_decimal_comma_is_no_list_of_radii(here: Path, eps: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("certify", "gaps"):
        assert run([command, "net.onnx", "--data", "data.npz", "--eps", eps]) == 2
        told = error_of(capsys)
        assert "0.03" in told or "0.3" in told or "leading zero" in told
    assert sorted(os.listdir()) == ["data.npz", "net.onnx"]


def test_other_numbers_with_a_comma_are_told_of_the_point(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["radius", "net.onnx", "--data", "data.npz", "--most", "0,3"]) == 2
    assert "most '0,3' is not a finite number" in (told := error_of(capsys))
    assert "with a decimal point" in told
    assert certify("--out", "run", eps="0.3,0") == 0  # the radii 0 and 0.3


@pytest.mark.parametrize(("eps", "norm", "clip", "is_told"), [
    ("8", "linf", "0,1", True), ("1", "linf", "0,1", False), ("1.2", "l2", "0,1", False), ("3", "l2", "0,1", True),
    ("8", "linf", "none", False), ("8", "linf", "0,255", False), ("0.1,1.5", "linf", "0,1", True),
])
def test_a_radius_beyond_the_clip_is_warned_of(
    here: Path, eps: str, norm: str, clip: str, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify("--out", "run", "--norm", norm, "--clip", clip, eps=eps) == 0
    warned = [text for text in capsys.readouterr().err.splitlines() if text.startswith("warning: ")]
    assert len(warned) == is_told
    assert all("eps is in the units of the inputs, for example 8/255" in text for text in warned)


def test_channels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes are moved where the network needs it and with a word; floats are refused with the way to move them."""
    x = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    with torch.no_grad():
        y = images()[0](torch.from_numpy(x).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    np.savez("bytes.npz", x=x, y=y)
    np.savez("floats.npz", x=x.astype(np.float32) / np.float32(255), y=y)
    np.savez("first.npz", x=np.moveaxis(x, 3, 1).astype(np.float32) / np.float32(255), y=y)
    moved = "warning: bytes.npz has bytes of shape (8, 8, 3); the last axis is taken for channels and moved, (3, 8, 8)"
    for model, data, warned in (("images", "bytes", True), ("images", "first", False), ("last", "bytes", False),
                                ("last", "floats", False)):
        call = ["certify", f"tests.cli.test_cli_mistakes:{model}", "--data", f"{data}.npz", "--eps", "0"]
        assert run([*call, "--methods", "pgd", "--out", f"{model}-{data}"]) == 0
        out, err = capsys.readouterr()
        assert (moved in err) == warned
        assert "clean accuracy         100.0 %" in out
        assert "(weights as the factory makes them) on 6 samples" in out
    for model, data, order in (("images", "floats", "0, 3, 1, 2"), ("last", "first", "0, 2, 3, 1")):
        call = ["certify", f"tests.cli.test_cli_mistakes:{model}", "--data", f"{data}.npz", "--eps", "0"]
        assert run(call) == 2
        assert f"move them with x.permute({order})" in error_of(capsys)
    assert load_data("bytes.npz").x.shape == (6, 3, 8, 8)
    assert load_data("bytes.npz", shape=(8, 8, 3)).x.shape == (6, 8, 8, 3)


def test_labels_from_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("data.npz", x=X, y=np.array([1, 1, 1, 2]))
    assert certify("--limit", "3") == 2  # although no sample of the run has the last class
    assert "data.npz has labels from 1 to 2, but classes are numbered from 0; subtract 1" in error_of(capsys)
    np.savez("data.npz", x=X, y=np.array([1, 1, 1, 1]))
    assert certify("--out", "run") == 0


@pytest.mark.parametrize(("least", "words"), [
    ("90%", "FAIL: 75.0 % verified at eps 0.01, 90 % required"),
    ("0.875", "FAIL: 75.0 % verified at eps 0.01, 87.5 % required"), ("75%", ""),
])
def test_a_share_that_is_not_reached(
    here: Path, least: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify("--fail-under", least, "--out", "run", eps="0.01") == (1 if words else 0)
    assert capsys.readouterr().err.splitlines()[-1] == (words or "run kept in run")


def test_a_share_that_is_open(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--fail-under", "60%", "--out", "run", eps="0.1,0") == 3
    assert capsys.readouterr().err.splitlines()[-1].endswith(" undecided at eps 0.1, 60 % required")


def test_numbers_are_shown_as_they_were_typed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--out", "run", eps="0.15,1/20,1e-3") == 0
    out = capsys.readouterr().out
    assert "0.15" in out
    assert "1e-3" in out
    assert "3/20" not in out
    assert "1/1000" not in out
    assert run(["report", "run", "--out", "page.html"]) == 0
    page = Path("page.html").read_text()
    assert "linf eps 1e-3, 1/20, 0.15, clip [0, 1]" in page
    assert '"eps":["1e-3","1/20","0.15"]' in page
    assert run(["explain", "run", "0", "--eps", "0.15", "--seconds", "1"]) == 0
    assert "sample 0 at eps 0.15: " in capsys.readouterr().out
    assert spelled(" 0.15, 8/255,x,1/0") == {"3/20": "0.15", "8/255": "8/255"}


def test_a_factory_that_fails_is_told_with_its_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.py").write_text("import torch\n\ndef data():\n    return torch.zeros(2, 3) @ torch.zeros(2)\n")
    assert run(["certify", "tests.cli.test_cli_mistakes:broken", "--data", "data.npz", "--eps", "0"]) == 2
    assert f"({__file__}, line {BROKEN_LINE}); mend it" in error_of(capsys)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(here)
        assert run(["certify", "net.onnx", "--data", "mine:data", "--eps", "0"]) == 2
    assert f"({here / 'mine.py'}, line 4); mend that function" in error_of(capsys)


def test_a_proof_of_a_sat(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = property_file(here / "p.vnnlib", "(>= Y_0 0.5)")
    assert run(["vnnlib", "net.onnx", str(asked), "--proof", "proof.bin"]) == 0
    out, err = capsys.readouterr()
    assert out == "sat\n"
    assert "no certificate: they are for unsat, and the witness is the evidence of a sat; keep it with" in err
    assert not Path("proof.bin").exists()


def test_a_refused_command_leaves_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").mkdir()
    Path("taken", "sample-00000-eps-1_100.certificate").write_bytes(b"of another run")
    assert certify("--out", "run", "--proof", "taken") == 2
    assert "has certificates of another run" in error_of(capsys)
    assert not Path("run").exists()
    Path("made").mkdir()
    assert certify("--out", "made", "--proof", "data.npz/x") == 2
    assert os.listdir("made") == []
    error_of(capsys)
    assert certify("--out", "run", "--proof", "own") == 0
    assert certify("--out", "made", "--limit", "2") == 0
    before = Path("run", "results.sqlite").read_bytes()
    Path("own", "sample-00000-eps-1_100.certificate").write_bytes(b"changed")
    assert certify("--out", "run", "--resume", "--proof", "own") == 2  # and the run is as it was
    assert Path("run", "results.sqlite").read_bytes() == before


def test_bytes_beside_a_clip_in_bytes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("bytes.npz", x=np.full((2, 2), 200, np.uint8), y=[0, 1])
    for command in ("certify", "radius", "gaps"):
        radius = [] if command == "radius" else ["--eps", "2"]
        assert run([command, "net.onnx", "--data", "bytes.npz", *radius, "--clip", "0,255", "--out", "run"]) == 2
        assert "bytes.npz holds bytes, which are divided by 255, but the clip is [0,255]" in error_of(capsys)
    assert not Path("run").exists()
    assert certify("--data", "bytes.npz", methods="interval") == 0
