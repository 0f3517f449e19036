"""Folders of the verification competition, its lists and its scripts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.test_vnncomp import CLAIMS, command, family
from tests.support.cli_cases import error_of, onnx_file, property_file
from tests.support.helpers import SHARED, needs_shared
from verify.cli.main import run
from verify.runs.competition.instances import read_families

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks" / "vnncomp_scripts"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The families `a` and `b`."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        family(tmp_path / "bench" / name, "sat", "unsat", known={"unsat": "unsat", "sat": "sat"})
    return tmp_path / "bench"


def test_bad_folders(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [
        ((bench / "none",), "there is no folder"),
        ((bench / "a" / "onnx",), "has no instances.csv"),
        ((bench, "--family", "acasxu"), "has no family 'acasxu'; choose among a, b"),
    ]
    for (folder, *more), message in cases:
        assert command(folder, *more) == 2
        assert message in error_of(capsys)
    assert not Path("run").exists()


@pytest.mark.parametrize(("text", "message"), [
    ("onnx/net.onnx,vnnlib/sat.vnnlib\n", "line 1: has 2 fields"),
    ("onnx/net.onnx,vnnlib/sat.vnnlib,10\nonnx/net.onnx,vnnlib/sat.vnnlib,soon\n", "line 2: 'soon' is no number"),
    ("onnx/net.onnx,vnnlib/sat.vnnlib,-1\n", "is no number of seconds"),
    ("\n", "lists no instance"),
])
def test_bad_lists(bench: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (bench / "a" / "instances.csv").write_text(text)
    assert command(bench) == 2
    assert message in error_of(capsys)


def test_expected_needs_its_columns(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bench / "a" / "expected.csv").write_text("onnx,vnnlib,result\n")
    assert command(bench) == 2
    assert "has no column 'verdict'" in error_of(capsys)


@needs_shared
def test_published_families_are_read() -> None:
    families = read_families(SHARED / "vnncomp")
    assert {name: len(families[name]) for name in ("acasxu", "mnist_fc", "test")} == {
        "acasxu": 186, "mnist_fc": 90, "test": 5}
    known = [instance.known for instance in families["mnist_fc"]]
    assert (known.count("unsat"), known.count("sat"), known.count("")) == (55, 18, 17)
    assert families["acasxu"][0].peers == {"best": 0.86, "abcrown": 8.19, "nnenum": 1.24}


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    words = [str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)


def test_the_scripts_of_the_competition(bench: Path) -> None:
    model, results = bench / "a" / "onnx" / "net.onnx", bench / "out.txt"
    assert script("prepare_instance.sh", "v1", "a", model, "unused").returncode == 0
    for name in ("unsat", "sat"):
        prop = bench / "a" / "vnnlib" / f"{name}.vnnlib"
        done = script("run_instance.sh", "v1", "a", model, prop, results, 30)
        assert done.returncode == 0, done.stderr
        first, *rest = results.read_text().splitlines()
        assert first == name
        assert bool(rest) == (name == "sat")
    assert re.fullmatch(r"\(\(X_0 [^()]+\)\n\(X_1 [^()]+\)\n\(Y_0 [^()]+\)\n\(Y_1 [^()]+\)\)", "\n".join(rest))


def test_the_scripts_say_what_went_wrong(bench: Path) -> None:
    onnx_file(bench / "noise.onnx", activation="RandomUniformLike")
    results = bench / "out.txt"
    assert script("prepare_instance.sh", "v1", "a", bench / "noise.onnx", "unused").returncode == 2
    done = script("run_instance.sh", "v1", "a", bench / "none.onnx", "none.vnnlib", results, 30)
    assert done.returncode == 2
    assert results.read_text() == "error\n"
    for name in ("install_tool.sh", "prepare_instance.sh", "run_instance.sh"):
        done = script(name, "v2")
        assert done.returncode == 1
        assert f"usage: {name} v1" in done.stderr


def test_a_model_that_is_no_onnx_file_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.pt2").write_bytes(b"")
    property_file(tmp_path / "p.vnnlib", CLAIMS["sat"])
    assert run(["vnnlib", str(tmp_path / "net.pt2"), str(tmp_path / "p.vnnlib")]) == 2
    assert "is no ONNX file" in (told := error_of(capsys))
    assert "torch.onnx.export" in told
