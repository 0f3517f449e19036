"""Objectives and rules of steps, all that are registered: closed forms, formulas of the papers, and what cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import verify
from tests.lower.test_lower import dense, gain
from verify.errors import InputError
from verify.lower.engine.best import BestPoints
from verify.lower.engine.violation import Ascent, Tries
from verify.lower.objectives.base import AttackObjective, aimed
from verify.lower.objectives.smooth_maximum import SmoothMaximum
from verify.lower.rules.base import StepRule
from verify.lower.rules.halving import checkpoints
from verify.problem import Problem, robustness
from verify.registry import OBJECTIVES, STEP_RULES
from verify.sets import Ball
from verify.spec import Specification, margins
from verify.train.attack import Attack
from verify.train.losses import cross_entropy

ALL = -1


def climbed(given: Problem, rule: StepRule, objective: AttackObjective, steps: int, length: float = 2.0) -> BestPoints:
    """The best points of one climb from the nominal ones."""
    x = given.inputs.nominal()
    best, cases = BestPoints(x), torch.arange(given.cases)
    tries = Tries(cases, x, torch.full_like(cases, ALL), x.new_full((len(x),), length))
    Ascent(steps, rule, objective, stop_when_falsified=False).run(given, best, tries)
    return best


@pytest.mark.parametrize("name", STEP_RULES)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_every_rule_reaches_the_closed_form_of_a_linear_network(name: str, norm: str) -> None:
    network, x = dense(6, 2, dtype=torch.float64), torch.rand(3, 6, dtype=torch.float64)
    given = robustness(network, x, [0, 1, 0], "0.2", norm)
    best = climbed(given, STEP_RULES[name].load()(), SmoothMaximum(), 40)
    assert bool(given.inputs.contains(best.points).all())
    weight, bias = network.parameters["w0"], network.parameters["b0"]
    for i, label in enumerate([0, 1, 0]):
        a, b = weight[1 - label] - weight[label], bias[1 - label] - bias[label]
        exact = float(a @ x[i] + b) + gain(a, x[i], 0.2, norm, (0, 1))
        assert float(best.values[i]) == pytest.approx(exact, abs=2e-3 if name == "constant" else 1e-4)
        assert float(best.values[i]) <= exact + 1e-9


@pytest.mark.parametrize("name", STEP_RULES)
def test_rules_cross_what_is_flat_and_what_is_no_number(name: str) -> None:
    """A constant network, and one that overflows: members only, no crash."""
    flat = dense(3, 4, 2)
    flat.parameters["w1"].zero_()
    for given in (robustness(flat, torch.full((1, 3), 0.5), [0], "0.1"), robustness(flat, torch.rand(2, 3), [0, 1], 0)):
        best = climbed(given, STEP_RULES[name].load()(), SmoothMaximum(), 8)
        assert bool(given.inputs.contains(best.points).all())
        assert bool((best.values == given.violation(given.inputs.nominal())).all())
    flat.parameters["w1"].fill_(torch.nan)
    given = robustness(flat, torch.full((2, 3), 0.5), [0, 1], "0.1")
    assert climbed(given, STEP_RULES[name].load()(), SmoothMaximum(), 8).values.tolist() == [-torch.inf] * 2


def formula(name: str, h: Tensor, y: int, t: int | None) -> Tensor:
    """The objective of logits h as its paper writes it, of a label and a target."""
    z, others = h.sort(descending=True).values, torch.cat([h[:y], h[y + 1 :]])
    top = others.max() if t is None else h[t]
    if name in ("smooth", "margin"):
        return top - h[y]
    if name == "cross-entropy":
        whole = torch.nn.functional.cross_entropy(h[None], torch.tensor([y]))
        return whole if t is None else torch.nn.functional.softplus(h[t] - h[y])
    return (top - h[y]) / (z[0] - (z[2] if name == "dlr" else (z[2] + z[3]) / 2))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("target", [None, 3])
def test_objectives_are_those_of_the_papers(name: str, target: int | None) -> None:
    """Values, up to a monotone function for the cross-entropy; and gradients, up to a factor."""
    objective: AttackObjective = OBJECTIVES[name].load()()
    for seed in range(4):
        h = torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()
        y = seed % 3
        expected = formula(name, h, y, target)
        by_logits = torch.autograd.grad(expected, h)[0]  # 0 where the label is third and the ratio 1
        spec = margins(torch.tensor([y]), 6, dtype=torch.float64)
        wanted = aimed(spec, torch.tensor([ALL if target is None else target - 1]))  # the rows leave the label out
        with torch.no_grad():
            found = objective.slopes(spec, spec.values(torch.zeros(1, 1), h.detach()[None]), wanted, rest=0.0)
        value = torch.nn.functional.softplus(found.value) if name == "cross-entropy" else found.value
        torch.testing.assert_close(value[0], expected.detach())
        gradient = torch.einsum("r,ro->o", found.weights[0], spec.output[0])
        unit, expected = (a / a.norm().clamp(min=1e-9) for a in (gradient, by_logits))
        torch.testing.assert_close(unit, expected)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_of_conjunctions_ties_and_few_rows_have_finite_weights(name: str) -> None:
    objective: AttackObjective = OBJECTIVES[name].load()()
    rows = torch.tensor([[1.0, 2.0, 0.0, -5.0], [3.0, 3.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    disjunct = torch.tensor([[0, 0, 1, 1], [0, 1, 2, 2], [0, 0, 0, 0]])
    mask = torch.tensor([[True] * 4, [True, True, True, False], [True, False, False, False]])
    spec = Specification(torch.zeros(3, 4, 1), torch.zeros(3, 4), disjunct, mask)
    for aims in (torch.full((3,), ALL), torch.tensor([1, 2, 0])):
        found = objective.slopes(spec, rows, aimed(spec, aims), rest=0.5)
        assert bool(found.value.isfinite().all() and found.weights.isfinite().all())
        assert bool((found.weights[~mask] == 0).all())
        assert bool((found.weights.abs().sum(1) > 0).all())


def test_checkpoints_are_those_of_the_paper() -> None:
    """p_1 = 0.22, p_j+1 = p_j + max(p_j - p_j-1 - 0.03, 0.06)."""
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(checkpoints(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert all(0 < at <= steps and gap > 0 for steps in range(1, 40) for at, gap in checkpoints(steps).items())


@pytest.mark.parametrize("rule", STEP_RULES)
def test_training_steps_by_every_rule(rule: str) -> None:
    network, x, y = dense(5, 12, 3, seed=1), torch.rand(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    ball = Ball(x, "1/5")
    bad = Attack(steps=8, rule=rule).worst(lambda at: cross_entropy(network(at), y), ball, torch.Generator())
    assert bool(ball.contains(bad).all())
    assert float((cross_entropy(network(bad), y) - cross_entropy(network(x), y)).mean()) > 0.05
    with pytest.raises(InputError, match="choose one of constant"):
        Attack(rule="none")


def test_climbs_leave_the_middle_of_a_range() -> None:
    """Where both ends of `tolerance=` are equally near, their gradients cancel; the best corner of a linear network is
    known."""
    network = dense(3, 1)
    x = torch.tensor([[0.25, 0.5, 0.75]])
    problem = verify.robustness(network, x, None, eps="1/4", clip=None, tolerance="1/100")
    most = float(next(p for p in network.parameters.values() if p.dim() == 2).abs().sum()) / 4 - 0.01
    for method in (verify.FGSM(), verify.PGD(), verify.APGD(), verify.TargetedAPGD()):
        assert float(verify.solve(problem, method).lower) == pytest.approx(most, rel=1e-4), method.name
