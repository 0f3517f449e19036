"""The shell around the methods: what it takes, what it believes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
from torch import nn

import verify
from tests.support.nets import seeded
from verify.method import Answer
from verify.problem import Problem


def problem_of(seed: int, eps: str = "1/10") -> Problem:
    net = verify.trace(seeded(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), seed), torch.zeros(1, 4))
    x = torch.rand((5, 4), generator=torch.Generator().manual_seed(seed))
    return verify.robustness(net, x, net(x).argmax(1), eps=eps)


@dataclass(frozen=True)
class Fake:
    """A method that claims what it is told to."""

    claimed: Answer

    @property
    def name(self) -> str:
        return "fake"

    def answer(self, problem: Problem) -> Answer:
        return self.claimed


@pytest.mark.parametrize("method", ["crown", verify.CROWN, None, 3])
def test_only_a_methods_value_is_taken(method: Any) -> None:
    with pytest.raises(verify.InputError, match=r"verify.CROWN\(\)"):
        verify.solve(problem_of(0), method)
    with pytest.raises(verify.InputError, match=r"verify\.robustness"):
        verify.solve(cast("Problem", problem_of(0).network), verify.CROWN())


def test_points_outside_the_set_are_projected_before_they_count() -> None:
    problem = problem_of(1)
    far = torch.full((5, 4), 9.0)
    bracket = verify.solve(problem, Fake(Answer(points=far)))
    assert bracket.witness is not None
    assert bool(problem.inputs.contains(bracket.witness).all())
    assert torch.allclose(bracket.lower, problem.violation(bracket.witness), atol=1e-6)


def test_nan_bounds_and_nan_points_decide_nothing() -> None:
    problem = problem_of(2)
    nan = torch.full((5,), torch.nan)
    bracket = verify.solve(problem, Fake(Answer(upper=nan, points=torch.full((5, 4), torch.nan))))
    assert set(bracket.verdicts) == {verify.Verdict.UNKNOWN}
    assert bool((bracket.upper == torch.inf).all())


def test_a_bound_below_a_found_point_is_a_contradiction_with_a_bundle() -> None:
    problem = problem_of(3)
    with pytest.raises(verify.Contradiction) as crossing:
        verify.solve(problem, Fake(Answer(upper=torch.full((5,), -1e3), points=problem.inputs.low)))
    assert crossing.value.bundle["problem"] is problem


def test_float64_bounds_are_rounded_up() -> None:
    upper = torch.full((5,), 1 / 3, dtype=torch.float64)
    bracket = verify.solve(problem_of(4), Fake(Answer(upper=upper)))
    assert bool((bracket.upper.double() >= upper).all())
    assert bool((bracket.upper.double() - upper < 1e-7).all())


def test_a_network_is_read_once_and_searched_merged() -> None:
    module = seeded(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)), 5)
    net = verify.trace(module, torch.zeros(1, 1, 4, 4))
    x = torch.rand((2, 1, 4, 4), generator=torch.Generator().manual_seed(5))
    problem = verify.robustness(net, x, [0, 1], eps="1/50")
    assert len(problem.merged.network.graph.nodes) < len(net.graph.nodes)
    assert problem.merged.network.unmerged is net
    attack, bound = verify.solve(problem, verify.PGD()), verify.solve(problem, verify.CROWN())
    attack.meet(bound)


def test_brackets_of_different_problems_do_not_meet() -> None:
    """An attack at a large radius goes beyond a bound at a small one, which contradicts nothing; and where it does not,
    the smaller bound would be taken for one of the larger set."""
    near, far, other = problem_of(6, "1/100"), problem_of(6, "1/2"), problem_of(7, "1/100")
    x, net = near.inputs.nominal(), near.network
    labels = net(x).argmax(1)
    same = [problem_of(6, "1/100"), verify.robustness(net, x, labels, eps=0.01), near.merged]
    next_label = (labels + 1) % 3
    different = [far, other, verify.robustness(net, x, labels, "1/100", "l2"),
                 verify.robustness(net, x, labels, "1/100", clip=None), verify.robustness(net, x, next_label, "1/100"),
                 verify.robustness(net, x, labels, "1/100", target=next_label)]
    bound = verify.solve(near, verify.CROWN())
    for problem in same:
        assert bound.meet(verify.solve(problem, verify.FGSM())).verdicts == bound.verdicts
    for problem in different:
        attack = verify.solve(problem, verify.FGSM())
        with pytest.raises(verify.InputError, match="different problems"):
            bound.meet(attack)
        with pytest.raises(verify.InputError, match=r"different problems \(at place 0"):
            attack.select(3).meet(bound.select(3))
    part = verify.solve(near.select(torch.tensor([4, 2])), verify.FGSM())
    assert part.select(1).meet(bound.select(2)).marks == bound.select(2).marks
    with pytest.raises(verify.InputError, match="different problems"):
        part.select(1).meet(bound.select(3))
