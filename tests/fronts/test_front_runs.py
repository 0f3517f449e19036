"""Perturbations on the command line: what is kept of a run, certificates, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from verify.models import digits

import verify
from verify.cli.main import run
from verify.runs.certification.records import read_run

X, Y = digits()


def certify(*more: str, text: str, eps: str = "1") -> int:
    return run(["certify", "digits-dense-interval", "--data", "digits", "--limit", "3", "--set", text, "--eps", eps,
                "--methods", "pgd,crown", "--timeout", "60", *more])


@pytest.mark.usefixtures("here")
def test_a_run_keeps_certificates_and_the_images_that_fool(capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--out", "run", "--proof", "proofs", text="translation:1,0", eps="1/4,1") == 0
    assert "translation:1,0 eps 1/4,1" in capsys.readouterr().out
    network = verify.load("digits-dense-interval")
    with read_run(Path("run")) as found:
        verdicts = [(r.index, r.eps, r.verdict) for r in found.records]
        fooled = [r for r in found.records if r.verdict == "falsified"]
        assert {verdict for _, _, verdict in verdicts} >= {"certified", "falsified"}
        for record in fooled:
            image, before, variables = (found.array(record, name) for name in ("witness", "input", "variables"))
            assert image is not None
            assert before is not None
            assert variables is not None
            assert (before == X[record.index].numpy()).all()
            assert (variables[:64] == before.ravel()).all()
            assert np.abs(variables[64:]).max() <= 1
            assert int(network(torch.from_numpy(image.copy())[None]).argmax()) != int(Y[record.index])
    files = sorted(Path("proofs").rglob("*.certificate"))
    assert files
    assert run(["check", str(files[0])]) == 0
    assert "the network's input" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_gaps_and_inspect_take_perturbations(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["digits-dense-interval", "--data", "digits", "--limit", "2", "--set", "brightness:0.1+linf:1/255", "--eps"]
    assert run(["gaps", *asked, "1", "--methods", "pgd,crown", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["eps"]["1"]
    assert len(found["rows"]) == 4
    assert all(row["attack"] < row["certificate"] < 0 for row in found["rows"])
    assert run(["inspect", *asked, "1"]) == 0
    assert "Clip" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "told"), [
    ("rotation:5deg+turning:3", "unknown perturbation 'turning:3'"), ("brightness:a lot", "not a finite number"),
    ("ball+linf:1/255", "unknown set"),
])
def test_texts_that_mean_nothing_are_told(text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify(text=text) == 2
    assert told in capsys.readouterr().err
    absent = ["absent.onnx", "--data", "absent.npz", "--set", text, "--eps", "1"]  # before anything is read
    assert run(["certify", *absent]) == run(["attack", *absent]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
