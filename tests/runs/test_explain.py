"""`verify explain`, --estimate and --profile: what they say agrees with what the methods say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from verify.models import digits

import verify
from tests.support.cli_cases import X, Y, certify, error_of
from verify.cli.main import run
from verify.runs.certification.estimate import estimate
from verify.runs.certification.explain import explain
from verify.runs.certification.session import prepare
from verify.runs.engine.profile import FILE
from verify.runs.request import CertifyRequest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with open, verified, falsified and misclassified samples."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    prepare(CertifyRequest("digits-conv-plain", "digits", eps="0.06", limit=32, methods="pgd,crown")).run(out)
    return out


def samples(folder: Path, verdict: str) -> list[int]:
    from verify.runs.engine.store import Store

    with Store.read(folder) as store:
        return [r["index"] for key, r in store.items() if key.startswith("sample/") and r["verdict"] == verdict]


def test_an_open_sample(folder: Path) -> None:
    index = samples(folder, "unknown")[0]
    found = explain(folder, index, seconds=3)
    x, y = digits()
    problem = verify.robustness(verify.load("digits-conv-plain"), x[index : index + 1], y[index : index + 1], "0.06")
    assert found.attack < found.root
    longer = float(verify.solve(problem, verify.PGD(restarts=20, stop_when_falsified=False)).lower[0])
    assert found.attack >= longer - 1e-5
    # the bound before any split is one of optimised slopes, between CROWN's and the truth
    assert found.root <= float(verify.solve(problem, verify.CROWN()).upper[0]) + 1e-5
    assert [bound for _, bound in found.classes] == sorted((bound for _, bound in found.classes), reverse=True)
    assert {label for label, _ in found.classes} == set(range(10)) - {int(y[index])}
    for label, bound in found.classes:
        assert isinstance(label, int)
        aimed = verify.robustness(problem.network, x[index : index + 1], y[index : index + 1], "0.06", target=label)
        assert float(verify.solve(aimed, verify.PGD()).lower[0]) <= bound + 1e-5
    assert sum(layer.share for layer in found.layers) == pytest.approx(1)
    assert all(0 < layer.unstable < layer.neurons for layer in found.layers)
    assert found.search is not None
    assert found.search.upper <= max(found.root, 0) + 1e-5
    assert found.advice[0].startswith("the bound with optimised slopes proves it" if found.root < 0 else "branch and")


@pytest.mark.parametrize(("verdict", "words"), [("verified", "it is proved"), ("falsified", "it is ")])
def test_a_decided_sample_needs_nothing(folder: Path, verdict: str, words: str) -> None:
    found = explain(folder, samples(folder, verdict)[0])
    assert found.search is None
    assert found.advice[0].startswith(words)


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = str(samples(folder, "verified")[0])
    assert run(["explain", str(folder), index, "--eps", "6/100"]) == 0
    out = capsys.readouterr().out
    for words in ("the best attack", "before any split", "share of the gap", "next: it is proved"):
        assert words in out
    assert run(["explain", str(folder), index, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"]["index"] == int(index)


@pytest.mark.parametrize(("arguments", "message"), [
    (["run", "9", "--eps", "0.01"], "has no result for sample 9; it has 4 samples"),
    (["run", "0", "--eps", "1/3"], "no radius 1/3"),
    (["none", "0"], "there is no run in none"), (["run", "0"], "has the radii 1/100, 1/20; choose one"),
    (["run", "0", "--eps", "x"], "eps 'x' is not"),
])
def test_what_cannot_be_explained(
    here: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify("--out", "run", eps="1/100,1/20") == 0
    capsys.readouterr()
    assert run(["explain", *arguments]) == 2
    assert message in error_of(capsys)


def test_a_changed_model_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--out", "run") == 0
    np.savez(here / "data.npz", x=X[::-1], y=Y[::-1])
    capsys.readouterr()
    assert run(["explain", "run", "0"]) == 2
    assert "the data of run run has changed since; restore data.npz" in error_of(capsys)


def test_an_estimate_keeps_nothing_and_counts_right(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--estimate", "--out", "run", eps="0.1") == 0
    assert "estimate from 4 of 4 samples: about 1 s; 0 % are left" in capsys.readouterr().err
    assert not Path("run").exists()
    session = prepare(CertifyRequest(
        "digits-conv-plain", "digits", eps="0.06", limit=64, methods="pgd,crown,bab", timeout=2.0))
    found = estimate(session.cascade, 32, 2.0)
    assert (found.samples, found.probed) == (64, 16)
    assert 0 < found.open < 1
    assert found.single <= found.limit == pytest.approx(found.open * 64 * 2.0, rel=0.5)
    assert estimate(session.cascade, 32, 2.0, workers=2).limit < found.limit
    assert found.memory > 100


def test_a_profile_adds_up(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--profile", "--out", "run") == 0
    assert "by file with the library calls that it makes" in capsys.readouterr().out
    assert Path("run", FILE).is_file()
    assert certify("--profile", "--json", "--out", "again", methods="pgd,bab", eps="0.1") == 0
    found = json.loads(capsys.readouterr().out)["profile"]
    assert 0.9 * found["total"] <= sum(found["parts"].values()) <= 1.01 * found["total"]
    assert any(name.startswith("verify/") for name in found["parts"])
    assert certify("--profile", "--workers", "2", "--out", "other") == 2
    assert "leave out --workers and --ray" in error_of(capsys)
    assert not Path("other").exists()


def test_an_estimate_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--estimate", "--json") == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 4
