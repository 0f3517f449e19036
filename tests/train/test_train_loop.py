"""The loop: what a step does, and the data it sees, against other implementations."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.support.training import NORMED, digits_table, noise, recipe, trainer
from verify.errors import InputError
from verify.train.data import TrainingSamples, augmented, batches, load_samples
from verify.train.live import Live
from verify.train.recipe import Data


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    return digits_table(tmp_path)


# ---- a step ----


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_plain_training_is_that_of_a_loop_in_torch(name: str, data: dict[str, Any]) -> None:
    """Batch norm, penalty, clipped gradients, milestones and averaged weights included."""
    optimizer = {"name": name, "rate": 0.01, "milestones": [1], "factor": 0.5, "clip": 0.4, "weight_decay": 1e-3,
                 "average": 0.9}
    given = recipe(data=data, loss={"name": "plain"}, optimizer=optimizer, penalty={"factor": 1e-3, "norm": "l2"},
                   schedule={"epochs": 2, "batch": 40}, **NORMED)
    own, module = trainer(given)
    twin = copy.deepcopy(module).train()
    kinds = {"adam": torch.optim.Adam, "sgd": lambda p, **more: torch.optim.SGD(p, momentum=0.9, **more)}
    torch_optimizer = kinds[name](twin.parameters(), lr=0.01, weight_decay=1e-3)
    average = [p.detach().clone() for p in twin.parameters()]
    for epoch in range(2):
        source = own._noise("order")
        figures = own.run_epoch()
        losses: list[float] = []
        torch_optimizer.param_groups[0]["lr"] = 0.01 * 0.5**epoch
        for x, y, _ in batches(own.samples, given.data, 40, source):
            norm = torch.cat([p.flatten() for p in twin.parameters()]).norm()
            loss = nn.functional.cross_entropy(twin(x), y) + 1e-3 * norm
            torch_optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(twin.parameters(), 0.4)
            torch_optimizer.step()
            losses += [float(loss.detach())] * len(y)
            average = [0.9 * a + 0.1 * p.detach() for a, p in zip(average, twin.parameters(), strict=True)]
        assert len(losses) == 96
        assert figures["loss"] == pytest.approx(sum(losses) / 96, rel=1e-4)
        assert (figures["epoch"], figures["eps"]) == (epoch + 1, 0.05)
    state, expected = module.state_dict(), twin.state_dict()
    for key in expected:
        if expected[key].is_floating_point():
            assert_close(state[key], expected[key], rtol=2e-3, atol=2e-4, msg=lambda text, key=key: f"{key}: {text}")
    assert_close(list(own.average.values()), average, rtol=2e-3, atol=2e-4)
    own.keep()
    assert_close(list(module.parameters()), list(own.average.values()), rtol=0, atol=0, check_stride=False)


def test_a_cosine_of_rates_and_a_ramp_of_radii(data: dict[str, Any]) -> None:
    given = recipe(data=data, schedule={"epochs": 4, "warmup": 1, "ramp": 2, "batch": 96},
                   optimizer={"rate": 0.2, "cosine": True, "name": "sgd"})
    own, _ = trainer(given)
    rates, radii = [], []
    for _ in range(4):
        radii.append(own.run_epoch()["eps"])
        rates.append(own.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0.1 * (1 - 0.5**0.5)])
    assert radii == pytest.approx([0, 0.025, 0.05, 0.05])


def test_measuring_leaves_the_training_alone(data: dict[str, Any]) -> None:
    given = recipe(data={**data, "validation": 30}, optimizer={"average": 0.5}, **NORMED)
    own, module = trainer(given)
    own.run_epoch()
    before = copy.deepcopy(module.state_dict())
    figures = own.measure()
    assert_close(module.state_dict(), before, rtol=0, atol=0)
    assert set(figures) == {"clean", "attacked", "verified"}
    assert 1 >= figures["clean"] >= figures["attacked"] >= figures["verified"] >= 0
    own.keep()
    live = Live(module, own.samples.x[:1])
    clean = (live.network()(own.held.x).argmax(1) == own.held.y).float().mean()
    assert figures["clean"] == pytest.approx(float(clean))


# ---- data ----


def test_held_out_samples_are_not_trained_on(data: dict[str, Any]) -> None:
    samples, held, digests = load_samples(Data(**data, validation=30), 3)
    assert (len(samples), len(held)) == (66, 30)
    both = torch.cat([samples.x, held.x]).flatten(1)
    all_of_them = load_samples(Data(**data), 3)[0].x.flatten(1)
    assert torch.equal(both.unique(dim=0), all_of_them.unique(dim=0))
    assert not torch.equal(load_samples(Data(**data, validation=30), 4)[1].x, held.x)
    assert digests["train"] != digests["test"]
    with pytest.raises(InputError, match=r"train\.npz has 96 samples, too few to hold out 96"):
        load_samples(Data(**data, validation=96), 0)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_epoch_goes_through_every_sample_once(world: int) -> None:
    samples = TrainingSamples(torch.arange(50.0)[:, None, None, None], torch.arange(50))
    parts = [list(batches(samples, Data("none"), 16, noise(1), rank, world)) for rank in range(world)]
    seen = torch.cat([y for part in parts for _, y, _ in part])
    assert sorted(seen.tolist()) == ([*range(50)] if world < 3 else sorted(set(seen.tolist())))
    assert len(seen) == 50 if world < 3 else 48
    whole = list(batches(samples, Data("none"), 16, noise(1)))
    for step, pieces in enumerate(zip(*parts, strict=True)):
        mean = sum(float(x.mean()) * weight for x, _, weight in pieces) / world
        assert mean == pytest.approx(float(whole[step][0].mean()))
        assert all(torch.equal(x.flatten().long(), y) for x, y, _ in pieces)


@pytest.mark.parametrize(("flip", "crop"), [(True, 0), (False, 2), (True, 3)])
def test_augmentation_image_by_image(flip: bool, crop: int) -> None:
    x = torch.rand((30, 2, 5, 4), generator=noise(1))
    share = torch.rand((30, 3), generator=noise(2))
    found = augmented(x, Data("none", flip=flip, crop=crop, fill=0.5), share)
    shifts = set()
    for image, result, (turn, down, right) in zip(x, found, share.tolist(), strict=True):
        expected = torch.full_like(image, 0.5)
        dy, dx = int(down * (2 * crop + 1)) - crop, int(right * (2 * crop + 1)) - crop
        shifts.add((dy, dx))
        for row in range(5):
            for column in range(4):
                at = row + dy, column + dx
                if 0 <= at[0] < 5 and 0 <= at[1] < 4:
                    source = 3 - at[1] if flip and turn < 0.5 else at[1]
                    expected[:, row, column] = image[:, at[0], source]
        assert torch.equal(result, expected)
    assert {abs(dy) for dy, _ in shifts} == set(range(crop + 1))
