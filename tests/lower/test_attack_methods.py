"""Attacks of the literature: what they reach on networks whose maximum is known, and what must not stop them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from verify.models import digits

import verify
from tests.lower.test_lower import dense, gain, problem, some_sets
from tests.lower.test_random_search import boxed, steps
from verify.errors import InputError
from verify.lower.square import square
from verify.method import Method
from verify.solving import solve
from verify.spec import margins

GRADIENT = {"apgd": verify.APGD(steps=60), "apgd-smooth": verify.APGD("smooth", 60), "apgd-dlr": verify.APGD("dlr", 60),
            "apgd-t": verify.TargetedAPGD(steps=60)}
METHODS = {**GRADIENT, "square": verify.Square(300)}
SHORT = {**METHODS, "square": verify.Square(40), "fab": verify.FAB(steps=8),
         "autoattack": verify.AutoAttack(steps=6, evaluations=20)}


def for_value(method: Method) -> Method:
    return replace(method, stop_when_falsified=False)  # pyright: ignore


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_linear_networks_reach_the_closed_form(name: str, norm: str) -> None:
    network, eps = dense(6, 2, dtype=torch.float64), 0.2
    x, y = torch.rand(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.tensor([0, 1, 0])
    weight, bias = network.parameters["w0"], network.parameters["b0"]
    found = solve(robust := verify.robustness(network, x, y, "0.2", norm), for_value(METHODS[name]))
    assert found.witness is not None
    assert bool(robust.inputs.contains(found.witness).all())
    for i, label in enumerate(y.tolist()):
        a, b = weight[1 - label] - weight[label], bias[1 - label] - bias[label]
        exact = float(a @ x[i] + b) + gain(a, x[i], eps, norm, (0, 1))
        near = 1e-4 if name in GRADIENT else 1e-9 if norm == "linf" else 0.2
        assert exact - near <= float(found.lower[i]) <= exact + 1e-9


@pytest.mark.parametrize("name", SHORT)
def test_witnesses_are_members_and_no_worse_than_the_nominal_points_of_any_set(name: str) -> None:
    network, spec = dense(6, 12, 4, seed=3), margins(torch.tensor([0, 1, 2]), 4)
    for inputs in some_sets(3, 6, torch.float32):
        given = problem(network, inputs, spec)
        found = solve(given, replace(SHORT[name], **{"square": {"evaluations": 40}}.get(name, {"steps": 10})))  # pyright: ignore
        assert found.witness is not None
        assert bool(inputs.contains(found.witness).all())
        assert bool((found.lower >= given.violation(inputs.nominal()) - 1e-6).all())


@pytest.mark.parametrize("name", SHORT)
def test_what_is_flat_no_number_or_a_single_point_stops_nobody(name: str) -> None:
    for weight in (None, 0.0, 3e38):
        network = dense(3, 4, 3)
        if weight is not None:
            network.parameters["w1"].fill_(weight)
            network.parameters["b0"].fill_(4)  # inf - inf where the weights are that large
        given = verify.robustness(network, torch.full((1, 3), 0.5), [0], 0 if weight is None else "0.1")
        found = solve(given, SHORT[name]).lower
        assert not bool(found.isnan())
        if weight != 3e38:
            assert float(found) == pytest.approx(float(given.violation(given.inputs.nominal())), abs=1e-6)
        else:
            assert bool(given.violation(given.inputs.nominal()).isnan())


def test_apgd_is_no_worse_than_pgd_with_as_many_gradients() -> None:
    """On average over samples and norms, of a network that is hard to attack in few steps."""
    x, y = digits()
    network, gained = verify.load("digits-dense-adversarial"), []
    for norm, eps in (("linf", "1/10"), ("l2", "1/2")):
        given = verify.robustness(network, x[:40], y[:40], eps=eps, norm=norm)
        pgd = solve(given, verify.PGD(40, stop_when_falsified=False)).lower
        gained.append(solve(given, verify.APGD("smooth", 40, stop_when_falsified=False)).lower - pgd)
    assert float(torch.stack(gained).mean()) >= -1e-3


def test_square_climbs_where_gradients_are_zero() -> None:
    given = boxed(steps(*[0.75] * 8), (torch.zeros(8), torch.ones(8)))
    assert solve(given, verify.APGD()).verdicts == ["unknown"]
    assert solve(given, verify.Square(2000)).verdicts == ["falsified"]


def test_squares_have_the_sides_that_are_asked_for() -> None:
    noise = torch.Generator().manual_seed(0)
    for share in (1.0, 0.5, 0.1, 1e-6):
        mask = square((3, 8, 6), share, noise)
        side = max(1, round((share * 48) ** 0.5))
        assert int(mask.sum()) == 3 * min(side, 8) * min(side, 6)
        assert bool((mask == mask[:1]).all())
    assert int(square((10,), 0.25, noise).sum()) == 3


def test_settings_out_of_range_are_refused() -> None:
    for make in (lambda: verify.APGD(steps=0), lambda: verify.TargetedAPGD(targets=0), lambda: verify.Square(share=2.0),
                 lambda: verify.Square(evaluations=0), lambda: verify.APGD("hinge"), lambda: verify.APGD(seed=1.5)):  # pyright: ignore
        with pytest.raises(InputError, match=r"must be|choose one of"):
            make()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fab_crosses_the_boundary_of_a_linear_network_just_where_it_is(norm: str) -> None:
    """The distance of x from the boundary is its margin over the dual norm of the gradient; nothing is below it."""
    network, x = dense(6, 2, seed=2, dtype=torch.float64), torch.rand(4, 6, dtype=torch.float64)
    label = network(x).argmax(1)
    weight = network.parameters["w0"][0] - network.parameters["w0"][1]
    dual = weight.norm(p={"linf": 1, "l2": 2, "l1": torch.inf}[norm])
    margin = (network(x)[:, 0] - network(x)[:, 1]).abs()
    for share, verdict in ((1.002, "falsified"), (0.999, "unknown")):
        for i in range(4):
            eps = float(share * margin[i] / dual)
            given = verify.robustness(network, x[i : i + 1], label[i : i + 1], eps, norm, clip=None)
            assert solve(given, verify.FAB(steps=10)).verdicts == [verdict]


def test_autoattack_falsifies_what_any_of_its_attacks_does() -> None:
    x, y = digits()
    given = verify.robustness(verify.load("digits-dense-adversarial"), x[:25], y[:25], eps="1/10")
    method = verify.AutoAttack(steps=10, evaluations=30)
    falsified = solve(given, method).lower >= 0
    assert 0 < int(falsified.sum()) < 25
    for attack in method.attacks:
        assert bool((falsified | (solve(given, attack).lower < 0)).all()), attack.name
