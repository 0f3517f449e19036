"""The commands on models that are only executed: sat and falsified are found, of the rest the reason is said."""

from __future__ import annotations

import csv
import json
import re
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.cli_cases import property_file
from tests.support.helpers import SHARED, needs_shared
from tests.support.onnx_models import run
from tests.support.opaque_models import computed_index, counted, endless
from verify.cli.main import run as command
from verify.runs.competition.decide import decide
from verify.runs.options import entries_of

BRANCHING = "tests.support.opaque_models:branching"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a file whose first output is how many of two inputs are positive."""
    monkeypatch.chdir(tmp_path)
    onnx.save(counted(), tmp_path / "net.onnx")
    return tmp_path


def test_a_property_that_is_met_is_sat_with_a_witness(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(folder / "p.vnnlib", "(<= Y_0 0.5)", low="-0.25", high="3")
    assert command(["vnnlib", "net.onnx", "p.vnnlib", "--timeout", "60", "--witness", "w"]) == 0
    out, err = capsys.readouterr()
    assert out == "sat\n"
    assert "as executed" in err
    named = {name: float(value) for name, value in re.findall(r"\((\w+) ([^()]+)\)", Path("w").read_text())}
    x = np.array([named["X_0"], named["X_1"]], np.float32)
    assert all(-0.25 <= v <= 0 for v in x), "no input is positive"
    assert run(counted(), x[None, None])[0].tolist() == [[named["Y_0"], named["Y_1"]]] == [[0, 2]]


@pytest.mark.parametrize("methods", ["bab", "pgd", "random,crown"])
def test_a_property_that_holds_is_unknown_by_the_operator(methods: str, folder: Path,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    property_file(folder / "p.vnnlib", "(>= Y_0 2.5)", low="-1", high="3")
    start = time.monotonic()
    assert command(["vnnlib", "net.onnx", "p.vnnlib", "--timeout", "2", "--methods", methods]) == 3
    assert time.monotonic() - start < 12
    out, err = capsys.readouterr()
    assert out == "unknown\n"
    assert re.search(r"unknown: net\.onnx can only be attacked: node v1_0 \(NonZero, .* no operator family covers", err)
    assert "pgd: -0.5 <= v* <= inf" in err or methods == "random,crown"


def test_sets_without_members_are_unsat_whatever_the_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(folder / "p.vnnlib", "(>= Y_0 2.5)", low="1", high="0")
    assert command(["vnnlib", "net.onnx", "p.vnnlib"]) == 0
    assert "unsat: no input is allowed" in capsys.readouterr().err


def test_a_file_that_never_ends_keeps_the_limit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(endless(), "net.onnx")
    property_file(folder / "p.vnnlib", "(>= Y_0 2.5)")
    start = time.monotonic()
    assert command(["vnnlib", "net.onnx", "p.vnnlib", "--timeout", "3"]) == 3
    assert time.monotonic() - start < 12
    assert capsys.readouterr().out == "timeout\n"


def test_a_family_is_decided_where_it_can_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, claim in (("met", "(<= Y_0 0)"), ("open", "(>= Y_0 3)")):
        property_file(folder / f"{name}.vnnlib", claim, low="-1", high="3")
    Path("instances.csv").write_text("net.onnx,met.vnnlib,30\nnet.onnx,open.vnnlib,1\n")
    Path("expected.csv").write_text("onnx,vnnlib,verdict\nnet.onnx,met.vnnlib,sat\nnet.onnx,open.vnnlib,unsat\n")
    assert command(["vnncomp", ".", "--out", "run"]) == 0
    rows = list(csv.reader(Path("run/results.csv").read_text().splitlines()))
    assert [row[4] for row in rows] == ["sat", "unknown"]
    assert float(rows[1][5]) < 6


def test_certify_finds_what_is_falsified_and_says_why_no_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = computed_index()
    onnx.save(proto, "net.onnx")
    x = np.random.default_rng(0).uniform(size=(12, 4)).astype(np.float32)
    y = np.concatenate(run(proto, x[:, None])).argmax(1)
    y[0] = (y[0] + 1) % 3
    np.savez("data.npz", x=x, y=y)
    asked = ["certify", "net.onnx", "--data", "data.npz", "--timeout", "0.5", "--json"]
    assert command([*asked, "--eps", "1/3", "--out", "run", "--fail-under", "1"]) == 1
    out, err = capsys.readouterr()
    (counts,) = json.loads(out)["radii"].values()
    assert "warning: net.onnx can only be attacked: node v2_0 (ArgMax" in err
    assert counts["clean"] == 11
    assert counts["falsified"] >= 4
    assert counts["verified"] == counts["certified"] == counts["errors"] == 0
    assert counts["undecided"] == 11 - counts["falsified"] > 0
    assert all(reason.startswith("net.onnx can only be attacked: node v2_0") for reason in counts["reasons"])
    assert sum(counts["reasons"].values()) == counts["undecided"]
    assert command([*asked, "--eps", "1/1000", "--fail-under", "50%", "--limit", "3", "--methods", "pgd"]) == 3
    assert command(["radius", "net.onnx", "--data", "data.npz"]) == 2
    assert "node v2_0 (ArgMax" in capsys.readouterr().err


def test_a_module_that_cannot_be_traced_is_certified_and_inspected(folder: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("data.npz", x=np.array([[0.5, 0.2], [0.3, 0.2]], np.float32), y=np.array([1, 1]))
    asked = ["certify", BRANCHING, "--data", "data.npz", "--eps", "1/10", "--timeout", "2", "--json"]
    assert command([*asked, "--normalize", "0:1"]) == 0
    (counts,) = json.loads(capsys.readouterr().out)["radii"].values()
    assert (counts["clean"], counts["falsified"], counts["undecided"], counts["errors"]) == (2, 1, 1, 0)
    assert command(["inspect", BRANCHING]) == 0
    out = capsys.readouterr().out
    assert "can only be attacked: torch.export cannot follow Branching" in out
    assert "look for counterexamples" in out
    assert command(["gaps", BRANCHING, "--data", "data.npz", "--eps", "1/10"]) == 2


@needs_shared
@pytest.mark.conformance
def test_the_published_family_with_scattered_patches() -> None:
    """A detector whose input holds the place of a patch: all three counterexamples are found."""
    folder = SHARED / "vnncomp" / "cctsdb_yolo"
    for onnx_name, prop, limit in csv.reader((folder / "instances.csv").read_text().splitlines()):
        assert str(decide(folder / onnx_name, folder / prop, entries_of("bab"), float(limit)).answer) == "sat"


