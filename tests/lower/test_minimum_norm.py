"""Minimum-norm attacks: closed forms on linear networks, distances that are no proof of less, replay, feeding radii."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import nn
from verify.models import digits

import verify
from tests.lower.test_lower import dense
from verify.errors import InputError
from verify.lower.engine.nearest import MinimumNorm
from verify.registry import METHODS
from verify.runs.attack.distance import distances

SHORT: dict[str, MinimumNorm] = {
    "fmn": verify.FMN(60), "ddn": verify.DDN(60), "deepfool": verify.DeepFool(10), "cw": verify.CarliniWagner(80, 8),
    "sigmazero": verify.SigmaZero(80),
    "ead": verify.EAD(80, 8), "bisection": verify.Bisection(10), "hopskipjump": verify.HopSkipJump(12, 40),
}
NEAR = {  # how far above the minimal distance, relative
    "fmn": 1e-3, "deepfool": 1e-3, "ddn": 5e-2, "cw": 5e-2, "ead": 0.15, "hopskipjump": 0.3,
}
ONLY = {"ddn": ["l2"], "cw": ["l2"], "ead": ["l1"], "hopskipjump": ["l2", "linf"]}


def test_every_minimum_norm_attack_is_here() -> None:
    assert {name for name, entry in METHODS.items() if issubclass(entry.load(), MinimumNorm)} == SHORT.keys()


@pytest.mark.parametrize(("name", "norm"), [
    (name, norm) for name in NEAR for norm in ONLY.get(name, ["linf", "l2", "l1"])])
def test_the_distance_to_a_linear_boundary_is_its_closed_form(name: str, norm: str) -> None:
    """Margin over the dual norm of the gradient; nothing is nearer."""
    network = dense(6, 2, seed=2, dtype=torch.float64)
    x = torch.rand((4, 6), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = network.parameters["w0"][0] - network.parameters["w0"][1]
    dual = weight.norm(p={"linf": 1, "l2": 2, "l1": torch.inf}[norm])
    exact = (network(x)[:, 0] - network(x)[:, 1]).abs() / dual
    found = verify.distance(network, x, network(x).argmax(1), norm=norm, clip=(-2, 3), method=SHORT[name])
    assert bool((found.distance >= exact * (1 - 1e-12)).all())
    assert bool((found.distance <= exact * (1 + NEAR[name])).all())


@pytest.mark.parametrize("name", ["sigmazero", "fmn", "deepfool"])
def test_as_few_coordinates_change_as_cross_a_linear_boundary(name: str) -> None:
    """The least number whose largest gains within the clip add up to the margin."""
    network, noise = dense(12, 2, seed=2, dtype=torch.float64), torch.Generator().manual_seed(1)
    x = torch.rand((20, 12), generator=noise, dtype=torch.float64)
    y, weight = network(x).argmax(1), network.parameters["w0"][1] - network.parameters["w0"][0]
    away = weight * (1 - 2 * y.double())[:, None]
    gains = torch.where(away > 0, away * (1 - x), -away * x).sort(descending=True).values.cumsum(1)
    margin = (network(x)[:, 0] - network(x)[:, 1]).abs()
    exact = 1.0 + (gains < margin[:, None]).sum(1)
    found = verify.distance(network, x, y, norm="l0", method=SHORT[name])
    reached = exact <= 12
    assert int(reached.sum()) >= 10
    assert len(exact[reached].unique()) >= 3
    assert bool((found.distance >= exact).all())
    assert int((found.distance == exact)[reached].sum()) >= 0.8 * int(reached.sum())
    changed = (found.points != x).sum(1).double()
    assert torch.equal(found.distance[found.found], changed[found.found])


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_points_fool_the_model_at_the_distance_that_is_told(name: str, norm: str) -> None:
    x, y = digits()
    network, x, y = verify.load("digits-dense-adversarial"), x[:6], y[:6].clone()
    y[0] = (y[0] + 1) % 10
    found = verify.distance(network, x, y, norm=norm, method=SHORT[name])
    assert bool(found.found.all())
    assert found.distance[0] == 0
    assert torch.equal(found.points[0], x[0])
    assert bool((network(found.points).argmax(1) != y)[1:].all())
    assert float(found.points.min()) >= 0
    assert float(found.points.max()) <= 1
    for point, sample, far in zip(found.points, x, found.distance.tolist(), strict=True):
        away = [abs(Fraction(a) - Fraction(b)) for a, b in zip(point.ravel().tolist(), sample.ravel().tolist(),
                                                               strict=True)]
        size = max(away) if norm == "linf" else sum(away) if norm == "l1" else sum(d * d for d in away)
        assert size <= (Fraction(far) ** 2 if norm == "l2" else Fraction(far))
    certified = verify.robustness(network, x[1:], y[1:], "1/50", norm)
    robust = verify.solve(certified, verify.CROWN()).upper < 0
    assert int(robust.sum()) >= 2
    assert bool((found.distance[1:][robust] > 0.02).all())


@pytest.mark.parametrize("name", SHORT)
def test_constant_networks_flat_ones_and_no_numbers_stop_nobody(name: str) -> None:
    x = torch.rand(3, 4)
    for weight in (0.0, torch.nan):
        model = nn.Linear(4, 3)
        with torch.no_grad():
            model.weight.fill_(weight)
            model.bias.copy_(torch.tensor([1.0, 0.0, 0.5]))
        found = verify.distance(model, x, [0, 0, 1], method=SHORT[name])
        assert found.distance.tolist() == [torch.inf, torch.inf, 0.0 if weight == 0 else torch.inf]
        assert torch.equal(found.points, x)
    for eps in (0, "1/10"):
        given = verify.robustness(dense(4, 5, 3), x[:1], [0], eps)
        lower = verify.solve(given, SHORT[name]).lower
        assert bool((lower >= given.violation(x[:1]) - 1e-6).all())


def test_restarts_aim_at_classes_and_find_no_less() -> None:
    x, y = digits()
    network, x, y = verify.load("digits-dense-adversarial"), x[:20], y[:20]
    once, often = (verify.distance(network, x, y, method=verify.FMN(40, restarts)) for restarts in (1, 5))
    assert float(often.distance.mean()) < 0.98 * float(once.distance.mean())


def test_decisions_alone_reach_what_has_no_gradient() -> None:
    class Steps(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = (8 * x).floor().sum(1, keepdim=True)
            return torch.cat([total, torch.full_like(total, 4.5)], 1)

    x = torch.full((2, 2), 0.5) + 0.01
    assert not bool(verify.distance(Steps(), x, [0, 0], method=verify.FMN()).found.any())
    found = verify.distance(Steps(), x, [0, 0], norm="l2", method=verify.HopSkipJump(10, 30))
    assert bool(found.found.all())
    assert float(found.distance.max()) <= 0.3  # each below 3/8: 4 + 4 becomes 2 + 2 or 4 + 0


def test_distances_are_rounded_up() -> None:
    x = torch.rand((50, 30), generator=torch.Generator().manual_seed(0))
    given = verify.robustness(dense(30, 3), x, torch.zeros(50, dtype=torch.long), 9, "l1", clip=None)
    points = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for far, a, b in zip(distances(given, points).tolist(), points, x, strict=True):
        exact = sum(abs(Fraction(u) - Fraction(v)) for u, v in zip(a.tolist(), b.tolist(), strict=True))
        assert exact <= Fraction(far) <= exact * (1 + Fraction(1, 10**12))


def test_what_does_not_fit_is_told() -> None:
    network, x = dense(3, 2), torch.rand(1, 3)
    with pytest.raises(InputError, match="takes a minimum-norm attack"):
        verify.distance(network, x, [0], method=verify.PGD())  # pyright: ignore
    with pytest.raises(InputError, match="without a clip every distance is possible"):
        verify.distance(network, x, [0], clip=None)
    assert verify.distance(network, x, [0], clip=None, most=1).points.shape == x.shape
    for make in (lambda: verify.FMN(0), lambda: verify.DDN(change=0.0), lambda: verify.DeepFool(overshoot=-1.0),
                 lambda: verify.CarliniWagner(searches=0), lambda: verify.HopSkipJump(evaluations=0),
                 lambda: verify.Bisection(starts=0), lambda: verify.SigmaZero(sigma=0.0)):
        with pytest.raises(InputError, match="must be"):
            make()


@pytest.mark.parametrize("name", SHORT)
def test_an_attack_fools_in_the_ball_whatever_is_nearer_by_the_distance(name: str) -> None:
    """Also at a radius that is barely larger than a distance, where points lie on the boundary."""
    x, y = digits()
    network, x, y = verify.load("digits-dense-adversarial"), x[:12], y[:12]
    method, norm = SHORT[name], ONLY.get(name, ["linf"])[0]
    method = replace(method, searches=5) if isinstance(method, verify.CarliniWagner | verify.EAD) else method
    far = verify.distance(network, x, y, norm=norm, method=method).distance
    eps = float(far.sort().values[7]) * (1 + 1e-6)
    assert int((far < eps).sum()) == 8
    assert bool(verify.attack(network, x, y, eps=eps, norm=norm, method=method).fooled[far < eps].all())
