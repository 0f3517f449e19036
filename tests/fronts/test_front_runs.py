"""Perturbations on the command line: what is kept of a run, certificates, and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from verify.models import digits

import verify
from verify.cli.main import run
from verify.fronts import perturbation_of
from verify.runs.certification.records import read_run
from verify.runs.certification.session import prepare
from verify.runs.request import CertifyRequest

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
    ("ball+linf:1/255", "unknown set"), ("boxblur:3/2", "must be a whole number of pixels from 1 to 32"),
    ("motion:1", "must be a whole number of pixels from 2 to 32"), ("directions:absent.npz", "there is no file"),
    ("occlusion:1,2,3", "is not ROW,COLUMN,HEIGHT,WIDTH"), ("patch:1,2,0,3", "is not ROW,COLUMN,HEIGHT,WIDTH"),
])
def test_texts_that_mean_nothing_are_told(text: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify(text=text) == 2
    assert told in capsys.readouterr().err
    absent = ["absent.onnx", "--data", "absent.npz", "--set", text, "--eps", "1"]  # before anything is read
    assert run(["certify", *absent]) == run(["attack", *absent]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("text", "eps", "told"), [
    ("patch:5,5,4,1", "1", "lies partly outside of images of 8 x 8"), ("boxblur:1", "2", "give at most 1"),
    ("occlusion:0,0,1,1", "2", "give at most 1"),
    ("directions:two.npz", "1", "directions of two.npz have shape (4, 4)"),
])
def test_what_does_not_fit_images_is_told(text: str, eps: str, told: str, here: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("two.npz", directions=np.ones((2, 4, 4)))
    assert certify(text=text, eps=eps) == 2
    assert told in capsys.readouterr().err


def test_noise_along_directions_of_a_file_is_bracketed(here: Path) -> None:
    """Beside a dense grid of the two amounts; a patch over the whole image is the ball."""
    noise, network = np.random.default_rng(0), verify.load("digits-dense-interval")
    np.savez("two.npz", directions=noise.normal(size=(2, 1, 8, 8)))
    images = torch.from_numpy(np.load("two.npz")["directions"].astype(np.float32))
    for eps in ("1/20", "1/5"):
        problem = verify.perturbed(network, X[:6], Y[:6], perturbation_of("directions:two.npz").times(Fraction(eps)))
        bracket = verify.solve(problem, verify.BranchAndBound(time_limit=20))
        line = torch.linspace(-1, 1, 41) * float(Fraction(eps))
        grid = torch.cartesian_prod(line, line)
        moved = (X[:6, None] + torch.einsum("gk,kcij->gcij", grid, images)).clamp(0, 1)
        fooled = (network(moved.flatten(0, 1)).argmax(1).reshape(6, -1) != Y[:6, None]).any(1)
        assert bool((bracket.lower >= 0)[fooled].all())
        assert not bool((bracket.upper < 0)[fooled].any())
        assert bool(((bracket.upper < 0) | (bracket.lower >= 0)).all())
    ball = verify.solve(verify.robustness(network, X[:6], Y[:6], "1/20"), verify.CROWN()).upper
    patch = verify.perturbed(network, X[:6], Y[:6], perturbation_of("patch:0,0,8,8").times(Fraction(1, 20)))
    assert bool((verify.solve(patch, verify.PGD()).lower <= ball).all())
    assert bool(((verify.solve(patch, verify.CROWN()).upper < 0) | (ball >= 0)).float().mean() >= 0.5)


@pytest.mark.usefixtures("here")
def test_a_run_goes_on_with_the_same_directions_alone() -> None:
    """Also where other perturbations stand beside the one that names a file."""
    found = set()
    for value in (0.25, 0.5):
        np.savez("d.npz", directions=np.full((1, 1, 8, 8), value))
        asked = CertifyRequest("digits-dense-interval", "digits", limit=1, methods="crown", eps="1",
                               set="brightness:0.1+directions:d.npz")
        found.add(prepare(asked).config["set file"])
    assert len(found - {None}) == 2
