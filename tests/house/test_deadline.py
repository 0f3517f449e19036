"""Limits of time: deadlines in force, and that every method stops at one with what it has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

import verify
from tests.support.nets import seeded
from verify.bracket import Bracket
from verify.deadline import NEVER, Deadline, check_time, deadline, within
from verify.errors import OutOfTime
from verify.ir.torch_export import trace
from verify.method import Answer, Method
from verify.problem import Problem, robustness
from verify.proof.prover import prove
from verify.runs.certification.cascade import Cascade
from verify.runs.competition.decide import InstanceResult, decide
from verify.runs.options import entries_of
from verify.runs.studies.gaps import gaps
from verify.solving import solve
from verify.upper.alpha_crown import AlphaCROWN
from verify.upper.crown import linear_boxes

LIMIT, SLACK = 0.4, 0.9  # seconds; the second for what cannot look at the clock, and for a loaded machine
METHODS = {
    "pgd": verify.PGD(steps=20, restarts=10_000, stop_when_falsified=False),
    "apgd-t": verify.TargetedAPGD(restarts=10_000, stop_when_falsified=False),
    "square": verify.Square(10_000_000, stop_when_falsified=False),
    "fmn": verify.FMN(10_000_000), "bisection": verify.Bisection(10_000_000),
    "interval": verify.Interval(), "crown": verify.CROWN(), "alpha": AlphaCROWN(goal="optimum"),
    "lp": verify.LP(), "convex": verify.ConvexLP(), "milp": verify.MILP(), "sdp": verify.SDP(order=5000),
    "bab": verify.BranchAndBound(goal="optimum"),
}


@pytest.fixture(autouse=True)
def processor_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Deadlines count processor time: what else runs on the machine takes none of it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    yield
    torch.set_num_threads(threads)


@cache
def medium(eps: str = "1/10") -> Problem:
    """One sample of a network that no method finishes with in a second; its bounds at this eps are useless."""
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1),
        nn.ReLU(), nn.Flatten(), nn.Linear(6400, 100), nn.ReLU(), nn.Linear(100, 5),
    )
    network = trace(seeded(module, 0), torch.zeros(1, 1, 20, 20))
    x = torch.rand((1, 1, 20, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        label = network(x).argmax(1)
    return robustness(network, x, label, eps)


def test_deadlines_nest_and_the_earlier_one_holds() -> None:
    assert deadline() is NEVER
    check_time()
    with within(Deadline.after(100.0)) as outer:
        with within(Deadline.after(1000.0)) as inner:
            assert inner == outer == deadline()
        with pytest.raises(OutOfTime, match="time limit"), within(outer.part(0.0)):
            check_time()
        check_time()
        assert outer.part(0.25).left < 26
    assert deadline() is NEVER
    assert NEVER.part(0.5) is NEVER
    assert Deadline.after(None).left == float("inf")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_stops_in_time_with_a_valid_bracket(name: str) -> None:
    problem = medium()
    _ = problem.merged, problem.in_float64
    solve(problem, verify.Interval())  # what is loaded once
    start = time.process_time()
    found = solve(problem, METHODS[name], LIMIT)
    taken = time.process_time() - start
    assert taken <= 1.2 * LIMIT + SLACK
    assert found.lower.item() <= solve(problem, verify.Interval()).upper.item()
    if name != "interval":
        assert "stopped" in found.notes or name == "pgd"


def test_a_bound_that_was_cut_short_is_valid_and_no_looser_than_intervals() -> None:
    problem, sampled = medium("1/100"), solve(medium("1/100"), verify.PGD(stop_when_falsified=False)).lower.item()
    loose = solve(problem, verify.Interval()).upper.item()
    uppers = [solve(problem, method, seconds).upper.item()
              for method in (verify.CROWN(), AlphaCROWN(), verify.LP(), verify.BranchAndBound())
              for seconds in (0.1, 0.3)]
    assert all(sampled <= upper for upper in uppers)
    assert min(uppers) < loose
    assert all(upper <= loose * (1 + 1e-5) + 1e-5 for upper in uppers if upper < float("inf"))


def test_boxes_that_come_late_are_interval_bounds() -> None:
    problem = medium("1/100")
    with within(Deadline.after(0.2)):
        boxes = linear_boxes(problem.network, problem.inputs, 0.1)
    tight = linear_boxes(problem.network, problem.inputs)
    x = problem.inputs.low + (problem.inputs.high - problem.inputs.low) * torch.rand(200, 1, 20, 20)
    y = problem.network(x)
    output = problem.network.graph.output
    assert bool((boxes[output].low <= y).all() and (y <= boxes[output].high).all())
    widths = [(box[output].high - box[output].low).sum().item() for box in (tight, boxes)]
    assert widths[0] < widths[1] < float("inf")


def test_no_time_at_all_is_an_answer_without_a_bound() -> None:
    for method in METHODS.values():
        found = solve(medium(), method, 0.0)
        assert found.upper.item() == float("inf") or found.upper.item() >= found.lower.item()
        assert found.verdicts[0] is verify.Verdict.UNKNOWN


class Slow:
    """Takes all the time that it is given, then answers nothing."""

    @property
    def name(self) -> str:
        return "slow"

    def answer(self, problem: Problem) -> Answer:
        while True:
            check_time()


def test_methods_share_the_time_of_a_sample() -> None:
    problem = robustness(medium().network, torch.rand(3, 1, 20, 20), [0, 1, 2], "1/10")
    slow: Method = Slow()
    labels = problem.network(problem.inputs.nominal()).argmax(1).tolist()
    names: dict[str, Method] = {"first": slow, "second": slow, "third": slow}
    cascade = Cascade({"1/10": robustness(problem.network, problem.inputs.nominal(), labels, "1/10")},
                      problem.inputs.nominal(), labels, names, {"third"}, timeout=0.2)
    found = cascade.first([0, 1, 2])
    spent = [outcome.seconds for outcome in found]
    assert sum(spent) == pytest.approx(3 * 0.2 * 2 / 3, abs=0.15)
    found = [cascade.last([outcome])[0] for outcome in found]
    assert sum(outcome.seconds for outcome in found) == pytest.approx(3 * 0.2, abs=0.3)
    assert all("time limit" in " ".join(outcome.reasons) for outcome in found)
    start = time.process_time()
    compared = gaps(problem, {"a": slow, "b": slow}, timeout=0.1)
    assert time.process_time() - start < 3 * 0.1 + 0.3
    assert all("time limit" in row.note for row in compared.rows)


def test_reading_ends_at_the_limit(tmp_path: Path) -> None:
    prop = tmp_path / "p.vnnlib"
    bounds = "".join(f"(assert (<= X_0 {k}.5))\n" for k in range(200_000))
    prop.write_text(f"(declare-const X_0 Real)\n(declare-const Y_0 Real)\n{bounds}(assert (>= Y_0 0))\n")
    start = time.process_time()
    found = decide(tmp_path / "net.onnx", prop, entries_of("interval"), 0.3, read=lambda path: medium().network)
    assert time.process_time() - start < 1.2 * 0.3 + SLACK
    assert found.answer is InstanceResult.TIMEOUT
    assert "while the files were read" in found.reason


def test_a_proof_ends_at_the_limit() -> None:
    problem = medium("1/2000")
    start = time.process_time()
    proof = prove(problem, seconds=0.3)
    assert time.process_time() - start < 1.2 * 0.3 + SLACK
    assert proof.certificate is None
    assert "time limit" in proof.reason


def test_a_bracket_of_a_search_without_time_is_the_first_bound() -> None:
    problem = medium("1/1000")
    found: Bracket = solve(problem, verify.BranchAndBound(goal="optimum", gap=1e-9, time_limit=0.5))
    assert found.notes["stopped"] == "the time limit was reached"
    assert found.upper.item() < float("inf")
