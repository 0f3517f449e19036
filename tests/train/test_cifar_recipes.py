"""The CIFAR-10 recipes take data as it is distributed and train; a whole epoch of them needs a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from verify.train.data import load_samples
from verify.train.live import Live
from verify.train.loop import Trainer
from verify.train.parallel import Team
from verify.train.recipe import find_recipe, with_data
from verify.train.run import build

NAMES = ["cifar10-mtl-2", "cifar10-sabr-8"]  # the other two differ in numbers only


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_step_at_the_full_radius_moves_every_weight(name: str, tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    images, labels = source.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8), np.arange(12) % 10
    np.savez(tmp_path / "train.npz", x=images, y=labels)
    np.savez(tmp_path / "test.npz", x=images[::-1], y=labels[::-1])
    given = with_data(find_recipe(name), str(tmp_path / "train.npz"), str(tmp_path / "test.npz"))
    recipe = replace(given, data=replace(given.data, validation=4), schedule=replace(given.schedule, batch=8))
    samples, held, _ = load_samples(recipe.data, recipe.seed)
    module, example = build(recipe, samples)
    trainer = Trainer(recipe, Live(module, example), samples, held, Team())
    trainer.epoch = recipe.schedule.epochs - 1  # behind the ramp
    before = {key: p.detach().clone() for key, p in module.named_parameters()}
    figures = trainer.run_epoch()
    assert np.isfinite(figures["loss"])
    assert figures["eps"] == pytest.approx(float(recipe.threat.exact))
    assert {"clean", "attacked", "verified"} <= figures.keys()
    assert all(not torch.equal(before[key], p) for key, p in module.named_parameters())
