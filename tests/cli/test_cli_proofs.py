"""Certificates on the command line: written, checked, refused where something does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.cli_cases import WEIGHTS, certify, counts_of, error_of, onnx_file, property_file
from verify.check.container import MAGIC
from verify.cli.main import run
from verify.ir.load import load
from verify.problem import from_vnnlib
from verify.proof.prover import ModelFile
from verify.proof.prover import prove as prove_one
from verify.vnnlib import read_vnnlib


@pytest.fixture(autouse=True)
def _properties(here: Path) -> None:
    property_file(here / "safe.vnnlib", "(<= Y_1 0.7)")
    property_file(here / "unsafe.vnnlib", "(<= Y_1 0.9)")


def prove(*more: str, prop: str = "safe.vnnlib", proof: str = "c") -> int:
    return run(["vnnlib", "net.onnx", prop, "--proof", proof, *more])


def check(*words: str) -> int:
    return run(["check", "c", *words])


@pytest.mark.parametrize("level", ["R", "F"])
@pytest.mark.parametrize("methods", ["interval", "crown", "alpha", "lp", "milp", "bab"])
def test_whatever_verifies_is_certified(
    here: Path, capsys: pytest.CaptureFixture[str], level: str, methods: str
) -> None:
    assert prove("--level", level, "--methods", methods) == 0
    out, err = capsys.readouterr()
    assert out == "unsat\n"
    assert "certified: the checker bounds v* by" in err
    assert check("net.onnx", "safe.vnnlib") == 0
    lines = capsys.readouterr().out.splitlines()
    words = "        for x_0 in [0, 1], x_1 in [0, 1]: never -1 y_1 >= -7/10"
    assert lines[1:3] == [f"claim   level {level}, 1 case", words]
    assert lines[-1] == "accepted"
    assert check("--exact") == 0


def test_what_is_false_has_no_certificate(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prove(prop="unsafe.vnnlib") == 0
    assert capsys.readouterr().out == "sat\n"
    assert not (here / "c").exists()
    (here / "c").write_bytes(MAGIC)
    assert prove(prop="unsafe.vnnlib") == 0
    assert "c is from before: no certificate was written" in capsys.readouterr().err


def test_other_networks_and_properties_are_rejected(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prove() == 0
    onnx_file(here / "other.onnx", {**WEIGHTS, "b": np.array([0, 0.75000006], np.float32)})
    capsys.readouterr()
    assert check("other.onnx") == 1
    assert "rejected: the model is another network" in capsys.readouterr().out
    assert check("net.onnx", "unsafe.vnnlib") == 1
    assert "rejected: it claims something else than unsafe.vnnlib" in capsys.readouterr().out
    onnx_file(here / "sigmoid.onnx", activation="Sigmoid")
    assert check("sigmoid.onnx") == 1
    assert "are a piecewise and a curve" in capsys.readouterr().out
    onnx_file(here / "unread.onnx", activation="HardSigmoid")
    assert check("unread.onnx") == 3
    assert "accepted, but whether it speaks of the model is unknown" in capsys.readouterr().out


def test_a_damaged_file_is_rejected(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prove() == 0
    whole = (here / "c").read_bytes()
    for data in (whole[:-3], whole + b"\0", b"", whole[:60] + bytes([whole[60] ^ 1]) + whole[61:]):
        (here / "c").write_bytes(data)
        assert check() == 1
    assert capsys.readouterr().out.count("rejected: ") == 4


def test_inputs_that_do_not_fit_are_errors(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check() == 2
    assert "c cannot be read" in error_of(capsys)
    assert prove("--level", "Q") == 2
    assert "unknown level 'Q'" in error_of(capsys)
    for name in ("net.onnx", "safe.vnnlib"):
        assert prove(proof=name) == 2
        assert "is an input of this command" in error_of(capsys)


def test_a_claim_without_cases_is_said_to_be_empty(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "empty.vnnlib", "(<= Y_1 0.7)", "(<= X_0 -1)")
    for level in "RF":
        assert prove("--level", level, prop="empty.vnnlib") == 0
        assert check() == 0
        assert "accepted, though it claims nothing" in capsys.readouterr().out


def test_a_network_with_a_sigmoid_is_certified_at_level_r_only(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx_file(here / "net.onnx", activation="Sigmoid")
    assert prove() == 0
    out, err = capsys.readouterr()
    assert out == "unsat\n"
    assert "certified: the checker bounds v* by" in err
    assert "not compared" not in err
    assert check() == 0
    assert prove("--level", "F") == 3
    assert capsys.readouterr().out.endswith("unknown\n")


@pytest.mark.parametrize("level", ["R", "F"])
def test_certify_keeps_a_certificate_of_every_proved_sample(
    here: Path, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    assert certify("--proof", "p", "--level", level, "--out", "run", "--json", methods="interval,pgd,bab") == 0
    counts = counts_of(capsys)
    assert (counts["verified"], counts["certified"], counts["undecided"]) == (3, 3, 0)
    names = sorted(path.name for path in (here / "p").iterdir())
    assert names == [f"sample-{i:05d}-eps-1_100.certificate" for i in range(3)]
    assert all(run(["check", f"p/{name}", "net.onnx"]) == 0 for name in names)


def test_a_run_knows_its_certificates(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--proof", "p", "--out", "run") == 0
    assert certify("--proof", "p", "--out", "run", "--resume") == 0  # all is there
    capsys.readouterr()
    assert certify("--proof", "p", "--out", "other", eps="1/50") == 2
    assert "p has certificates of another run" in error_of(capsys)
    assert certify("--proof", "q", "--out", "run", "--resume") == 2
    assert "proofs" in error_of(capsys)
    (here / "p" / "sample-00001-eps-1_100.certificate").unlink()
    assert certify("--proof", "p", "--out", "run", "--resume") == 2
    assert "sample-00001-eps-1_100.certificate is missing" in error_of(capsys)


def test_vnncomp_keeps_certificates_and_counts_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"net.onnx,{name}.vnnlib,60\n" for name in ("safe", "unsafe", "empty")]
    (here / "instances.csv").write_text("".join(rows))
    property_file(here / "empty.vnnlib", "(<= Y_1 0.7)", "(<= X_0 -1)")
    assert run(["vnncomp", ".", "--proof", "p", "--level", "F", "--out", "run"]) == 0
    assert "certified" in capsys.readouterr().out
    kept = sorted(path.name for path in (here / "p").rglob("*.certificate"))
    assert kept == ["0000-net-safe.certificate", "0002-net-empty.certificate"]


def test_what_was_not_compared_with_the_file_is_said_to_be_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The checker does not read HardSigmoid."""
    words = "of the network as exported, not compared with the file"
    assert prove() == 0
    assert words not in capsys.readouterr().err
    assert certify("--proof", "p", "--out", "whole") == 0
    assert words not in capsys.readouterr().out
    onnx_file(here / "net.onnx", activation="HardSigmoid")
    assert certify("--proof", "q", "--out", "unread", eps="1/1000") == 0
    out = capsys.readouterr().out
    assert " ".join(out.split()).count(words) == 2  # at the count of certificates, and among what is trusted
    (here / "instances.csv").write_text("net.onnx,safe.vnnlib,60\n")
    assert run(["vnncomp", ".", "--proof", "r", "--out", "run"]) == 0
    assert f"1 of the certificates for {here.name} are {words}" in " ".join(capsys.readouterr().out.split())
    assert prove() == 0
    err = capsys.readouterr().err
    assert "certified: the checker bounds v* by" in err
    assert f"{words} (node 'r' (HardSigmoid) is not among the operators" in err


def test_a_certificate_of_another_network_than_the_file_is_not_announced(here: Path) -> None:
    prop, other = read_vnnlib(here / "safe.vnnlib"), here / "other.onnx"
    problem = from_vnnlib(load(here / "net.onnx"), prop)
    onnx_file(other, {**WEIGHTS, "b": np.array([0, 0.75000006], np.float32)})
    assert prove_one(problem, prop, source=ModelFile(here / "net.onnx")).compared
    refused = prove_one(problem, prop, source=ModelFile(other))
    assert refused.certificate is None
    assert "the model is another network" in refused.reason
    alone = prove_one(problem, prop)
    assert alone.certificate is not None
    assert not alone.compared
