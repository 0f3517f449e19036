"""Goals of one output and of regressors in certify, radius, gaps and train."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import verify
from tests.support.cli_cases import counts_of, error_of
from tests.test_goals import EPS, around_points, net, points
from verify.cli.main import run
from verify.runs.certification.records import read_run
from verify.train import Live


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with samples of both classes."""
    monkeypatch.chdir(tmp_path)
    x = points()
    with torch.no_grad():
        labels = (net()(x)[:, 0] > 0).long()
    np.savez("data.npz", x=x.numpy(), y=labels.numpy())
    np.savez("unlabelled.npz", x=x.numpy())
    np.savez("targets.npz", x=x.numpy(), y=net()(x)[:, 0].detach().numpy())
    return tmp_path


def logit() -> tuple[nn.Module, Tensor]:
    return net(), torch.zeros(1, 2)


def probability() -> tuple[nn.Module, Tensor]:
    return net(nn.Sigmoid()), torch.zeros(1, 2)


def moved() -> tuple[nn.Module, Tensor]:
    return net(nn.Sigmoid(), nn.Flatten(0), nn.Unflatten(0, (-1, 1))), torch.zeros(1, 2)


def squashed() -> tuple[nn.Module, Tensor]:
    return net(nn.Tanh()), torch.zeros(1, 2)


def three() -> tuple[nn.Module, Tensor]:
    return net(outputs=3), torch.zeros(1, 2)


@pytest.mark.parametrize("factory", ["logit", "probability"])
def test_certify_one_output(place: Path, capsys: pytest.CaptureFixture[str], factory: str) -> None:
    x, module = points(), net()
    with torch.no_grad():
        stays = ((module(around_points(x))[..., 0] > 0) == (module(x) > 0)).all(1)
    call = ["certify", f"tests.cli.test_cli_goals:{factory}", "--data", "data.npz", "--eps", EPS]
    assert run([*call, "--out", "run", "--json"]) == 0
    found = counts_of(capsys)
    assert found["clean"] == len(x)
    assert found["verified"] <= int(stays.sum()) <= found["verified"] + found["undecided"]
    assert found["undecided"] <= (0 if factory == "logit" else 1)
    with read_run("run") as kept:
        for record in kept.records:
            assert record.prediction == record.label
            assert record.label is not None
            assert record.attacked == (1 - record.label if record.verdict == "falsified" else None)
        assert kept.config["goal"] == f"class 1 above {0 if factory == 'logit' else 0.5:g}"
    assert run([*call, "--out", "run", "--resume", "--threshold", "0.6"]) == 2
    assert "goal was class 1 above" in error_of(capsys)
    assert run(["report", "run", "--out", "page.html"]) == 0
    assert "class 1 above" in Path("page.html").read_text()


@pytest.mark.parametrize("data", ["unlabelled.npz", "targets.npz"])
def test_certify_a_regressor_and_report_it(place: Path, capsys: pytest.CaptureFixture[str], data: str) -> None:
    x, module = points(), net()
    with torch.no_grad():
        moved = (module(around_points(x)) - module(x)[:, None]).abs().amax((1, 2))
    within = f"{float(moved.median()) * 1.1:.3f}"
    call = ["certify", "tests.cli.test_cli_goals:logit", "--data", data, "--eps", EPS, "--within", within]
    assert run([*call, "--out", "run", "--json"]) == 0
    found = counts_of(capsys)
    assert (found["verified"], found["undecided"]) == (int((moved < float(within)).sum()), 0)
    assert 0 < found["verified"] < len(x)
    assert run([*call, "--out", "run", "--resume"]) == 0
    table = capsys.readouterr().out
    assert f"outputs within {within}" in table
    assert "verified share in range" in table
    assert run(["report", "run", "--out", "page.html"]) == 0
    for text in (table, Path("page.html").read_text()):
        assert "accuracy" not in text
    assert f"outputs within {within}" in Path("page.html").read_text()
    assert run(["export", "run", "--to", "run.xml"]) == 0
    assert "label" not in Path("run.xml").read_text()
    capsys.readouterr()
    with read_run("run") as kept:
        worst = next(record.index for record in kept.records if record.verdict == "falsified")
    assert run(["explain", "run", str(worst)]) == 0
    assert "so an output leaves its range" in capsys.readouterr().out


def test_radius_and_gaps_of_one_output(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["tests.cli.test_cli_goals:logit", "--limit", "3"]
    assert run(["radius", *common, "--data", "unlabelled.npz", "--within", "0.1", "--out", "r", "--json"]) == 0
    small, module = json.loads(capsys.readouterr().out), net()
    for result in small["results"]:
        lower, x = float(Fraction(result["lower"])), points()[result["index"]][None]
        with torch.no_grad():
            assert float((module(around_points(x, lower)) - module(x)).abs().max()) < 0.1 + 1e-6
        assert result["verdict"] == "closed"
    assert run(["gaps", *common, "--data", "data.npz", "--eps", EPS, "--bounds", ",2", "--methods", "pgd,bab"]) == 0
    assert "outputs below 2" in capsys.readouterr().out
    assert run(["gaps", *common, "--data", "data.npz", "--eps", EPS, "--bounds", "1", "--methods", "pgd,bab"]) == 2
    assert "bounds '1' are not LOW,HIGH" in error_of(capsys)


RECIPE = """
[model]
network = "tests.cli.test_cli_goals:{factory}"
[data]
train = "data.npz"
test = "test.npz"
validation = 4
[threat]
eps = "0.02"
[loss]
name = "interval"
[schedule]
epochs = 4
batch = 8
ramp = 2
[optimizer]
rate = 1e-2
"""


@pytest.mark.parametrize(("factory", "threshold"), [("logit", None), ("logit", "1/4"), ("probability", None),
                                                    ("probability", "0.7"), ("moved", None)])
def test_one_output_is_trained_measured_and_certified_by_one_rule(
    factory: str, threshold: str | None, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The losses see the logit before a sigmoid, or what is above a threshold; the files are of the whole network."""
    x, level = points().flip(0) * 0.99, Fraction(threshold or ("0" if factory == "logit" else "1/2"))
    module, example = globals()[factory]()
    Path("one.toml").write_text(RECIPE.format(factory=factory))
    with torch.no_grad():
        p = module(x).flatten().double()
    np.savez("test.npz", x=x.numpy(), y=(p > float(level)).long().numpy())
    logit = Live(module, example, threshold).network()(x).flatten()
    expected = p - float(level) if factory == "logit" else (p / (1 - p)).log() - math.log(level / (1 - level))
    torch.testing.assert_close(logit.double(), expected, rtol=1e-4, atol=1e-5)
    given = [] if threshold is None else ["--threshold", threshold]
    assert run(["train", "one.toml", "--out", "run", "--json", *given]) == 0
    found = json.loads(capsys.readouterr().out)
    trained = verify.load("run/model.onnx")
    with torch.no_grad():
        right = (trained(x).flatten().double() > float(level)).long() == torch.from_numpy(np.load("test.npz")["y"])
    assert found["clean"] == int(right.sum())
    assert 0 < found["verified"] <= found["clean"]


@pytest.mark.parametrize(("factory", "given", "message"), [
    ("logit", ["--within", "0.1"], "losses of classes"),
    ("logit", ["--bounds", ",2"], "losses of classes"),
    ("probability", ["--threshold", "3/2"], "the threshold 1.5 is none of a sigmoid"),
    ("logit", ["--threshold", "1,5"], "threshold"),
    ("three", ["--threshold", "0"], "by one output, but the network has 3"),
    ("squashed", [], "say above which threshold it means class 1"),
])
def test_a_training_that_is_refused_says_why_and_leaves_nothing(
    factory: str, given: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("test.npz", x=points().numpy() * 0.99, y=np.arange(16) % 2)
    Path("one.toml").write_text(RECIPE.format(factory=factory))
    assert run(["train", "one.toml", "--out", "run", *given]) == 2
    assert message in error_of(capsys)
    assert not Path("run").exists()
