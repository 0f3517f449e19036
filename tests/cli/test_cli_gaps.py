"""`verify gaps` as a user meets it: table, files, exit codes, and one line for every bad input."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.cli_cases import WEIGHTS, X, Y, error_of, onnx_file
from verify.cli.main import run
from verify.errors import UnsupportedMethod
from verify.method import Answer, Method
from verify.problem import Problem
from verify.registry import Entry
from verify.runs import options
from verify.runs.studies.comparison import COLUMNS

PNG = b"\x89PNG"


def gaps(*more: str, eps: str = "1/10", methods: str = "pgd,interval,milp") -> int:
    return run(["gaps", "net.onnx", "--data", "data.npz", "--eps", eps, "--methods", methods, *more])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Told:
    """A method that answers with one upper bound, or raises."""

    upper: float | Exception
    name: str = "Told"

    def answer(self, problem: Problem) -> Answer:
        if isinstance(self.upper, Exception):
            raise self.upper
        return Answer(torch.full((problem.cases,), self.upper))


@dataclass(frozen=True)
class Place(Entry):
    """An entry of a method that is there already."""

    method: Method | None = None

    def make(self, seconds: float | None) -> Method:
        assert self.method is not None
        return self.method


def told(monkeypatch: pytest.MonkeyPatch, name: str, upper: float | Exception) -> None:
    monkeypatch.setitem(options.METHODS, name, Place(name="milp", family="exact", place=0, help="", method=Told(upper)))


def test_the_table_and_the_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gaps("--out", "found") == 0
    out, err = capsys.readouterr()
    assert "net.onnx on 4 samples of data.npz, linf, clip [0,1]" in out
    assert "eps 1/10, gaps of attack <= v* <= certificate" in out
    # by hand: intervals lose twice the radius on samples 0 and 2, once on 1 and 3, which are of the other class
    assert re.search(r"^interval +0\.15 +0\.15 +0\.2 +50\.0 % +0\.0 % ", out, re.MULTILINE)
    assert re.search(r"^milp +\S+ +\S+ +\S+ +50\.0 % +50\.0 % ", out, re.MULTILINE)
    assert re.search(r"^pgd +\S+ +\S+ +\S+ +0\.0 % +50\.0 % ", out, re.MULTILINE)
    assert err == "wrote found/gaps.csv, found/gaps.png, found/gaps-time.png\n"
    for name in ("gaps.png", "gaps-time.png"):
        assert Path("found", name).read_bytes().startswith(PNG)
    rows = rows_of(Path("found/gaps.csv"))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["index"], row["method"]) for row in rows[:4]] == [
        ("0", "pgd"), ("0", "interval"), ("0", "milp"), ("1", "pgd"),
    ]
    third = {row["method"]: row for row in rows if row["index"] == "2"}
    assert float(third["interval"]["certificate"]) == pytest.approx(0.35, abs=1e-5)
    assert float(third["interval"]["attack"]) == pytest.approx(0.15, abs=1e-5)
    assert float(third["interval"]["gap"]) == pytest.approx(0.2, abs=1e-5)
    assert float(third["milp"]["gap"]) == pytest.approx(0, abs=1e-5)
    assert {row["verdict"] for row in third.values()} == {"falsified"}  # with the attack beside the certificate
    assert all(float(row["seconds"]) >= 0 and row["eps"] == "1/10" for row in rows)


def test_several_radii(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gaps("--out", "found", "--limit", "2", eps="0.01, 1/10") == 0
    out, err = capsys.readouterr()
    assert out.index("eps 0.01, gaps") < out.index("eps 1/10, gaps")
    assert Path("found/gaps-eps.png").read_bytes().startswith(PNG)
    assert "found/gaps-eps.png" in err
    rows = rows_of(Path("found/gaps.csv"))
    assert [row["eps"] for row in rows] == ["0.01"] * 6 + ["1/10"] * 6


def test_nothing_is_written_without_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gaps() == 0
    assert capsys.readouterr().err == ""
    assert sorted(os.listdir()) == ["data.npz", "net.onnx"]


def test_json_holds_the_same_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gaps("--json", methods="pgd,bab,interval") == 0
    found = json.loads(capsys.readouterr().out)["eps"]["1/10"]
    assert found["methods"]["interval"]["largest"] == pytest.approx(0.2, abs=1e-5)
    assert found["methods"]["bab"]["falsified"] == 2
    assert found["methods"]["bab"]["largest"] <= 1.1e-3
    assert "goal='optimum'" in found["settings"]["bab"]
    assert "stop_when_falsified=False" in found["settings"]["pgd"]
    row = next(row for row in found["rows"] if (row["index"], row["method"]) == (2, "interval"))
    assert (row["lower"], row["verdict"], row["decides"]) == (None, "falsified", "unknown")
    assert row["upper"] == pytest.approx(0.35, abs=1e-5)


def test_what_a_method_cannot_do_is_a_note(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, "milp", UnsupportedMethod("no MILP of this"))
    assert gaps("--out", "found") == 0
    out = capsys.readouterr().out
    assert "milp: 4 of 4: no MILP of this" in out
    assert re.search(r"^milp +- +- +- +0\.0 % +0\.0 % ", out, re.MULTILINE)
    row = next(row for row in rows_of(Path("found/gaps.csv")) if row["method"] == "milp")
    assert [row[name] for name in ("attack", "certificate", "gap", "verdict", "note")] == [
        "-inf", "inf", "inf", "unknown", "no MILP of this",
    ]


@pytest.mark.parametrize("out", [None, "found"])
def test_a_crossing_is_kept_and_can_be_seen_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str | None
) -> None:
    told(monkeypatch, "milp", -0.5)  # v* of sample 0 is -0.85, of sample 1 is -0.35
    folder = Path(out or ".") / "contradiction"
    assert gaps(*(["--out", out] if out else []), methods="pgd,interval,milp") == 4
    message = error_of(capsys)
    assert re.match(r"error: eps 1/10, sample 1: pgd found a point of value -0\.3\d+ above the upper bound -0", message)
    assert message.endswith(f"kept in {folder}\n")
    assert sorted(path.name for path in folder.iterdir()) == ["contradiction.json", "net.onnx", "sample.npz"]
    assert not Path("found/gaps.csv").exists()
    record = json.loads((folder / "contradiction.json").read_text())
    index = record["sample"]
    assert (record["attack"]["method"], record["certificate"]["method"]) == ("pgd", "milp")
    assert record["certificate"]["settings"] == repr(Told(-0.5))
    assert record["certificate"]["value"] == -0.5
    assert (record["asked"]["eps"], record["asked"]["model"], record["network"]["file"]) == (
        "1/10", "net.onnx", "net.onnx",
    )
    with np.load(folder / "sample.npz") as arrays:
        assert arrays["x"].tolist() == [X[index].tolist()]
        assert arrays["y"].tolist() == [Y[index]]
        assert np.abs(arrays["witness"] - arrays["x"]).max() <= 0.1
    # the command that the record names crosses again
    words = shlex.split(record["again"])
    monkeypatch.chdir(folder)
    assert words[:3] == ["verify", "gaps", "net.onnx"]
    assert run(words[1:]) == 4
    again = error_of(capsys)
    assert "sample 0: pgd found a point" in again
    assert Path("contradiction/contradiction.json").is_file()


def test_a_crossing_that_cannot_be_kept_is_still_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from verify.errors import InputError
    from verify.runs.evidence import contradiction

    def refuse(*_: object) -> Path:
        raise InputError("the disk is full")

    told(monkeypatch, "milp", -9.0)
    monkeypatch.setattr(contradiction, "keep", refuse)
    assert gaps() == 4
    assert "which could not be kept: the disk is full" in error_of(capsys)


def test_plots_need_matplotlib(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert gaps("--out", "found") == 0
    err = capsys.readouterr().err
    assert "no plots: plots need Matplotlib, which is not installed; pip install 'verify-nn[plot]'" in err
    assert err.endswith("wrote found/gaps.csv\n")
    assert os.listdir("found") == ["gaps.csv"]


BAD = {
    "eps is -1 but": ["--eps", "-1"],
    "eps 'much' is not a finite number": ["--eps", "0.1,much"],
    "eps 1/10 is named twice": ["--eps", "0.1,1/10"],
    "eps '' is not": ["--eps", "0.1,"],
    "unknown norm 'l3'": ["--norm", "l3"],
    "unknown method 'magic'": ["--methods", "pgd,magic"],
    "method 'pgd' is named twice": ["--methods", "pgd,pgd"],
    "fgsm, pgd can only attack, and a gap needs a certificate": ["--methods", "fgsm,pgd"],
    "interval, lp can only certify, and a gap needs an attack": ["--methods", "interval,lp"],
    "timeout is 0 but must be": ["--timeout", "0"],
    "timeout is nan but must be": ["--timeout", "nan"],
    "unknown device 'tpu'": ["--device", "tpu"],
    "clip '1,0' is empty": ["--clip", "1,0"],
    "outside the clip": ["--clip", "0,1/2"],
    "is not MEAN:STD": ["--normalize", "0.5"],
    "Invalid value for '--limit'": ["--limit", "0"],
    "No such option: --epsilon": ["--epsilon", "1"],
    "there is no file none.npz": ["--data", "none.npz"],
    "has its weights in it": ["--weights", "w.safetensors"],
    "cannot make the folder": ["--out", "data.npz/found"],
}


@pytest.mark.parametrize(("message", "arguments"), BAD.items(), ids=range(len(BAD)))
def test_bad_options(here: Path, message: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    plain = {"--data": "data.npz", "--eps": "0.1", "--methods": "pgd,interval", arguments[0]: arguments[1]}
    assert run(["gaps", "net.onnx", *(word for pair in plain.items() for word in pair)]) == 2
    assert message in error_of(capsys)
    assert sorted(os.listdir()) == ["data.npz", "net.onnx"]


def test_data_of_another_shape_or_class_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("data.npz", x=np.zeros((4, 3), np.float32), y=Y)
    assert gaps() == 2
    assert "inputs have shape (3,)" in error_of(capsys)
    np.savez("data.npz", x=X, y=np.array([0, 1, 2, 0]))
    assert gaps("--out", "found") == 2
    assert "out of range" in error_of(capsys)
    assert not Path("found").exists()


def test_normalization_keeps_eps_in_the_units_of_the_input(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mean, std = np.array([0.5, 0.25]), np.array([0.5, 2.0])
    first = {"A": WEIGHTS["A"] * std, "a": WEIGHTS["A"] @ mean}  # undoes the normalisation
    onnx_file(here / "net.onnx", WEIGHTS | {name: value.astype(np.float32) for name, value in first.items()})
    assert gaps("--normalize", "0.5,0.25:1/2,2", "--json") == 0
    found = json.loads(capsys.readouterr().out)["eps"]["1/10"]
    row = next(row for row in found["rows"] if (row["index"], row["method"]) == (2, "interval"))
    assert (row["attack"], row["certificate"]) == pytest.approx((0.15, 0.35), abs=1e-5)
