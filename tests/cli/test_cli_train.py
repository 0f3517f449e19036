"""`verify train` as a user meets it: the table, the run folder, the files, and one line for every error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from verify.models import RECIPES

import verify
from tests.support.cli_cases import error_of
from tests.support.training import digits_file, factory, tables
from verify.cli.main import run
from verify.runs.engine.store import Store
from verify.train import checkpoint
from verify.train import run as training
from verify.train.export import write_model
from verify.train.recipe import read_recipe

FILES = ["certify", "checkpoint.pt", "model.onnx", "model.pt2", "model.safetensors", "results.sqlite"]


def toml(given: dict[str, Any]) -> str:
    """Tables of plain values as TOML."""
    def text(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(key)} = {text(v)}" for key, v in value.items()) + "}"
        return json.dumps(value)
    return "\n".join(f"{key} = {text(value)}" for key, value in given.items())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with data and a recipe of a second."""
    monkeypatch.chdir(tmp_path)
    digits_file(Path("train.npz"), 96)
    digits_file(Path("test.npz"), 20, "test")
    write()
    return tmp_path


def write(**changes: dict[str, Any]) -> None:
    base = {"data": {"train": "train.npz", "test": "test.npz", "validation": 10}}
    Path("own.toml").write_text(toml(tables(**{**base, **changes})))


def test_a_bundled_recipe_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [
        "epochs = 2" if line.startswith("epochs") else "ramp = 1" if line.startswith("ramp") else line
        for line in (RECIPES / "digits-dense-interval.toml").read_text().splitlines()
    ]
    certify = [] if "[certify]" in lines else ["[certify]", 'methods = "interval,pgd"', "limit = 30"]
    Path("short.toml").write_text("\n".join([*lines, *certify]))
    assert run(["train", "short.toml", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("run/model.onnx on ")
    for line in ("clean accuracy ", "accuracy under attack ", "verified accuracy "):
        assert line in out
    assert [line.split("  ")[0] for line in err.splitlines()[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert "loss " in err
    assert "model.safetensors, model.pt2 and model.onnx are in run" in err
    assert err.endswith("run kept in run\n")


def test_the_run_folder_and_its_files(place: Path, capsys: Any) -> None:
    assert run(["train", "own.toml", "--out", "run", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert sorted(os.listdir("run")) == FILES
    assert (found["samples"], found["run"]) == (20, "run")
    assert found["config"]["loss"]["name"] == "interval"
    assert "epoch 2/2  loss " in err
    with Store.read("run") as store:
        assert [key for key, _ in store.items()] == ["epoch/0001", "epoch/0002"]
        assert all({"clean", "attacked", "verified", "loss", "eps"} <= set(row) for _, row in store.items())
        assert set(store.config["digests"]) == {"train", "test"}
    # the certification is what `verify certify` says about the file
    assert run(["certify", "run/model.onnx", "--data", "test.npz", "--eps", "0.05", "--methods", "interval",
                "--json", "--out", "again"]) == 0
    own = json.loads(capsys.readouterr().out)["radii"]["1/20"]
    counts = ("samples", "clean", "falsified", "verified", "undecided", "errors")
    assert {key: own[key] for key in counts} == {key: found[key] for key in counts}
    # and a finished run asked again says the same, without training
    assert run(["train", "own.toml", "--out", "run", "--resume", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "epoch" not in err
    assert {key: json.loads(out)[key] for key in counts} == {key: found[key] for key in counts}
    assert run(["train", "own.toml", "--out", "run"]) == 2
    assert "run holds a run already; continue it with --resume" in error_of(capsys)
    write(loss={"clean": 0.5})
    assert run(["train", "own.toml", "--out", "run", "--resume"]) == 2
    assert "loss was" in error_of(capsys)


def test_the_three_files_are_one_network(tmp_path: Path) -> None:
    """With batch norm, for batches of any size, and equal to the module."""
    from safetensors.torch import load_file

    module, _ = factory()
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) + 0.3)
    x = torch.rand((7, 1, 8, 8), generator=torch.Generator().manual_seed(2))
    write_model(module, x[:1], tmp_path)
    networks = [verify.load(tmp_path / name) for name in ("model.onnx", "model.pt2")]
    state = load_file(tmp_path / "model.safetensors")
    assert state.keys() == module.state_dict().keys()
    assert all(torch.equal(t, state[key]) for key, t in module.state_dict().items())
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    program = torch.export.load(tmp_path / "model.pt2").module()
    with torch.no_grad():
        for count in (1, 2, 7):
            expected = module.eval()(x[:count])
            others = [network(x[:count]) for network in networks]
            others += [torch.from_numpy(session.run(None, {"x": x[:count].numpy()})[0]), program(x[:count])]
            for found in others:
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_other_data_and_a_clip_of_many_digits(place: Path, capsys: Any) -> None:
    """The clip of the certification is that of the recipe, digit by digit."""
    write(data={"train": "nowhere.npz"}, threat={"eps": "0.05", "clip": [-0.1234567891, 1.0]})
    assert run(["train", "own.toml", "--out", "run"]) == 2
    assert "there is no file nowhere.npz" in error_of(capsys)
    assert run(["train", "own.toml", "--out", "run", "--data", "train.npz", "--test", "test.npz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["config"]["data"]["train"], found["config"]["data"]["test"]) == ("train.npz", "test.npz")
    with Store.read("run/certify") as store:
        assert store.config["clip"] == ["-1234567891/10000000000", "1"]


def test_a_training_that_its_time_ends_is_certified_beside_the_one_that_is_continued(place: Path, capsys: Any) -> None:
    write()
    assert run(["train", "own.toml", "--out", "run", "--timeout", "0", "--json"]) == 0
    assert "warning: the time limit was reached after 1 of " in capsys.readouterr().err
    assert run(["train", "own.toml", "--out", "run", "--resume", "--json"]) == 0
    assert "time limit" not in capsys.readouterr().err
    for name in ("certify", "certify-after-1"):
        with Store.read(f"run/{name}") as store:
            assert store.keys()


def test_a_training_that_diverges_is_one_line(place: Path, capsys: Any) -> None:
    write(optimizer={"name": "sgd", "rate": 1e30}, schedule={"ramp": 0})
    assert run(["train", "own.toml", "--out", "run"]) == 2
    assert "is not finite, first in the " in error_of(capsys)
    assert not Path("run").exists()  # the folder is free for a mended recipe


BAD: list[tuple[str, list[str], dict[str, dict[str, Any]]]] = [
    ("there is no recipe magic: neither a .toml file nor one of ", ["magic"], {}),
    ("there is no recipe none.toml", ["none.toml"], {}),
    ("so it would be trained and tested on", ["own.toml", "--data", "flat.npz"], {}),
    ("the labels of train.npz go up to 9, but the network has 1 outputs", ["own.toml"], {"model": {"outputs": 1}}),
    ("mean and std have one number", ["own.toml"], {"model": {"mean": [0.1, 0.2], "std": [0.3, 0.3]}}),
    ("unknown device 'tpu'", ["own.toml", "--device", "tpu"], {}),
    ("Invalid value for '--processes'", ["own.toml", "--processes", "0"], {}),
    ("own.toml: loss has an unknown key 'alpha'", ["own.toml"], {"loss": {"alpha": 1.0}}),
    ("there is no architecture 'vgg'", ["own.toml"], {"model": {"network": "vgg"}}),
    ("architecture dense has no option 'depth'", ["own.toml"], {"model": {"options": {"depth": 3}}}),
    ("the labels of train.npz go up to 9, but the network has 3 outputs", ["own.toml"], {"model": {"outputs": 3}}),
    ("is not that of an image", ["own.toml", "--data", "flat.npz", "--test", "flat_test.npz"],
     {"model": {"network": "conv", "options": {}}}),
    ("but test.npz of (1, 8, 8); give data that agree", ["own.toml", "--data", "flat.npz", "--test", "test.npz"], {}),
    ("flip and crop are for images", ["own.toml", "--data", "flat.npz", "--test", "flat_test.npz"],
     {"data": {"train": "train.npz", "flip": True}}),
    ("tests.support.training:factory takes samples of shape (1, 8, 8), but those of flat.npz have (64,)",
     ["own.toml", "--data", "flat.npz", "--test", "flat_test.npz"],
     {"model": {"network": "tests.support.training:factory", "options": {}}}),
    ("too few to hold out 96", ["own.toml"], {"data": {"train": "train.npz", "test": "test.npz", "validation": 96}}),
    ("an input lies outside the clip", ["own.toml"], {"threat": {"eps": "0.05", "clip": [0.0, 0.5]}}),
    ("cannot make the folder own.toml/run", ["own.toml", "--out", "own.toml/run"], {}),
]


@pytest.mark.parametrize(("message", "arguments", "changes"), BAD, ids=[str(k) for k in range(len(BAD))])
def test_errors_are_one_line(
    message: str, arguments: list[str], changes: dict[str, dict[str, Any]], place: Path, capsys: Any
) -> None:
    write(**changes)
    with np.load("train.npz") as arrays:
        np.savez("flat.npz", x=arrays["x"].reshape(96, 64), y=arrays["y"])
        np.savez("flat_test.npz", x=arrays["x"].reshape(96, 64)[:48], y=arrays["y"][:48])
    more = [] if "--out" in arguments else ["--out", "run"]
    assert run(["train", *arguments, *more]) == 2
    assert message in error_of(capsys)
    assert not Path("run").exists()


def test_cuda_where_there_is_none(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(["train", "own.toml", "--device", "cuda"]) == 2
    assert "no CUDA device" in error_of(capsys)


@pytest.mark.slow
def test_a_killed_training_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 of the process after its first epoch; the result is that of a training that was left alone."""
    write(schedule={"epochs": 40, "batch": 12, "ramp": 1}, certify={"limit": 2})
    command = [sys.executable, "-m", "verify.cli.main", "train", "own.toml", "--out", "run"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    killed = checkpoint.load(Path("run"))
    assert killed is not None
    assert 1 <= killed["epoch"] < 40
    assert not Path("run", "model.onnx").exists()
    assert run(["train", "own.toml", "--out", "run", "--resume"]) == 0
    assert sorted(os.listdir("run")) == FILES
    monkeypatch.setattr(training, "write_model", lambda module, example, folder: None)
    training.train(read_recipe("own.toml"), Path("whole"))
    states = [checkpoint.load(Path(name)) for name in ("run", "whole")]
    assert states[0] is not None
    assert states[1] is not None
    for key, value in states[0]["module"].items():
        assert torch.equal(value, states[1]["module"][key])


def test_certificates_of_what_was_trained_are_checked_against_its_file(place: Path) -> None:
    write()
    assert run(["train", "own.toml", "--out", "run"]) == 0
    proving = ["--eps", "0.001", "--limit", "8", "--proof", "proofs", "--out", "again"]
    assert run(["certify", "run/model.onnx", "--data", "test.npz", *proving]) == 0
    certificates = sorted(Path("proofs").iterdir())
    assert certificates
    assert all(run(["check", str(path), "run/model.onnx"]) == 0 for path in certificates)
