"""The loss at one perturbation of a whole batch."""

from __future__ import annotations

import pytest
import torch
from verify.models import digits

import verify
from verify.sets import Ball
from verify.train import Live
from verify.train.losses import Threat, UniversalAdversarial, cross_entropy

EPS = 0.3


def setting() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x, y = torch.rand(8, 2), torch.randint(0, 3, (8,))
    return torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)), x, y


@pytest.mark.parametrize(("norm", "clip"), [("linf", None), ("linf", (0, 1)), ("l2", None)])
def test_the_perturbation_is_nearly_the_worst_of_a_grid(norm: str, clip: tuple[float, float] | None) -> None:
    module, x, y = setting()
    network, noise = Live(module, x).on_batch(x), torch.Generator().manual_seed(0)
    loss = UniversalAdversarial(steps=20, threat=Threat(norm, clip))
    with torch.no_grad():
        found = float(loss(network, x, y, EPS, noise))
    ball = Ball(torch.zeros(1, 2), EPS, norm, None)
    grid = torch.cartesian_prod(*[torch.linspace(-EPS, EPS, 31)] * 2)
    grid = grid[torch.stack([ball.contains(d[None])[0] for d in grid])]
    moved = (x + grid[:, None]) if clip is None else (x + grid[:, None]).clamp(*clip)
    values = torch.stack([cross_entropy(module(points), y).mean() for points in moved]).detach()
    assert float(values.max()) * 0.98 <= found <= float(values.max()) * 1.02
    assert found > float(values[len(grid) // 2]) + 0.01  # the clean loss
    assert bool(ball.contains(loss.perturbation(network, x, y, EPS))[0])


def test_its_gradient_is_that_of_the_loss_at_the_perturbation() -> None:
    module, x, y = setting()
    network, loss = Live(module, x).on_batch(x), UniversalAdversarial(threat=Threat(clip=None))
    delta = loss.perturbation(network, x, y, EPS)
    loss(network, x, y, EPS, torch.Generator().manual_seed(0)).backward()
    expected = torch.autograd.grad(cross_entropy(module(x + delta), y).mean(), list(module.parameters()))
    for parameter, gradient in zip(module.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_penalty_keeps_the_perturbation_small_and_settings_are_checked() -> None:
    module, x, y = setting()
    network = Live(module, x).on_batch(x)
    free, held = (UniversalAdversarial(penalty=p).perturbation(network, x, y, EPS) for p in (0.0, 100.0))
    assert float(free.norm()) > 0.1
    assert float(held.norm()) < 0.5 * float(free.norm())
    for wrong in ({"steps": 0}, {"penalty": -1.0}, {"step": 0.0}):
        with pytest.raises(verify.InputError, match="universal loss"):
            UniversalAdversarial(**wrong)  # type: ignore[arg-type]


def test_training_against_it_lowers_the_fooling_rate() -> None:
    x, y = digits("train")
    rates = []
    for loss in (None, UniversalAdversarial(steps=3)):
        torch.manual_seed(0)
        layers = torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
        module = torch.nn.Sequential(torch.nn.Flatten(), *layers)
        live, optimiser = Live(module, x[:1]), torch.optim.Adam(module.parameters(), 0.01)
        for part in torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).repeat(2).split(64):
            optimiser.zero_grad()
            network = live.on_batch(x[part])
            value = cross_entropy(network(x[part]), y[part]).mean() if loss is None else loss(
                network, x[part], y[part], 0.2, torch.Generator().manual_seed(0))
            value.backward()
            optimiser.step()
        trained = verify.trace(module, x[:1])
        methods = [verify.StochasticUAP(epochs=4, restarts=1)]
        found = verify.universal(trained, x[:50], eps="1/5", clip=(0, 1), methods=methods)
        rates.append(found.rate)
    assert rates[1] < 0.8 * rates[0]
