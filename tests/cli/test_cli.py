"""The other commands as a user meets them: output, exit codes, and one line for every bad input."""

from __future__ import annotations

import csv
import gzip
import os
import re
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.support.cli_cases import WEIGHTS, Fake, error_of, property_file
from tests.support.helpers import SHARED, needs_shared
from verify.cli.main import run
from verify.errors import UnsupportedMethod
from verify.method import Answer
from verify.runs import options


def vnnlib(*more: str, prop: str = "p.vnnlib") -> int:
    return run(["vnnlib", "net.onnx", prop, *more])


def verdict_of(captured: pytest.CaptureFixture[str]) -> tuple[str, str]:
    out, err = captured.readouterr()
    return out.splitlines()[-1], err


def test_unsat(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(<= Y_1 0.7)")
    assert vnnlib("--methods", "interval", "--witness", "w") == 0
    assert verdict_of(capsys)[0] == "unsat"
    assert not Path("w").exists()


def test_sat_comes_with_a_witness_that_stands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = property_file(here / "p.vnnlib", "(>= Y_0 1.5)", "(<= Y_1 1.2)")
    (here / "q.vnnlib.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert vnnlib("--methods", "pgd", "--witness", "w", prop="q.vnnlib.gz") == 0
    assert verdict_of(capsys)[0] == "sat"
    head, *lines = Path("w").read_text().splitlines()
    assert head == "sat"
    assert lines[0].startswith("((X_0 ")
    assert lines[-1].endswith("))")
    named = {name: np.float32(value) for name, value in re.findall(r"\((\w+) ([^()]+)\)", "\n".join(lines))}
    assert list(named) == ["X_0", "X_1", "Y_0", "Y_1"]
    x = np.array([named["X_0"], named["X_1"]])
    assert ((x >= 0) & (x <= 1)).all()
    z = np.maximum(WEIGHTS["A"] @ x, 0) + WEIGHTS["b"]
    assert (named["Y_0"], named["Y_1"]) == pytest.approx(tuple(z), abs=1e-6)
    assert named["Y_0"] >= 1.5
    assert Fraction(float(named["Y_1"])) <= Fraction("1.2")
    assert sorted(os.listdir()) == ["data.npz", "net.onnx", "p.vnnlib", "q.vnnlib.gz", "w"]


def test_a_range_without_floats_is_not_empty(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(<= Y_0 1)", low="0.1", high="0.1")  # 0.1 is no float; fl(0.1) stands for it
    assert vnnlib("--methods", "pgd") == 0
    assert verdict_of(capsys)[0] == "sat"


def test_unknown_says_why(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    assert vnnlib("--methods", "interval") == 3
    last, err = verdict_of(capsys)
    assert last == "unknown"
    assert "interval: -inf <= v* <= " in err
    assert "unknown: the bounds leave a gap" in err


def test_a_timeout_stops_between_methods(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    assert vnnlib("--timeout", "0", "--methods", "interval") == 3
    assert verdict_of(capsys)[0] == "timeout"


@pytest.mark.parametrize("answer", [UnsupportedMethod("no such spec"), Answer(upper=torch.tensor([torch.nan]))])
def test_what_proves_nothing_is_unknown(
    here: Path, answer: Answer | Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    monkeypatch.setitem(options.METHODS, "milp", Fake(answer))
    assert vnnlib("--methods", "milp") == 3
    assert verdict_of(capsys)[0] == "unknown"


def test_a_witness_that_fails_its_replay_is_unknown(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    from verify.runs.competition import decide

    monkeypatch.setattr(decide, "original_outputs", lambda model, x: np.array([0.0, 1.25], np.float32))
    monkeypatch.setitem(options.METHODS, "milp", Fake(Answer(points=torch.tensor([[1.0, 0.0]]))))
    assert vnnlib("--methods", "milp", "--witness", "w") == 3
    last, err = verdict_of(capsys)
    assert last == "unknown"
    assert "does not stand the replay" in err
    assert not Path("w").exists()


def test_an_easy_unsat_loads_nothing_that_it_does_not_need(here: Path) -> None:
    """Each of these takes 0.1 s or more to import; torch itself takes 1 s. (onnxruntime is needed: no verdict goes
    without a look at what the file means.)"""
    property_file(here / "p.vnnlib", "(>= Y_0 2.1)")
    script = (
        "import sys; from verify.cli.main import run; code = run(sys.argv[1:])\n"
        "print({'sympy', 'scipy', 'highspy', 'rich.table', 'torch._dynamo'} & set(sys.modules), code)"
    )
    command = [sys.executable, "-c", script, "vnnlib", "net.onnx", "p.vnnlib"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "unsat\nset() 0\n", done.stderr


@needs_shared
def test_published_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    folder = SHARED / "vnncomp" / "test"
    with (folder / "expected.csv").open() as file:
        for row in csv.DictReader(file):
            assert run(["vnnlib", str(folder / row["onnx"]), str(folder / row["vnnlib"])]) == 0
            assert verdict_of(capsys)[0] == row["verdict"]


@pytest.mark.parametrize(("text", "message"), [
    ("(declare-const X_0 Real)\n(assert", "line"),
    ("(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))(assert (>= Y_0 1))",
     "1 variables X_i but the network has 2"),
])
def test_bad_properties(here: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.vnnlib").write_text(text)
    assert vnnlib() == 2
    assert message in error_of(capsys)
    assert vnnlib(prop="none.vnnlib") == 2
    assert "none.vnnlib" in error_of(capsys)


def test_a_witness_file_that_cannot_be_written_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    for place in ("none/w", "."):
        assert vnnlib("--witness", place) == 2
        assert "cannot write" in error_of(capsys)


# --- inspect, doctor, the program itself ---------------------------------------------------------------------------


def test_inspect_shows_nodes_and_unstable_neurons(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "net.onnx", "--eps", "0.06", "--data", "data.npz", "--limit", "4"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^z +Linear +X +2 +A 2x2, a 2$", out, re.MULTILINE)
    assert "3 nodes, 12 parameter values, 2 nonlinear neurons" in out
    # |x0 - x1| is 0, 0.1, 0.1, 0.1, less than 2 eps, in every sample; x0 + x1 > 2 eps
    assert re.search(r"^r +1\.0 +1\.0 +2$", out, re.MULTILINE)


def test_inspect_needs_data_for_eps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "net.onnx", "--eps", "0.1"]) == 2
    assert "--eps and --data go together" in error_of(capsys)


def test_doctor_lists_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    for name, module in (("torch", torch), ("numpy", np), ("onnx", onnx)):
        assert re.search(rf"^{name} +{re.escape(module.__version__)} ", out, re.MULTILINE)
    assert "highspy" in out
    assert "cuda" in out


def test_doctor_names_the_command_that_adds_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["doctor"]) == 0
    assert "matplotlib (plots): python -m pip install 'verify-nn[plot]'" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "highspy", None)
    assert run(["doctor"]) == 2
    assert "python -m pip install highspy" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["prove"], ["certify"], ["certify", "a", "b"], ["vnnlib", "net.onnx"]])
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "see verify --help" in error_of(capsys)


def test_help_is_quick_and_loads_no_torch() -> None:
    script = (
        "import sys, time; start = time.perf_counter(); from verify.cli.main import run; code = run(['--help'])\n"
        "heavy = {'torch', 'numpy', 'onnx', 'highspy', 'scipy', 'rich.table'} & set(sys.modules)\n"
        "print(code, heavy, file=sys.stderr); sys.exit(bool(code or heavy))"
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        for command in ("certify", "vnnlib", "vnncomp", "audit", "inspect", "doctor"):
            assert command in done.stdout
    assert min(seconds) < 0.5


def test_a_process_keeps_results_and_the_rest_apart(here: Path) -> None:
    command = [sys.executable, "-m", "verify.cli.main", "certify", "net.onnx", "--data", "data.npz", "--eps", "0.01",
               "--methods", "interval"]
    environment = {**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0
    assert "verified accuracy" in done.stdout
    assert "\x1b" not in done.stdout
    assert re.fullmatch(r"run kept in runs/net-\d+-\d+\n", done.stderr)
