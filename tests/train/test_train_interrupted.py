"""Trainings that are interrupted, that diverge, and that several processes share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.support.helpers import later
from tests.support.training import NORMED, digits_table, failing, recipe, trainer
from verify.errors import Diverged, InputError
from verify.runs.engine.store import Store
from verify.train import checkpoint, run
from verify.train.parallel import start


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    return digits_table(tmp_path)


def weights_of(folder: Path) -> dict[str, Any]:
    state = checkpoint.load(folder)
    assert state is not None
    del state["figures"]["seconds"]
    return state


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return all(map(same, a, b)) and len(a) == len(b) if isinstance(a, list | tuple) else a == b


class Enough(Exception):
    pass


class Interruption:
    """Raises at the n-th step."""

    def __init__(self, at: int):
        self.left = at

    def __call__(self, share: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise Enough


@pytest.mark.slow
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "write_model", lambda module, example, folder: None)
    given = recipe(
        data={**data, "validation": 16, "crop": 1}, loss={"name": "mtl-ibp"}, schedule={"epochs": 3, "batch": 32},
        optimizer={"average": 0.8}, **NORMED,
    )
    copied: list[int] = []

    def copy_folder(figures: dict[str, Any]) -> None:
        if figures["epoch"] == 2:
            shutil.copytree(tmp_path / "whole", tmp_path / "copied")
            copied.append(2)

    run.train(given, tmp_path / "whole", watch=run.Watch(epoch=copy_folder))
    whole = weights_of(tmp_path / "whole")
    assert (whole["epoch"], copied) == (3, [2])
    for at in (2, 5):  # in the first epoch, and in the second
        folder = tmp_path / f"cut{at}"
        with pytest.raises(Enough):
            run.train(given, folder, watch=run.Watch(step=Interruption(at)))
        with pytest.raises(InputError, match="holds a run already; continue it with --resume"):
            run.train(given, folder)
        run.train(given, folder, resume=True)
        assert same(weights_of(folder), whole)
    run.train(given, tmp_path / "copied", resume=True)
    assert same(weights_of(tmp_path / "copied"), whole)
    with Store.read(tmp_path / "copied") as store, Store.read(tmp_path / "whole") as other:
        records = [[{**row, "seconds": 0} for _, row in part.items()] for part in (store, other)]
        assert records[0] == records[1]
        assert [row["epoch"] for row in records[0]] == [1, 2, 3]
    changed = recipe(data={**data, "validation": 16, "crop": 1}, loss={"name": "mtl-ibp", "alpha": 0.4},
                     schedule={"epochs": 3, "batch": 32}, optimizer={"average": 0.8}, **NORMED)
    with pytest.raises(InputError, match=r"asked something else: loss was .*0\.5.*, now .*0\.4"):
        run.train(changed, tmp_path / "whole", resume=True)
    (tmp_path / "whole" / checkpoint.FILE).write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"checkpoint.pt cannot be read \(.*\); start again in another folder"):
        run.train(given, tmp_path / "whole", resume=True)


def test_a_record_that_is_missing_is_taken_from_the_checkpoint(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between writing the two."""
    monkeypatch.setattr(run, "write_model", lambda module, example, folder: None)
    given, folder = recipe(data=data), tmp_path / "run"
    put = Store.put
    monkeypatch.setattr(Store, "put", lambda self, key, row: (_ for _ in ()).throw(Enough()))
    with pytest.raises(Enough):
        run.train(given, folder)
    monkeypatch.setattr(Store, "put", put)
    run.train(given, folder, resume=True)
    with Store.read(folder) as store:
        assert [key for key, _ in store.items()] == ["epoch/0001", "epoch/0002"]


@pytest.mark.parametrize("processes", later([1, 2], [2]))
def test_a_time_limit_ends_a_training_after_its_epoch(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """Continued, it is the training without a limit."""
    if processes == 1:
        monkeypatch.setattr(run, "write_model", lambda module, example, folder: None)
    given, folder = recipe(data=data), tmp_path / "run"
    assert run.train(given, folder, processes=processes, time_limit=0.0) == 1
    assert run.train(given, folder, processes=processes, time_limit=1e6, resume=True) == 2
    if processes == 1:
        assert run.train(given, tmp_path / "whole") == 2
        assert same(weights_of(folder), weights_of(tmp_path / "whole"))


# ---- divergence ----


def test_a_training_that_diverges_says_where(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = recipe(data=data, schedule={"epochs": 3, "batch": 32, "ramp": 0}, optimizer={"name": "sgd"})
    folder = tmp_path / "run"
    rates = {0: 1e-5, 1: 1e30}
    monkeypatch.setattr("verify.train.loop._rate", lambda recipe, epoch: rates[epoch])
    with pytest.raises(Diverged, match=r"^step [56] \(epoch 2\): .* first in the \w+ of layer [\w.]+; lower the rate"):
        run.train(given, folder)
    state = checkpoint.load(folder)
    assert state is not None
    assert state["epoch"] == 1
    assert all(bool(torch.isfinite(t).all()) for t in state["module"].values())
    own, _ = trainer(given)
    own.restore(state)
    assert own.epoch == 1


def test_a_run_that_fails_before_its_first_epoch_leaves_the_folder_free(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "write_model", lambda module, example, folder: None)
    schedule, folder = {"epochs": 1, "batch": 32}, tmp_path / "run"
    with pytest.raises(Diverged):
        run.train(recipe(data=data, schedule=schedule, optimizer={"rate": 1e30}), folder)
    run.train(recipe(data=data, schedule=schedule), folder)
    assert weights_of(folder)["epoch"] == 1


@pytest.mark.parametrize(("layer", "value", "phrase"), [
    ("1.weight", float("nan"), "weights of layer 1"), ("3.bias", float("inf"), "weights of layer 3"),
    ("1.weight", 3e38, "values of layer 1"),
])
def test_the_layer_to_blame(layer: str, value: float, phrase: str, data: dict[str, Any]) -> None:
    own, module = trainer(recipe(data=data))
    with torch.no_grad():
        module.get_parameter(layer).fill_(value)
    with pytest.raises(Diverged, match=f"step 1 .epoch 1.: .* first in the {phrase};"):
        own.run_epoch()


# ---- several processes ----


@pytest.mark.slow
def test_two_processes_train_as_one_does(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = recipe(data=data, schedule={"epochs": 1, "batch": 21, "ramp": 1}, optimizer={"average": 0.5, "clip": 0.5},
                   penalty={"factor": 1e-4})
    run.train(given, tmp_path / "two", processes=2)
    monkeypatch.setattr(run, "write_model", lambda module, example, folder: None)
    run.train(given, tmp_path / "one")
    one, two = (weights_of(tmp_path / name) for name in ("one", "two"))
    assert_close(two["module"], one["module"], rtol=0, atol=1e-5)
    assert_close(two["average"], one["average"], rtol=0, atol=1e-5)
    files = ["checkpoint.pt", "model.onnx", "model.pt2", "model.safetensors", "results.sqlite"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == files


@pytest.mark.slow
def test_an_error_of_one_process_is_raised(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"^rank 1 of 2 diverged$"):
        start(failing, 2, tmp_path / "meeting", "cpu", ("diverged",))
    assert not (tmp_path / "meeting").exists()


def test_a_batch_that_is_smaller_than_the_team_is_refused(tmp_path: Path, data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="a batch of 64 is too small for 65 processes"):
        run.train(recipe(data=data), tmp_path / "more", processes=65)
    assert not (tmp_path / "more").exists()
