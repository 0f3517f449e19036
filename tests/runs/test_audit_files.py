"""What an audit reads: rows of results, names of files, and witnesses."""

from __future__ import annotations

import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runs.test_audit import command, results
from tests.runs.test_vnncomp import family
from tests.support.cli_cases import error_of
from verify.errors import InputError
from verify.runs.competition.foreign_results import read_claims, read_point
from verify.runs.competition.instances import read_families
from verify.runs.evidence.runtime_replay import witness_text


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The family `a`: y0 = x0 + x1 on [0, 1]^2 is never 2.1 (unsat), may be 1.5 (sat) and 1.99 (close)."""
    monkeypatch.chdir(tmp_path)
    family(tmp_path / "bench" / "a", "unsat", "sat", "close")
    return tmp_path / "bench"


def test_paths_categories_and_the_words_of_the_harness(bench: Path) -> None:
    family(bench / "b", "sat")
    lines = [
        "a,onnx/net.onnx,vnnlib/sat.vnnlib,0,SAT,0", "a,x/bench/a/onnx/net.onnx.gz,./vnnlib/close.vnnlib,1,error,2",
        "", "b,onnx/net.onnx,vnnlib/sat.vnnlib,3.5,error_exit_code_1,1e2",
        "b,onnx/net.onnx,vnnlib/sat.vnnlib,0,run_instance_timeout,9", "c,net.onnx,p.vnnlib,0,sat,1",
    ]
    path = Path(results(text="\n".join(lines)))
    families = read_families(bench, ["a", "b"])
    claims = read_claims(path, families, chosen=["a", "b"])
    assert [(c.line, c.instance.key, c.result) for c in claims] == [
        (1, "a/1", "sat"), (2, "a/2", "error"), (4, "b/0", "error_exit_code_1"), (5, "b/0", "run_instance_timeout")]
    assert [c.line for c in read_claims(path, families, chosen=["b"])] == [4, 5]


ROW = "a,onnx/net.onnx,vnnlib/sat.vnnlib,0,sat,1\n"


@pytest.mark.parametrize(("text", "message"), [
    ("a,onnx/net.onnx,vnnlib/sat.vnnlib,sat,1", "line 1: has 5 fields; write category, onnx"),
    (f"{ROW}{ROW}category,onnx,vnnlib,prepare,result,run", "line 3: 'prepare' is no number of seconds"),
    (f"{ROW}a,onnx/net.onnx,vnnlib/sat.vnnlib,0,sat,nan", "line 2: 'nan' is no number of seconds"),
    (f"{ROW}a,onnx/net.onnx,vnnlib/sat.vnnlib,-1,sat,1", "line 2: '-1' is no number of seconds"),
    (f"{ROW}\na,onnx/net.onnx,vnnlib/sat.vnnlib,0,maybe,1", "line 3: 'maybe' is no result"),
    (f"{ROW}a,onnx/net.onnx,vnnlib/sat.vnnlib,0,,1", "line 2: '' is no result"),
    (f"{ROW}z,onnx/net.onnx,vnnlib/sat.vnnlib,0,sat,1", "line 2: 'z' is no family here (a); choose with --family"),
    (f"{ROW}a,onnx/other.onnx,vnnlib/sat.vnnlib,0,sat,1", "line 2: onnx/other.onnx with vnnlib/sat.vnnlib is no inst"),
    (f"{ROW}a,onnx/net.onnx,vnnlib/at.vnnlib,0,sat,1", "line 2: onnx/net.onnx with vnnlib/at.vnnlib is no instance"),
    (f'{ROW}a,"onnx/net.onnx', "cannot be read as CSV"),
    ("\n", "has no row to audit"),
])
def test_rows_that_cannot_be_understood(
    bench: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results(text=text)
    assert command(bench) == 2
    assert message in error_of(capsys)
    assert not Path("run").exists()


def test_files_that_are_not_there(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(bench) == 2
    assert "results.csv cannot be read" in error_of(capsys)
    results("sat sat")
    assert command(bench, "--witnesses", "none") == 2
    assert "there is no folder none" in error_of(capsys)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5), st.booleans())
def test_a_witness_is_read_as_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, x: list[float], sat: bool
) -> None:
    place = tmp_path_factory.mktemp("w") / "w"
    text = witness_text(np.array(x), np.array([0.5]))
    place.write_text(text if sat else text.removeprefix("sat\n"))
    assert read_point(place).tolist() == [Fraction(repr(v)) for v in x]


@pytest.mark.parametrize(("text", "message"), [
    ("", "is no list"), ("unsat\n", "is no list"), ("sat\n", "is no list"), ("(", "is no list"),
    ("((X_0 1)\n(X_2 1))", "line 2: 'X_2 1' is out of order"),
    ("((Y_0 1)\n(X_0 1))", "line 2: 'X_0 1' is out of order"),
    ("((X_0 1e999))", "line 1: 'X_0 1e999' is out of order or no float"),
    ("((X_0 nan))", "'\\(X_0 nan\\)' is no"), ("((X_0 1)\n\n (X_1 1) 7)", "line 3: '7' is no"),
    ("((X_0 1) (X_1 1)", "'\\(X_1 1' is no"),
])
def test_witness_files_that_cannot_be_understood(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "w").write_text(text)
    with pytest.raises(InputError, match=message):
        read_point(tmp_path / "w")


def test_damaged_witness_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.gz").write_bytes(gzip.compress(b"((X_0 1))")[:12])
    with pytest.raises(InputError, match="cannot be read"):
        read_point(tmp_path / "w.gz")
