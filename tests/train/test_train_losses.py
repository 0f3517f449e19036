"""Losses: closed forms, ends of their scales, and the order between attacks, sampled points and bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tests.support.training import THREATS, bound, images, noise
from verify.errors import InputError, UnsupportedMethod
from verify.ir.graph import BoundGraph
from verify.train.attack import Attack
from verify.train.losses import (
    CC,
    LOSSES,
    MTL,
    SABR,
    CrownIBP,
    DualLoss,
    ExpIBP,
    FusedCrownIBP,
    IntervalLoss,
    Plain,
    Threat,
    cross_entropy,
    weight_penalty,
)
from verify.train.losses.adversarial import attacked
from verify.train.losses.base import margin_loss, margin_rows, margins_of

NETS = ["normed", "residual", "one"]
EPS = 0.08


def points(threat: Threat, x: Tensor, eps: float, count: int = 60) -> Tensor:
    """Members of the balls, (count, batch, *shape): half of them far out."""
    ball = threat.ball(x, eps)
    moves = torch.randn((count, *x.shape), generator=noise(9), dtype=x.dtype)
    return torch.stack([ball.maximiser(a) if k % 2 else ball.project(x + eps * a) for k, a in enumerate(moves)])


def worst_seen(network: BoundGraph, x: Tensor, y: Tensor, threat: Threat, eps: float) -> float:
    """Mean over the batch of the largest cross-entropy at sampled and at attacked points."""
    losses = [cross_entropy(network(at), y) for at in points(threat, x, eps)]
    bad = Attack(steps=20, restarts=2).worst(lambda at: cross_entropy(network(at), y), threat.ball(x, eps), noise())
    return float(torch.stack([*losses, cross_entropy(network(bad), y)]).amax(0).mean())


# ---- cross-entropy, margins, penalty ----


@given(seed=st.integers(0, 10_000), outputs=st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_cross_entropy_in_margins(seed: int, outputs: int) -> None:
    logits = 5 * torch.randn((7, outputs), generator=noise(seed), dtype=torch.float64)
    y = torch.randint(0, max(2, outputs), (7,), generator=noise(seed))
    margins = margins_of(logits, y)
    for k, row in enumerate(logits.tolist()):
        scores = [0.0, *row] if outputs == 1 else row
        others = [v - scores[int(y[k])] for j, v in enumerate(scores) if j != int(y[k])]
        assert sorted(margins[k].tolist()) == pytest.approx(sorted(others))
        assert float(cross_entropy(logits, y)[k]) == pytest.approx(math.log(1 + sum(map(math.exp, others))))
    assert_close(margin_loss(margins), cross_entropy(logits, y))
    assert_close(torch.einsum("bro,bo->br", margin_rows(y, outputs, logits), logits), margins)


def test_two_classes_of_one_logit_have_the_binary_cross_entropy() -> None:
    network, x, y = bound("one")
    logits = network(x)
    expected = F.binary_cross_entropy(torch.sigmoid(logits[:, 0]), y.double())
    assert_close(Plain()(network, x, y, EPS, noise()), expected)
    for name, kind in LOSSES.items():
        if name not in ("noisy", "dual"):
            assert_close(kind()(network, x, y, 0.0, noise()), expected, msg=f"{name} at radius 0")


@pytest.mark.parametrize("net", ["normed", "residual"])
@pytest.mark.parametrize("name", LOSSES)
def test_at_radius_zero_every_loss_is_the_plain_one(name: str, net: str) -> None:
    network, x, y = bound(net)
    assert_close(LOSSES[name]()(network, x, y, 0.0, noise()), Plain()(network, x, y, 0.0, noise()))


@pytest.mark.parametrize(("norm", "value"), [("l1", 10.0), ("l2", 30.0**0.5), ("linf", 4.0)])
def test_the_penalty_is_the_norm_of_all_weights_together(norm: str, value: float) -> None:
    weights = [torch.tensor([[1.0, -2.0]]), torch.tensor([3.0]), torch.tensor([[-4.0]])]
    assert float(weight_penalty(weights, norm)) == pytest.approx(value)


# ---- from bounds ----


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("net", ["normed", "residual", "one", "pooled"])
def test_bounds_are_above_all_points_and_in_order(net: str, threat: Threat) -> None:
    network, x, y = bound(net)
    gaps = []
    for eps in (0.01, EPS):
        seen = worst_seen(network, x, y, threat, eps)
        interval, crown, fused = (
            float(kind(threat=threat)(network, x, y, eps, noise())) for kind in (IntervalLoss, CrownIBP, FusedCrownIBP)
        )
        half = float(CrownIBP(share=0.5, threat=threat)(network, x, y, eps, noise()))
        assert seen <= min(interval, crown, fused) + 1e-9
        assert fused <= interval + 1e-9
        assert half <= max(interval, crown) + 1e-9
        gaps.append((interval - seen, crown - seen, fused - seen))
    assert all(0 <= small < large < 20 for small, large in zip(*gaps, strict=True))


def test_the_merged_last_layer_is_not_looser_than_boxes_of_the_logits() -> None:
    network, x, y = bound("normed")
    from verify.train.losses.certified import boxes_over

    box = boxes_over(network, Threat().ball(x, EPS))[network.graph.output]
    worst = box.high.scatter(1, y[:, None], box.low.gather(1, y[:, None]))
    assert float(IntervalLoss()(network, x, y, EPS, noise())) <= float(F.cross_entropy(worst, y))


@pytest.mark.parametrize("kind", [IntervalLoss, CrownIBP, FusedCrownIBP, DualLoss])
def test_the_clean_term_is_mixed_in(kind: type) -> None:
    network, x, y = bound("residual")
    ends = [kind(clean=clean)(network, x, y, EPS, noise()) for clean in (0.0, 1.0, 0.3)]
    assert_close(ends[1], Plain()(network, x, y, EPS, noise()))
    assert_close(ends[2], 0.7 * ends[0] + 0.3 * ends[1])


def test_the_share_of_crown_ibp_ends_at_interval_bounds() -> None:
    network, x, y = bound("residual")
    interval = IntervalLoss()(network, x, y, EPS, noise())
    assert_close(CrownIBP(share=0.0)(network, x, y, EPS, noise()), interval)


@pytest.mark.parametrize("net", NETS)
def test_sabr_grows_from_the_attack_to_interval_bounds(net: str) -> None:
    network, x, y = bound(net)
    found = [float(SABR(s, Attack(steps=20))(network, x, y, EPS, noise())) for s in (1e-6, 0.1, 0.5, 1.0)]
    assert found[-1] == pytest.approx(float(IntervalLoss()(network, x, y, EPS, noise())))
    attack = cross_entropy(network(attacked(network, x, y, Attack(steps=20), Threat().ball(x, EPS), noise())), y)
    assert found[0] == pytest.approx(float(attack.mean()), rel=1e-3)
    assert found == sorted(found)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_expressive_losses_go_from_the_attack_to_the_bound(net: str, threat: Threat) -> None:
    """And CC and ExpIBP lie below MTL (De Palma et al. 2024): the loss is convex in the margins, means are ordered."""
    network, x, y = bound(net)
    bad = attacked(network, x, y, Attack(steps=1, step=2.5), threat.ball(x, EPS), noise(7))
    lowest = float(cross_entropy(network(bad), y).mean())
    highest = float(IntervalLoss(threat=threat)(network, x, y, EPS, noise()))
    values: dict[type, list[float]] = {}
    for kind in (MTL, CC, ExpIBP):
        values[kind] = [float(kind(a, threat=threat)(network, x, y, EPS, noise(7))) for a in (0, 0.01, 0.3, 0.9, 1)]
        assert values[kind][0] == pytest.approx(lowest)
        assert values[kind][-1] == pytest.approx(highest)
        assert values[kind] == sorted(values[kind])
    assert all(a <= b + 1e-12 for kind in (CC, ExpIBP) for a, b in zip(values[kind], values[MTL], strict=True))


def test_the_reach_moves_the_attack_alone() -> None:
    network, x, y = bound("normed")
    far = MTL(alpha=0.0, reach=2.0)(network, x, y, EPS, noise(7))
    bad = attacked(network, x, y, Attack(steps=1, step=2.5), Threat().ball(x, 2 * EPS), noise(7))
    assert_close(far, cross_entropy(network(bad), y).mean())
    assert_close(MTL(alpha=1.0, reach=2.0)(network, x, y, EPS, noise()), IntervalLoss()(network, x, y, EPS, noise()))


BAD: list[tuple[Any, str]] = [
    (lambda: SABR(shrink=0.0), "shrink=0.0"), (lambda: SABR(shrink=1.5), "shrink=1.5"),
    (lambda: DualLoss(vectors=0), "vectors=0"), (lambda: Attack(steps=0), "steps=0"),
    (lambda: Attack(restarts=0), "restarts=0"), (lambda: Attack(step=0.0), "step=0.0"),
    (lambda: Attack(penalty=-1.0), "penalty=-1.0"), (lambda: Attack(penalty_norm="l3"), "'l3'"),
]


@pytest.mark.parametrize(("build", "message"), BAD, ids=[m for _, m in BAD])
def test_values_out_of_range_are_refused(build: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


def test_what_a_loss_cannot_do_is_refused() -> None:
    network, x, y = bound("normed")
    with pytest.raises(InputError, match="SABR is made for linf balls, not l2"):
        SABR(threat=Threat("l2"))(network, x, y, EPS, noise())
    with pytest.raises(InputError, match="no random projection"):
        DualLoss(threat=Threat("l1"))(network, x, y, EPS, noise())
    with pytest.raises(UnsupportedMethod, match="Max reads several values at once"):
        DualLoss()(*bound("pooled"), EPS, noise())
    with pytest.raises(InputError, match="outside the clip"):
        IntervalLoss()(network, images(5, 4)[0] + 1, y, EPS, noise())
