"""Losses from points: closed forms, attacks that stay in their balls, and penalties on them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.support.training import THREATS, bound, noise
from verify.ir.graph import BoundGraph
from verify.train.attack import Attack
from verify.train.losses import (
    Adversarial,
    CrownIBP,
    IntervalLoss,
    Linearised,
    Mixed,
    Noisy,
    Plain,
    Threat,
    Trades,
    cross_entropy,
)
from verify.train.losses.adversarial import attacked, divergence

NETS = ["normed", "residual", "one"]
EPS = 0.08


def test_noise_is_gaussian_and_clipped() -> None:
    network, x, y = bound("normed")
    for clip in (None, (0.0, 1.0)):
        moved = x + EPS * torch.randn(x.shape, generator=noise(4), dtype=x.dtype)
        expected = cross_entropy(network(moved if clip is None else moved.clamp(0, 1)), y).mean()
        assert_close(Noisy(threat=Threat(clip=clip))(network, x, y, EPS, noise(4)), expected)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_mixed_is_between_the_clean_loss_and_that_of_fgsm(alpha: float) -> None:
    network, x, y = bound("residual")
    at = x.clone().requires_grad_()
    sign = torch.autograd.grad(cross_entropy(network(at), y).sum(), at)[0].sign()
    parts = cross_entropy(network(x), y).mean(), cross_entropy(network((x + EPS * sign).clamp(0, 1)), y).mean()
    found = Mixed(alpha=alpha)(network, x, y, EPS, noise())
    assert_close(found, alpha * parts[0] + (1 - alpha) * parts[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", torch.inf)])
def test_linearised_adds_the_dual_norm_of_the_gradient(norm: str, dual: float) -> None:
    for net in NETS:
        network, x, y = bound(net)
        at = x.clone().requires_grad_()
        losses = cross_entropy(network(at), y)
        gradient = torch.autograd.grad(losses.sum(), at)[0].flatten(1)
        expected = (losses + EPS * torch.linalg.vector_norm(gradient, dual, dim=1)).mean()
        found = Linearised(threat=Threat(norm, None))(network, x, y, EPS, noise())
        assert_close(found, expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", torch.inf)])
def test_for_a_linear_classifier_of_two_classes_the_worst_loss_is_known(norm: str, dual: float) -> None:
    """L(m + eps ||w||) with m the margin and w its gradient: what bounds say, and attacks reach."""
    network, x, y = bound("linear")
    pair = y.clamp(max=1)
    weight, bias = (p.detach() for p in network.parameters.values())
    weight, bias = torch.cat([weight[:2], torch.zeros_like(weight[2:])]), bias - 50 * torch.tensor([0, 0, 1, 1])
    two = BoundGraph(network.graph, dict(zip(network.parameters, (weight, bias), strict=True)))
    sign = 1 - 2 * pair.double()
    margin = sign * (two(x)[:, 1] - two(x)[:, 0])
    worst = margin + EPS * torch.linalg.vector_norm(weight[1] - weight[0], dual)
    expected = F.softplus(worst).mean()
    threat = Threat(norm, None)
    certified = CrownIBP(threat=threat)(two, x, pair, EPS, noise())
    reached = Adversarial(Attack(1, 2.0, from_center=True), threat=threat)(two, x, pair, EPS, noise())
    assert_close(certified, expected, rtol=1e-6, atol=0)
    assert_close(reached, expected, rtol=1e-6, atol=0)
    if norm == "linf":
        assert_close(IntervalLoss(threat=threat)(two, x, pair, EPS, noise()), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_an_attack_stays_in_the_ball_and_above_the_clean_point(threat: Threat) -> None:
    for net in NETS:
        network, x, y = bound(net)
        ball = threat.ball(x, EPS)
        clean = cross_entropy(network(x), y)
        tries = [Attack(), Attack(steps=1, step=2.0, from_center=True), Attack(steps=2, step=50.0, restarts=3)]
        for attack in tries:
            bad = attack.worst(lambda at, net=network, y=y: cross_entropy(net(at), y), ball, noise(3))
            assert bool(ball.contains(bad).all())
            assert bool((cross_entropy(network(bad), y) >= clean).all())
            assert bool(ball.contains(attacked(network, x, y, attack, ball, noise(3))).all())
            assert float(Adversarial(attack, threat=threat)(network, x, y, EPS, noise())) >= float(clean.mean())


def test_more_restarts_find_no_less() -> None:
    network, x, y = bound("residual")
    found = [float(Adversarial(Attack(restarts=k))(network, x, y, 0.3, noise(1))) for k in (1, 2, 6)]
    assert found == sorted(found)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_a_penalty_shrinks_the_perturbation(norm: str) -> None:
    network, x, y = bound("normed")
    ball, sizes = Threat("l2").ball(x, 0.5), []
    for factor in (0.0, 3.0, 1000.0):
        attack = Attack(steps=20, restarts=3, from_center=True, penalty=factor, penalty_norm=norm)
        bad = attack.worst(lambda at: cross_entropy(network(at), y), ball, noise(2))
        sizes.append(float((bad - x).flatten(1).norm(dim=1).mean()))
    assert sizes[0] > 0.45
    assert sizes[0] >= sizes[1] >= sizes[2] == 0


@given(seed=st.integers(0, 1000), outputs=st.integers(1, 4))
@settings(deadline=None, max_examples=15)
def test_divergence_is_that_of_torch(seed: int, outputs: int) -> None:
    a, b = torch.randn((2, 5, outputs), generator=noise(seed), dtype=torch.float64)
    p, q = (torch.cat([z.new_zeros(5, 1), z], 1) if outputs == 1 else z for z in (a, b))
    expected = F.kl_div(q.log_softmax(1), p.log_softmax(1), reduction="none", log_target=True).sum(1)
    assert_close(divergence(a, b), expected)


def test_trades_without_its_term_is_plain() -> None:
    network, x, y = bound("normed")
    plain = Plain()(network, x, y, EPS, noise())
    assert_close(Trades(beta=0.0)(network, x, y, EPS, noise()), plain)
    assert float(Trades(beta=2.0)(network, x, y, EPS, noise())) > float(plain)
