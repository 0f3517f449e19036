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
from torch import nn
from verify.models import networks
from verify.models.train_digits import TRAININGS, main, measure, pgd, train, worst_logits

from verify.errors import InputError, UnsupportedOp
from verify.rationals import exact_array

ROW = re.compile(r"^\| (\w+) \| (\w+) \| `[^`]*` \| \d+" + 5 * r" \| ([\d.]+)" + r" \|$", re.M)
TABLE = {
    f"digits-{net}-{training}": [float(v) for v in figures]
    for net, training, *figures in ROW.findall((models.HERE / "README.md").read_text())
}


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parameters(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.detach().clone() for name, t in module.named_parameters()}


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
    with pytest.raises(InputError, match=r"digits-dense-plain.*digits-conv-interval"):
        models.build("digits")


def test_the_table_speaks_of_every_bundled_network() -> None:
    assert set(TABLE) == set(models.bundled())
    assert {path.stem for path in (models.HERE / "weights").iterdir()} == set(models.bundled())


@pytest.mark.parametrize("name", models.bundled())
def test_bundled_weights_reach_the_figures_of_the_table(name: str) -> None:
    module, example = models.build(name)
    assert not module.training
    assert example.shape == (1, 1, 8, 8)
    assert isinstance(module, nn.Sequential)
    clean, *_, verified_small, verified_large = TABLE[name]
    found = measure(module, *models.digits(), seed=0)
    assert found[0] == pytest.approx(clean, abs=0.5)
    assert found[3:] == pytest.approx([verified_small, verified_large], abs=0.5)
    assert found[0] >= found[1] >= found[3]
    assert found[0] >= found[2] >= found[4]
    x, y = models.digits()
    assert 100 * float((module(x).argmax(1) == y).float().mean()) == found[0]


def test_the_package_as_a_whole_is_small() -> None:
    assert sum(path.stat().st_size for path in models.HERE.rglob("*") if path.is_file()) < 1_000_000


@pytest.mark.parametrize("net", models.ARCHITECTURES)
def test_the_graph_is_the_module(net: str) -> None:
    module, (x, _) = getattr(networks, net)(seed=3), models.digits()
    graph = networks.graph(module)
    assert set(graph.parameter_names) == set(parameters(module))
    torch.testing.assert_close(graph.bind(dict(module.named_parameters()))(x), module(x))


def test_a_graph_of_other_layers_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match=r"Softmax.*verify\.trace"):
        networks.graph(nn.Sequential(nn.Flatten(), nn.Softmax(dim=1)))


@pytest.mark.parametrize("training", models.TRAININGS)
@pytest.mark.parametrize("net", models.ARCHITECTURES)
def test_one_seed_gives_the_same_weights_and_another_others(net: str, training: str) -> None:
    x, y = (part[:128] for part in models.digits("train"))
    way = replace(TRAININGS[training], epochs=2)
    found = []
    for seed in (1, 1, 2):
        module = getattr(networks, net)(seed)
        start = parameters(module)
        train(module, way, x, y, seed)
        found.append(parameters(module))
        assert any(not torch.equal(start[name], t) for name, t in found[-1].items())
    first, again, other = found
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_building_networks_leaves_the_global_generator_alone() -> None:
    state = torch.random.get_rng_state()
    networks.dense(5)
    networks.conv(5)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.3])
def test_pgd_stays_in_the_clipped_ball_and_worst_logits_bound_what_it_finds(eps: float) -> None:
    module, (x, y) = networks.conv(seed=4), (part[:40] for part in models.digits())
    found = pgd(module, x, y, eps, 5, noise(0))
    assert bool(((found >= 0) & (found <= 1)).all())
    assert float((found - x).abs().max()) <= eps + 1e-6
    worst, logits = worst_logits(module, x, y, eps), module(found)
    true = nn.functional.one_hot(y, 10).bool()
    assert bool((torch.where(true, logits - worst, worst - logits) >= -1e-5).all())
    if eps == 0:
        torch.testing.assert_close(worst, module(x))


def test_worst_logits_are_attained_by_a_network_of_one_layer() -> None:
    """On a linear network the bounds are b + W c +- |W| r with no slack; recomputed in exact arithmetic."""
    module, (x, y) = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), (part[:3] for part in models.digits())
    for p in module.parameters():
        nn.init.normal_(p, generator=noise(len(p.shape)))
    weight, bias = (exact_array(p.detach()) for p in module.parameters())
    worst = worst_logits(module, x, y, 0.125).detach()
    for k, label in enumerate(y.tolist()):
        low = exact_array((x[k].flatten() - 0.125).clamp(min=0))
        high = exact_array((x[k].flatten() + 0.125).clamp(max=1))
        for j in range(10):
            up = (weight[j] > 0) != (j == label)
            value = sum((w * (h if u else v) for w, v, h, u in zip(weight[j], low, high, up, strict=True)), bias[j])
            assert float(worst[k, j]) == pytest.approx(float(value), abs=1e-5)


def test_the_loss_on_bounds_has_a_gradient_in_every_weight() -> None:
    module, (x, y) = networks.conv(seed=1), (part[:16] for part in models.digits("train"))
    TRAININGS["interval"].loss(module, x, y, 1.0, noise(0)).backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in module.parameters())


@pytest.mark.parametrize("arguments", [["digits-dense"], ["--speed", "9"], ["--seed", "one"]])
def test_the_script_refuses_what_it_does_not_know(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--out", str(tmp_path / "new"), *arguments])
    assert caught.value.code == 2
    assert not (tmp_path / "new").exists()
