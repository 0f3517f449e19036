"""Gradients of every loss, by finite differences in float64, through the statistics of the clean batch as well."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor
from torch.autograd import grad
from torch.testing import assert_close

from tests.support.training import case, check_gradients, noise
from verify.train.losses import LOSSES, Adversarial, Linearised, Mixed, Noisy, Plain, Regularizer, Threat, Trades

EPS = 0.05
ATTACKED = {"sabr", "mtl-ibp", "cc-ibp", "exp-ibp", "mixed", "adversarial", "trades", "universal"}
BOUNDED = [name for name in LOSSES if name not in ("plain", "noisy", "linearised", "mixed", "adversarial", "trades",
                                                   "universal")]
NETS = ["normed", "residual", "one"]


def options(name: str) -> dict[str, Any]:
    """With every term switched on that the loss has."""
    known = LOSSES[name].__dataclass_fields__
    wanted = {"regularizer": Regularizer(0.5), "clean": 0.3, "share": 0.6, "shrink": 0.4, "vectors": 15}
    return {key: value for key, value in wanted.items() if key in known}


def check(net: str, name: str, threat: Threat, seed: int = 0) -> None:
    live, x, y = case(net, seed=seed)
    loss = LOSSES[name](threat=threat, **options(name))

    def value() -> Tensor:
        return loss(live.on_batch(x), x, y, EPS, noise(1))

    assert float(value().detach()) > 0
    check_gradients(value, {**live.weights})


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", BOUNDED)
def test_losses_from_bounds(name: str, net: str) -> None:
    """Signed steps end at the same point for weights nearby, so the attacked losses are differentiable too."""
    check(net, name, Threat())


@pytest.mark.parametrize("name", sorted(set(BOUNDED) - {"dual", "sabr"}))
def test_losses_from_bounds_of_pooling(name: str) -> None:
    check("pooled", name, Threat())


@pytest.mark.parametrize("clip", [None, (0, 1)])
@pytest.mark.parametrize(("name", "norm"), [
    (name, norm) for name in BOUNDED if name not in ATTACKED for norm in ("linf", "l2", "l1")
    if (name, norm) != ("dual", "l1")
])
def test_losses_from_bounds_of_other_balls(name: str, norm: str, clip: tuple[float, float] | None) -> None:
    check("normed", name, Threat(norm, clip))
    check("one", name, Threat(norm, clip))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("kind", [Plain, Noisy, Mixed, Linearised, Adversarial, Trades])
def test_losses_from_points(kind: type, net: str) -> None:
    check(net, next(name for name, known in LOSSES.items() if known is kind), Threat())


@pytest.mark.parametrize(("net", "name"), [
    *((net, name) for net in NETS for name in ("interval", "crown-ibp", "fused-crown-ibp")), ("pooled", "interval"),
    ("pooled", "crown-ibp"),
])
def test_at_radius_zero_the_gradient_is_that_of_the_plain_loss(net: str, name: str) -> None:
    """Where every box is a point, in the epochs of warm-up."""
    live, x, y = case(net)
    weights = list(live.weights.values())
    found = grad(LOSSES[name]()(live.on_batch(x), x, y, 0.0, noise()), weights)
    expected = grad(Plain()(live.on_batch(x), x, y, 0.0, noise()), weights)
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b, rtol=1e-6, atol=1e-9)
