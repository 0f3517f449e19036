"""One logit, a sigmoid's probability and regressors: what is asked of the outputs, against grids of points."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import verify
from verify.goals import default_threshold, goal_of, ranges, sides
from verify.rationals import exact_array
from verify.rows import Row, violation

rationals = st.fractions(-3, 3, max_denominator=97)
GRID = torch.cartesian_prod(*[torch.linspace(-1, 1, 41)] * 2)
EPS = "1/20"


def net(*last: nn.Module, outputs: int = 1) -> nn.Sequential:
    """A small network of these last layers, whose outputs have both signs around the samples."""
    torch.manual_seed(3)
    first, second = nn.Linear(2, 12), nn.Linear(12, outputs)
    body = nn.Sequential(first, nn.ReLU(), second)
    with torch.no_grad():
        first.weight *= 2
        second.weight *= 4
        second.bias -= body(points()).median(0).values + 0.01  # no sample has a tie
    return nn.Sequential(*body, *last).eval()


def points() -> Tensor:
    return torch.rand(16, 2, generator=torch.Generator().manual_seed(5))


def around_points(x: Tensor, eps: float = 1 / 20) -> Tensor:
    """(samples, grid points, 2)."""
    return (x[:, None] + eps * GRID).clamp(0, 1)


def answers(problem: verify.Problem) -> list[str]:
    """The verdict of each sample, by branch and bound where bounds and an attack leave it open."""
    bracket = verify.solve(problem, verify.CROWN()).meet(verify.solve(problem, verify.PGD()))
    found = [str(verdict) for verdict in bracket.verdicts]
    for k in [k for k, verdict in enumerate(found) if verdict == "unknown"]:
        part = problem.select(torch.tensor([k]))
        found[k] = str(verify.solve(part, verify.BranchAndBound(time_limit=20)).verdicts[0])
    return found


def test_the_sign_of_a_logit_and_the_half_of_a_probability() -> None:
    for last in ((), (nn.Sigmoid(),)):
        module, x = net(*last), points()
        middle = 0.5 if last else 0.0
        with torch.no_grad():
            labels = (module(x)[:, 0] > middle).long()
            stays = ((module(around_points(x))[..., 0] > middle).long() == labels[:, None]).all(1)
        assert 0 < int(stays.sum()) < len(x)
        problem = verify.robustness(verify.trace(module, x[:1]), x, labels, EPS)
        verdicts = answers(problem)
        for verdict, holds in zip(verdicts, stays.tolist(), strict=True):
            assert verdict in ("unknown", "verified" if holds else "falsified")
        assert verdicts.count("unknown") <= len(last)


def test_a_tie_with_the_threshold_is_wrong_for_both_classes() -> None:
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(1)
        module.bias.fill_(0)
    network = verify.trace(module, torch.zeros(1, 1))
    x = torch.tensor([[0.25], [0.25], [0.5], [0.0]])
    problem = verify.robustness(network, x, [0, 1, 1, 0], 0, threshold="1/4")
    assert problem.violation(x).tolist() == [0, 0, -0.25, -0.25]


@given(st.integers(0, 1), rationals, st.floats(-3, 3, width=32))
def test_sides_say_the_exact_threshold(label: int, threshold: Fraction, y: float) -> None:
    spec = sides(torch.tensor([label]), threshold)
    exact = threshold - Fraction(y) if label else Fraction(y) - threshold
    assert violation(spec.disjuncts_of(0), [], [Fraction(y)], [Fraction(y)]) == (exact, exact)
    assert float(spec.output[0, 0, 0]) * y - float(spec.offset[0, 0]) >= exact - Fraction(1, 10**9)


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=3), st.one_of(st.none(), rationals), rationals)
def test_ranges_say_the_exact_ends(origin: list[float], low: Fraction | None, high: Fraction) -> None:
    spec = ranges(torch.tensor([origin]), low, high)
    ends = [(k, 1, Fraction(v) + high) for k, v in enumerate(origin)]
    ends += [(k, -1, -Fraction(v) - low) for k, v in enumerate(origin) if low is not None]
    expected = [(Row(((k, Fraction(sign)),), (), end),) for k, sign, end in ends]
    assert [tuple(disjunct) for disjunct in spec.disjuncts_of(0)] == expected
    for (k, sign, end), row, said in zip(ends, spec.output[0].tolist(), spec.offset[0].tolist(), strict=True):
        assert row == [sign * (entry == k) for entry in range(len(origin))]
        assert 0 <= end - Fraction(said) < Fraction(1, 10**6)


def test_what_the_last_operators_say_of_one_output() -> None:
    x = torch.rand(1, 2)
    scaled = nn.Linear(1, 1)
    known: list[tuple[tuple[nn.Module, ...], Fraction]] = [
        ((), Fraction(0)), ((nn.Flatten(0),), Fraction(0)), ((scaled,), Fraction(0)), ((nn.Sigmoid(),), Fraction(1, 2)),
    ]
    for last, threshold in known:
        assert default_threshold(verify.trace(net(*last), x)) == threshold
    for other in ((nn.Sigmoid(), scaled), (nn.Tanh(),), (nn.ReLU(),), (nn.Hardtanh(0, 1),)):
        with pytest.raises(verify.InputError, match="neither a logit nor a sigmoid's probability; say above which"):
            default_threshold(verify.trace(net(*other), x))


class Chosen(nn.Module):
    """One of two probabilities, and their sum, which is none."""

    def __init__(self, how: Callable[[Tensor], Tensor]):
        super().__init__()
        self.body, self.how = net(nn.Sigmoid(), outputs=2), how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.body(x))


def test_a_probability_that_is_picked_stays_one_and_a_sum_does_not() -> None:
    x = torch.rand(1, 2)
    assert default_threshold(verify.trace(Chosen(lambda p: p[:, 1:]), x)) == Fraction(1, 2)
    for how in (lambda p: p.sum(1, keepdim=True), lambda p: 1 - p[:, :1]):
        with pytest.raises(verify.InputError, match="neither a logit"):
            default_threshold(verify.trace(Chosen(how), x))


@pytest.mark.parametrize("outputs", [1, 3])
def test_outputs_stay_near_their_nominal_values(outputs: int) -> None:
    module, x = net(outputs=outputs), points()
    network = verify.trace(module, x[:1])
    with torch.no_grad():
        nominal = module(x)
        moved = (module(around_points(x)) - nominal[:, None]).abs().amax((1, 2))
    tolerance = float(moved.median())
    verdicts = answers(verify.robustness(network, x, None, EPS, tolerance=tolerance))
    for verdict, distance in zip(verdicts, moved.tolist(), strict=True):
        if abs(distance - tolerance) > 0.02 * tolerance:
            assert verdict == ("falsified" if distance > tolerance else "verified")
    assert {"falsified", "verified"} <= set(verdicts)


def test_the_rows_of_a_tolerance_are_those_of_the_exact_nominal_value() -> None:
    module, x = net(outputs=2), points()[:1]
    network = verify.trace(module, x)
    problem = verify.robustness(network, x, None, EPS, tolerance="0.1")
    nominal = exact_array(network(x).detach())[0]
    for shift in (Fraction(0), Fraction(99, 1000), Fraction(-99, 1000)):
        y = [nominal[0] + shift, nominal[1]]
        low, high = violation(problem.spec.disjuncts_of(0), [Fraction(0)] * 2, y, y)
        assert low == high
        assert low == abs(shift) - Fraction(1, 10)


@pytest.mark.parametrize("bounds", [("-1/10", "1/10"), (None, "1/10"), ("-1/10", None)])
def test_outputs_stay_between_bounds(bounds: tuple[str | None, str | None]) -> None:
    module, x = net(outputs=2), points()
    with torch.no_grad():
        reached = module(around_points(x))
    low, high = (-torch.inf if bounds[0] is None else -0.1), (torch.inf if bounds[1] is None else 0.1)
    holds = ((reached > low) & (reached < high)).flatten(1).all(1).tolist()
    near = ((reached - low).abs().flatten(1).amin(1) < 1e-3) | ((reached - high).abs().flatten(1).amin(1) < 1e-3)
    verdicts = answers(verify.robustness(verify.trace(module, x[:1]), x, None, EPS, bounds=bounds))
    for verdict, good, close in zip(verdicts, holds, near.tolist(), strict=True):
        assert close or verdict == ("verified" if good else "falsified")


def test_a_target_that_beats_the_label_and_one_that_beats_every_class() -> None:
    module, x = net(outputs=3), points()
    network = verify.trace(module, x[:1])
    with torch.no_grad():
        outputs, labels = module(around_points(x, 0.5)), module(x).argmax(1)
    target = (labels + 2) % 3
    index = torch.arange(len(x))
    margin = outputs - outputs[index, :, target][:, :, None]
    beats_label = (margin[index, :, labels] <= 0).any(1)
    beats_all = (margin <= 0).all(2).any(1)
    assert int(beats_label.sum()) > int(beats_all.sum())
    for wins, expected in ((False, beats_label), (True, beats_all)):
        problem = verify.robustness(network, x, labels, "0.5", target=target, wins=wins)
        found = [verdict == "falsified" for verdict in answers(problem)]
        assert found == expected.tolist()


@pytest.mark.parametrize(("message", "given_goal"), [
    ("tolerance and bounds ask for different things", {"tolerance": 1, "bounds": (0, 1)}),
    ("the tolerance is 0 but must be positive", {"tolerance": 0}),
    ("the tolerance is -1 but", {"tolerance": -1}),
    ("the bounds have no end", {"bounds": (None, None)}),
    ("bounds 1 and 1 leave nothing between them", {"bounds": (1, 1)}),
    ("bounds are 3 but must be", {"bounds": 3}),
    ("threshold 'x' is not a finite number", {"threshold": "x"}),
    ("wins says of a target", {"wins": True}),
])
def test_goals_that_say_nothing(message: str, given_goal: dict) -> None:
    with pytest.raises(verify.InputError, match=message):
        verify.robustness(verify.trace(net(), points()[:1]), points(), [0] * 16, EPS, **given_goal)


def test_errors_name_the_remedy() -> None:
    module, x = net(outputs=3), points()
    with pytest.raises(verify.InputError, match=r"not a Sequential; trace it first: verify.trace\(module, example\)"):
        verify.robustness(module, x, [0] * 16, EPS)  # type: ignore[arg-type]
    network = verify.trace(module, x[:1])
    with pytest.raises(verify.InputError, match="by one output, but the network has 3"):
        verify.robustness(network, x, [0] * 16, EPS, threshold=0)
    with pytest.raises(verify.InputError, match=r"they go from 1 to 3, so subtract 1"):
        verify.robustness(network, x, [1, 2, 3, 1] * 4, EPS)
    with pytest.raises(verify.InputError, match="each sample needs its class"):
        verify.robustness(network, x, None, EPS)
    images = verify.trace(nn.Sequential(nn.Conv2d(3, 2, 7), nn.Flatten(), nn.Linear(8, 2)), torch.zeros(1, 3, 8, 8))
    with pytest.raises(verify.InputError, match=r"channels last; move them with x.permute\(0, 3, 1, 2\)"):
        verify.robustness(images, torch.zeros(1, 8, 8, 3), [0], EPS)
    assert goal_of(network).classes(torch.tensor([[1.0, 3.0, 2.0]])) == [1]
