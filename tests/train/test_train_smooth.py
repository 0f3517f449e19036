"""Losses of bounds through networks that bend: SiLU, attention, GELU. They bound attacked losses, their gradients
lower them, and the recipes move every weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from verify.models.architectures import make

from tests.support.training import check_gradients, images, noise
from verify.ir.graph import BoundGraph
from verify.train.attack import Attack
from verify.train.data import load_samples
from verify.train.evaluate import upper_margins
from verify.train.live import Live
from verify.train.loop import Trainer
from verify.train.losses import CrownIBP, FusedCrownIBP, IntervalLoss, Loss, Threat, cross_entropy
from verify.train.losses.base import margins_of
from verify.train.parallel import Team
from verify.train.recipe import find_recipe
from verify.train.run import build

NETS = {"silu": {"widths": (6, 5)}, "transformer": {"width": 4, "heads": 2, "patch": 3}}
LOSSES: dict[str, Loss] = {"interval": IntervalLoss(), "crown-ibp": CrownIBP(), "fused": FusedCrownIBP()}
RECIPES = ("digits-silu-interval", "digits-transformer-interval")
EPS = 0.05


def case(name: str) -> tuple[torch.nn.Module, Live, Tensor, Tensor]:
    """A small network in float64, and a batch of images of 6x6."""
    module = make(name, (1, 6, 6), 4, seed=3, **NETS[name]).double()
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(2)  # so that curves bend within the boxes
    x, y = images(5, 4)
    return module, Live(module, x[:1]), x, y


def attacked(network: BoundGraph, x: Tensor, y: Tensor) -> Tensor:
    """The inputs of largest loss that an attack finds."""
    return Attack(steps=20, restarts=2).worst(lambda at: cross_entropy(network(at), y), Threat().ball(x, EPS), noise())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETS)
def test_a_loss_of_bounds_is_no_less_than_what_an_attack_finds(name: str, loss: str) -> None:
    _, live, x, y = case(name)
    network = live.network()
    found = cross_entropy(network(attacked(network, x, y)), y).mean()
    told = LOSSES[loss](network, x, y, EPS, noise())
    clean = cross_entropy(network(x), y).mean()
    assert clean + 1e-3 < found <= told
    assert bool((margins_of(network(attacked(network, x, y)), y) <= upper_margins(network, x, y, Threat(), EPS)).all())


@pytest.mark.parametrize("name", NETS)
def test_gradients_of_interval_bounds_are_those_of_finite_differences(name: str) -> None:
    _, live, x, y = case(name)
    check_gradients(lambda: IntervalLoss()(live.network(), x, y, EPS, noise()), live.weights)


@pytest.mark.parametrize("loss", ["crown-ibp", "fused"])
@pytest.mark.parametrize("name", NETS)
def test_steps_along_gradients_of_linear_bounds_lower_them(name: str, loss: str) -> None:
    """Points at which lines touch curves are held while gradients are taken, so that these are none of differences."""
    module, live, x, y = case(name)
    optimizer, seen = torch.optim.Adam(module.parameters(), 0.01), []
    for _ in range(12):
        optimizer.zero_grad()
        value = LOSSES[loss](live.network(), x, y, EPS, noise())
        value.backward()
        optimizer.step()
        seen.append(float(value.detach()))
    assert seen[-1] < 0.9 * seen[0]


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_of_a_recipe_moves_every_weight(name: str) -> None:
    recipe = find_recipe(name)
    samples, held, _ = load_samples(recipe.data, recipe.seed)
    recipe = replace(recipe, schedule=replace(recipe.schedule, batch=8))
    samples = replace(samples, x=samples.x[:16], y=samples.y[:16])
    module, example = build(recipe, samples)
    trainer = Trainer(recipe, Live(module, example), samples, held, Team())
    trainer.epoch = recipe.schedule.epochs // 2  # at the full radius
    before = [p.detach().clone() for p in module.parameters()]
    assert trainer.run_epoch()["eps"] == pytest.approx(float(recipe.threat.exact))
    assert all(not torch.equal(old, p) for old, p in zip(before, module.parameters(), strict=True))
