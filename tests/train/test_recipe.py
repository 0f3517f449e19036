"""Recipes: what is read, what is refused, and how a schedule moves."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from verify.models import RECIPES

from tests.support.training import recipe, tables
from verify.errors import InputError
from verify.train.attack import Attack
from verify.train.losses import CC, LOSSES, SABR, CrownIBP, IntervalLoss, Mixed, Regularizer, Threat
from verify.train.recipe import Recipe, find_recipe, read_recipe, recipe_of, with_data
from verify.train.schedule import Schedule, smooth

WHOLE = """
seed = 7
[model]
network = "conv"
outputs = 4
initialisation = "ibp"
mean = [0.5]
std = [1]
[model.options]
width = 3
[data]
train = "digits"
test = "other.npz"
validation = 20
flip = true
crop = 2
fill = 0.25
[threat]
eps = "8/255"
train_eps = 0.05
norm = "l2"
clip = []
[loss]
name = "mixed"
alpha = 1
attack = { steps = 3, from_center = true, penalty = 0.5, penalty_norm = "l1" }
[schedule]
epochs = 30
batch = 16
warmup = 0.5
ramp = 10
shape = "smooth"
anneal = { alpha = [1, 0.5], "attack.penalty" = [0, 2] }
[optimizer]
name = "sgd"
rate = 0.1
momentum = 0
weight_decay = 1e-4
milestones = [10, 20]
factor = 0.5
clip = 3
average = 0.9
[penalty]
factor = 1e-3
norm = "linf"
[certify]
methods = "pgd,crown"
limit = 9
timeout = 1
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def test_every_key_arrives(tmp_path: Path) -> None:
    found = read_recipe(written(tmp_path, WHOLE))
    assert found.model.options == {"width": 3}
    assert (found.model.outputs, found.model.mean, found.model.std) == (4, (0.5,), (1.0,))
    assert (found.data.test, found.data.validation, found.data.flip, found.data.fill) == ("other.npz", 20, True, 0.25)
    assert (found.threat.exact.denominator, found.threat.trained) == (255, 0.05)
    attack = Attack(steps=3, from_center=True, penalty=0.5, penalty_norm="l1")
    assert found.loss == Mixed(alpha=1.0, attack=attack, threat=Threat("l2", None))
    assert found.schedule.anneal == {"alpha": (1.0, 0.5), "attack.penalty": (0.0, 2.0)}
    assert (found.optimizer.milestones, found.optimizer.momentum, found.seed) == ((10, 20), 0.0, 7)
    assert (found.penalty.norm, found.certify.methods, found.certify.limit) == ("linf", "pgd,crown", 9)
    again = json.loads(json.dumps(found.config, allow_nan=False))
    assert again["loss"]["name"] == "mixed"
    assert again["threat"]["eps"] == "8/255"


def test_what_is_left_out_has_the_values_of_the_classes() -> None:
    found = recipe()
    assert found == Recipe(found.model, found.data, found.threat, IntervalLoss(), found.schedule, certify=found.certify)
    assert (found.threat.threat, found.threat.trained) == (Threat("linf", (0, 1)), 0.05)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_bundled_recipes_are_read_by_name(path: Path) -> None:
    found = find_recipe(path.stem)
    assert found == find_recipe(path)
    for when in (0.0, 0.37 * found.schedule.epochs, float(found.schedule.epochs)):
        assert type(found.schedule.loss(found.loss, when)) is type(found.loss)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_its_name(name: str) -> None:
    found = recipe(loss={"name": name})
    assert type(found.loss) is LOSSES[name]
    assert found.config["loss"]["name"] == name


BAD: list[tuple[dict[str, dict[str, Any]], str]] = [
    ({"los": {}}, "test.toml has an unknown key 'los'"),
    ({"model": {"layers": 3}}, "test.toml.model has an unknown key 'layers'"),
    ({"threat": {"radius": 1}}, "test.toml: threat has an unknown key 'radius'"),
    ({"loss": {"alpha": 1.0}}, "test.toml: loss has an unknown key 'alpha'; it takes clean, regularizer"),
    ({"loss": {"regularizer": {"wight": 1}}}, "test.toml: loss.regularizer has an unknown key 'wight'"),
    ({"loss": {"name": "mixed", "attack": {"step_size": 1}}}, "test.toml: loss.attack has an unknown key 'step_size'"),
    ({"loss": {"name": "madry"}}, "test.toml needs a table \\[loss\\] with a name among plain, noisy"),
    ({"loss": {"name": ["interval"]}}, "test.toml needs a table \\[loss\\] with a name"),
    ({"loss": {"threat": {}}}, "test.toml has loss.threat; write the norm and clip in the table \\[threat\\]"),
    ({"schedule": {"epochs": True}}, "test.toml.schedule.epochs is True but must be an integer"),
    ({"schedule": {"epochs": 2.0}}, "test.toml.schedule.epochs is 2.0 but must be an integer"),
    ({"schedule": {"epochs": "2"}}, "test.toml.schedule.epochs is '2' but must be an integer"),
    ({"optimizer": {"rate": True}}, "test.toml.optimizer.rate is True but must be a finite number"),
    ({"optimizer": {"rate": float("nan")}}, "test.toml.optimizer.rate is nan but must be a finite number"),
    ({"optimizer": {"clip": float("inf")}}, "test.toml.optimizer.clip is inf but must be a finite number"),
    ({"data": {"flip": 1}}, "test.toml.data.flip is 1 but must be true or false"),
    ({"model": {"mean": 0.5}}, "test.toml.model.mean is 0.5 but must be a list"),
    ({"model": {"options": [1]}}, "test.toml.model.options is \\[1\\] but must be a table"),
    ({"data": {"train": True}}, "test.toml.data.train is True but must be a text"),
    ({"optimizer": {"milestones": [1, 2.5]}}, "test.toml.optimizer.milestones\\[1\\] is 2.5 but must be an integer"),
    ({"schedule": {"anneal": {"clean": [1.0]}}}, "test.toml.schedule.anneal.clean has 1 values but needs 2"),
    ({"schedule": {"anneal": {"alpha": [1.0, 0.0]}}}, "test.toml: schedule.anneal names 'alpha', which is no number"),
    ({"schedule": {"anneal": {"regularizer": [1, 0]}}}, "test.toml: schedule.anneal names 'regularizer'"),
    ({"schedule": {"anneal": {"clean.x": [1, 0]}}}, "test.toml: schedule.anneal names 'x'"),
    ({"loss": {"name": "sabr"}, "schedule": {"anneal": {"shrink": [0.1, 0]}}}, "test.toml: SABR has shrink=0.0"),
    ({"loss": {"name": "sabr", "shrink": 2}}, "test.toml: loss: SABR has shrink=2.0"),
    ({"threat": {"eps": "-1/10"}}, "test.toml: threat: a radius is negative; eps must be at least 0"),
    ({"threat": {"train_eps": "-1"}}, "test.toml: threat: a radius is negative"),
    ({"threat": {"eps": "much"}}, "test.toml: threat: eps 'much' is not a finite number"),
    ({"threat": {"norm": "l3"}}, "test.toml: threat: unknown norm 'l3'"),
    ({"threat": {"clip": [1, 0]}}, "test.toml: threat: clip is \\[1.0, 0.0\\]"),
    ({"threat": {"clip": [1]}}, "test.toml: threat: clip is \\[1.0\\]"),
    ({"optimizer": {"cosine": True, "milestones": [1]}}, "test.toml.optimizer: .* milestones and cosine; choose one"),
    ({"optimizer": {"name": "lion"}}, "test.toml.optimizer: unknown optimizer 'lion'"),
    ({"optimizer": {"rate": 0}}, "test.toml.optimizer: rate and factor must be positive"),
    ({"optimizer": {"momentum": -0.1}}, "test.toml.optimizer: clip, momentum and weight_decay must be at least 0"),
    ({"optimizer": {"average": 1}}, "test.toml.optimizer: .* average from 0 to below 1"),
    ({"schedule": {"warmup": 1.5, "ramp": 1}}, "test.toml.schedule: warmup and ramp .* end before the training does"),
    ({"schedule": {"ramp": -1}}, "test.toml.schedule: warmup and ramp must be at least 0"),
    ({"schedule": {"batch": 0}}, "test.toml.schedule: epochs is 2 and batch 0"),
    ({"schedule": {"shape": "cosine"}}, "test.toml.schedule: unknown shape 'cosine'"),
    ({"model": {"mean": [0.5]}}, "test.toml.model: mean and std must have one number each"),
    ({"model": {"mean": [0.5], "std": [0]}}, "test.toml.model: .* positive std"),
    ({"model": {"initialisation": "he"}}, "test.toml.model: initialisation is 'he'"),
    ({"model": {"network": "mine:build"}}, "test.toml.model: options are for architectures; mine:build makes"),
    ({"data": {"crop": -1}}, "test.toml.data: validation is 0, crop -1"),
    ({"penalty": {"factor": -1}}, "test.toml.penalty: a penalty needs a factor of at least 0"),
    ({"certify": {"methods": "interval,magic"}}, "test.toml.certify: unknown method 'magic'"),
    ({"certify": {"limit": -1}}, "test.toml.certify: limit is -1"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[str(k) for k in range(len(BAD))])
def test_what_is_wrong_is_refused_in_one_sentence(changes: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        recipe(**changes)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("table", "key"), [
    ("model", "network"), ("data", "train"), ("threat", "eps"), ("schedule", "epochs"), ("loss", "name"),
])
def test_what_is_missing_is_named(table: str, key: str) -> None:
    without = tables()
    del without[table][key]
    with pytest.raises(InputError, match=f"{table}.*{key}"):
        recipe_of(without, "test.toml")
    del without[table]
    with pytest.raises(InputError, match=f"test.toml.*{table}"):
        recipe_of(without, "test.toml")


@given(
    st.sampled_from(["", "model", "data", "threat", "loss", "schedule", "optimizer", "penalty", "certify"]),
    st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12), st.one_of(st.integers(), st.text(), st.booleans()),
)
@settings(deadline=None, max_examples=60)
def test_a_key_that_no_table_has_is_always_refused(table: str, key: str, value: object) -> None:
    given_tables: dict[str, Any] = tables(optimizer={}, penalty={})
    place = given_tables[table] if table else given_tables
    known = {"name", *recipe().__dataclass_fields__} if not table else set()
    if table:
        part = IntervalLoss() if table == "loss" else getattr(recipe(), table)
        known = {"name", *part.__dataclass_fields__}
    if key in known:
        return
    place[key] = value
    with pytest.raises(InputError, match=f"unknown key '{key}'"):
        recipe_of(given_tables, "test.toml")


def test_a_seed_that_torch_does_not_take_is_refused() -> None:
    for seed in (-1, 1 << 32):
        with pytest.raises(InputError, match=f"test.toml: seed is {seed}"):
            recipe_of({**tables(), "seed": seed}, "test.toml")


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no recipe .*none\.toml; check the path"):
        find_recipe(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"there is no recipe magic: neither a \.toml file nor one of .*digits-"):
        find_recipe("magic")
    with pytest.raises(InputError, match=r"own.toml is not a TOML file \(.*\); mend it"):
        read_recipe(written(tmp_path, "model = ["))
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not a TOML file"):
        read_recipe(tmp_path / "own.toml")


@pytest.mark.parametrize(("given_train", "given_test", "expected"), [
    (None, None, ("digits", "own")), ("new", None, ("new", None)), (None, "new", ("digits", "new")),
    ("new", "newer", ("new", "newer")),
])
def test_other_data(given_train: str | None, given_test: str | None, expected: tuple[str, str | None]) -> None:
    found = with_data(recipe(data={"test": "own", "crop": 2}), given_train, given_test)
    assert (found.data.train, found.data.test, found.data.crop) == (*expected, 2)


# ---- schedules ----


@given(
    warmup=st.floats(0, 20), ramp=st.just(0.0) | st.floats(0.01, 40), shape=st.sampled_from(["linear", "smooth"]),
    times=st.lists(st.floats(0, 60), min_size=2, max_size=30),
)
@settings(deadline=None, max_examples=100)
def test_the_share_goes_from_0_to_1(warmup: float, ramp: float, shape: str, times: list[float]) -> None:
    schedule = Schedule(epochs=60, warmup=warmup, ramp=ramp, shape=shape)
    shares = [schedule.share(when) for when in sorted(times)]
    assert all(0 <= a <= b <= 1 + 1e-12 for a, b in pairwise([0.0, *shares]))
    assert schedule.share(60) == pytest.approx(1)
    if ramp > 0:
        assert schedule.share(warmup) == 0
        assert schedule.share(warmup + ramp) == pytest.approx(1)
    if warmup > 0:
        assert schedule.share(0) == schedule.share(warmup / 2) == 0
    if ramp > 0 and shape == "linear":
        assert schedule.share(warmup + 0.3 * ramp) == pytest.approx(0.3)


def test_the_smooth_ramp_bends_without_a_jump_or_a_corner() -> None:
    x = torch.linspace(0, 1, 2001, dtype=torch.float64)
    values = torch.tensor([smooth(float(v)) for v in x], dtype=torch.float64)
    slopes = values.diff() / x.diff()
    assert float(slopes.diff().abs().max()) < 0.01  # about 0.005 of one step of its second derivative
    assert bool((slopes >= 0).all())
    assert bool((slopes.diff() >= -1e-9).all())  # convex, then a line
    assert float((slopes[600:] - slopes[-1]).abs().max()) < 1e-9
    assert float(values[100] / values[50]) == pytest.approx(16)  # the fourth power
    assert (float(values[0]), float(values[-1])) == (0, pytest.approx(1))


def test_annealed_fields_move_with_the_radius() -> None:
    schedule = Schedule(10, warmup=2, ramp=4, anneal={"clean": (1.0, 0.5), "regularizer.weight": (0.5, 0.0)})
    loss = CrownIBP(clean=0.1, share=0.7, regularizer=Regularizer(9.0, tolerance=0.3))
    for when, clean, weight in ((0, 1, 0.5), (2, 1, 0.5), (4, 0.75, 0.25), (6, 0.5, 0), (10, 0.5, 0)):
        moved = schedule.loss(loss, when)
        assert moved == CrownIBP(clean, 0.7, Regularizer(weight, 0.3))
    assert Schedule(10).loss(loss, 3) == loss


def test_an_annealed_field_may_lie_deep() -> None:
    schedule = Schedule(2, ramp=2, shape="smooth", anneal={"attack.penalty": (0.0, 4.0), "alpha": (0.0, 1.0)})
    moved = schedule.loss(CC(), 0.5)
    assert isinstance(moved, CC)
    assert moved.attack.penalty == pytest.approx(4 * smooth(0.25))
    assert moved.alpha == pytest.approx(smooth(0.25))
    with pytest.raises(InputError, match="'nothing'"):
        Schedule(2, anneal={"nothing": (0.0, 1.0)}).check(SABR())
