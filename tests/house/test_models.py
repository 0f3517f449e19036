"""The bundled networks and digits: contents, that they reach the table's figures, that training is repeatable."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import verify.models as models
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from verify.models.architectures import make, normalized

import verify
from tests.support.helpers import later
from verify.errors import InputError
from verify.runs.certification.session import prepare
from verify.runs.request import CertifyRequest
from verify.train.recipe import Recipe, find_recipe
from verify.train.run import train

WAYS = ("plain", "adversarial", "interval")
NAMES = models.bundled()
DIGITS = tuple(name for name in NAMES if name.startswith("digits-"))
RECIPES = tuple(sorted(path.stem for path in models.RECIPES.glob("*.toml")))
ROW = re.compile(r"^\| `verify train ([\w.-]+)(?: [^`]*)?` \| ([\d./]+) \| [\d,]+" + 3 * r" \| ([\d.]+)" + r" \|", re.M)
README = (models.HERE / "README.md").read_text()
TABLE = {name: (eps, *map(float, figures)) for name, eps, *figures in ROW.findall(README)}
DECIDED = 0.5  # a row leaves this percentage undecided at most, or its figures depend on the seconds that were given


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, verify.models as m; m.bundled(); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits_are_whole() -> None:
    (x, y), (x_test, y_test) = models.digits("train"), models.digits()
    assert x.shape == (1297, 1, 8, 8)
    assert x_test.shape == (500, 1, 8, 8)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    both, labels = torch.cat([x, x_test]), torch.cat([y, y_test])
    assert (float(both.min()), float(both.max())) == (0, 1)
    assert bool((both * 16 == (both * 16).round()).all())
    published = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # class counts of the test set, by the source
    assert labels.bincount().tolist() == published


def test_a_split_or_network_that_does_not_exist_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="train, test"):
        models.digits("validation")
    with pytest.raises(InputError, match=r"digits-conv-interval.*digits-dense-plain"):
        models.build("digits")


def test_networks_recipes_and_rows_of_the_table_belong_together() -> None:
    """Every file of weights has its recipe and its row, and every row has both."""
    assert set(DIGITS) == {f"digits-{net}-{way}" for net in ("dense", "conv") for way in WAYS}
    assert {path.name for path in models.WEIGHTS.iterdir()} == {f"{name}.safetensors" for name in NAMES}
    assert set(TABLE) == set(NAMES)
    assert len(TABLE) == README.count("\n| `verify train ")  # the pattern reads all rows
    assert set(NAMES) <= set(RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_rows_speak_of_the_radius_of_their_recipe(name: str) -> None:
    eps, clean, attacked, verified = TABLE[name]
    assert eps == find_recipe(name).threat.eps
    assert 100 >= clean >= attacked >= verified >= 0


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_network_is_that_of_its_recipe(name: str) -> None:
    (module, example), recipe = models.build(name), find_recipe(name)
    weights = load_file(models.WEIGHTS / f"{name}.safetensors")
    assert not module.training
    assert example.shape == (1, *(models.digits()[0].shape[1:] if recipe.data.train == "digits" else (1, 28, 28)))
    assert module(example).shape == (1, recipe.model.outputs)
    assert {key: t.dtype for key, t in module.state_dict().items()} == {key: t.dtype for key, t in weights.items()}
    assert all(torch.equal(t, weights[key]) for key, t in module.state_dict().items())
    if recipe.model.mean:
        assert module.state_dict()["0.mean"].flatten().tolist() == pytest.approx(recipe.model.mean)
        assert module.state_dict()["0.std"].flatten().tolist() == pytest.approx(recipe.model.std)


@pytest.mark.parametrize("options", ["batch_norm = true", "batch_norm = false"])
def test_build_reads_options_outputs_and_normalization_of_a_recipe(
    options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(
        f'[model]\nnetwork = "dm-small"\noptions = {{ {options} }}\noutputs = 3\nmean = [0.5]\nstd = [0.25]\n'
        '[data]\ntrain = "mnist"\n'
    )
    monkeypatch.setattr(models, "RECIPES", tmp_path)
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    assert models.bundled() == ()
    own = normalized(make("dm-small", (1, 28, 28), 3, seed=7, batch_norm="true" in options), [0.5], [0.25]).eval()
    save_file(own.state_dict(), tmp_path / "mine.safetensors")
    assert models.bundled() == ("mine",)
    module, example = models.build("mine")
    assert torch.equal(example, torch.zeros(1, 1, 28, 28))
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(module(x), own(x))
    assert any(isinstance(part, nn.BatchNorm2d) for part in module.modules()) == ("true" in options)


@pytest.mark.parametrize("name", later(DIGITS, {*DIGITS} - {"digits-dense-interval", "digits-conv-adversarial"}))
def test_bundled_weights_reach_the_figures_of_the_table(name: str, tmp_path: Path) -> None:
    """By the methods of `verify certify`. Where the row leaves images open, which depends on the seconds given, it must
    lie between what CROWN verifies and what PGD does not falsify."""
    eps, clean, attacked, verified = TABLE[name]
    x, y = models.digits()
    right = verify.load(name)(x).argmax(1) == y
    assert 100 * int(right.sum()) / len(y) == pytest.approx(clean, abs=1e-9)
    decided = attacked - verified <= DECIDED
    methods = "interval,pgd,crown,bab" if decided else "interval,pgd,crown"
    _, radii = prepare(CertifyRequest(name, "digits", eps=eps, limit=None, methods=methods)).run(tmp_path / "run")
    (found,) = radii.values()
    assert found.samples == len(y)
    least, most = (100 * n / found.samples for n in (found.verified, found.clean - found.falsified))
    if decided:
        assert (least, most) == pytest.approx((verified, attacked), abs=0.5)
    else:
        assert least <= verified <= attacked <= most


def test_the_digits_as_a_whole_are_small() -> None:
    files = [path for path in models.HERE.rglob("*") if path.is_file() and "mnist" not in path.name]
    assert sum(path.stat().st_size for path in files) < 1_000_000


def shortened(recipe: Recipe, seed: int) -> Recipe:
    """The recipe with two epochs, in the second of which the radius grows."""
    schedule = replace(recipe.schedule, epochs=2, warmup=0, ramp=min(recipe.schedule.ramp, 1))
    return replace(recipe, schedule=schedule, seed=seed)


@pytest.mark.parametrize("name", later(DIGITS, ("digits-dense-plain", *(name for name in DIGITS if "conv" in name))))
def test_one_seed_gives_the_same_weights_and_another_others(name: str, tmp_path: Path) -> None:
    files = []
    for folder, seed in (("first", 0), ("again", 0), ("other", 1)):
        train(shortened(find_recipe(name), seed), tmp_path / folder)
        files.append(tmp_path / folder / "model.safetensors")
    first, again, other = (file.read_bytes() for file in files)
    assert first == again
    with safe_open(files[0], "pt") as here, safe_open(files[2], "pt") as there:
        assert all(not torch.equal(here.get_tensor(key), there.get_tensor(key)) for key in here.keys())  # noqa: SIM118
    assert len(first) == len(other) == (models.WEIGHTS / f"{name}.safetensors").stat().st_size
