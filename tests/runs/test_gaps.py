"""`verify.gaps` against hand computations, the order of relaxations, and linear networks."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from math import inf, isfinite, isnan
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import verify
from tests.support.gap_cases import ATTACK, Refuses, Told, network, of_samples
from tests.support.nets import nets, seeded
from tests.support.small_nets import NETWORKS, problem
from verify.bracket import Bracket, Rigour, Side, Verdict
from verify.errors import InputError, SolverError, UnsupportedMethod
from verify.method import Answer, Method
from verify.problem import Problem, robustness
from verify.runs.studies.comparison import COLUMNS, csv_of, for_value
from verify.runs.studies.gap import Gap, Gaps
from verify.runs.studies.gaps import sample_of
from verify.sets import Box
from verify.spec import margins

ROOT = Path(__file__).resolve().parents[2]


def values(gaps: Gaps, name: str) -> list[tuple[float, float]]:
    return [(row.attack, row.certificate) for row in gaps.of(name)]


def test_gaps_equal_hand_computations() -> None:
    """Samples (0.9, 0.9) and (0.5, 0.4) of class 0, eps 1/10. v* = relu(x0 - x1) + 0.75 - x0 - x1 is largest where x1
    is least: -0.85 and 0.15. Intervals give 0.75 + 0.2 - 1.6 = -0.65 and 0.75 + 0.3 - 0.7 = 0.35; the triangle of the
    one unstable neuron, z in [-0.2, 0.2] and [-0.1, 0.3], gives -0.75 and 0.2."""
    methods: dict[str, Method] = {
        "attack": ATTACK, "interval": verify.Interval(), "lp": verify.LP(), "exact": verify.MILP(),
    }
    gaps = verify.gaps(of_samples([0, 2]), methods)
    expected = {"attack": (-0.85, 0.15), "interval": (-0.65, 0.35), "lp": (-0.75, 0.2), "exact": (-0.85, 0.15)}
    for name, tops in expected.items():
        for (low, high), bottom, top in zip(values(gaps, name), (-0.85, 0.15), tops, strict=True):
            assert (low, high) == pytest.approx((bottom, top), abs=1e-5)
    figures = gaps.figures["interval"]
    assert (figures.median, figures.mean, figures.largest) == pytest.approx((0.2, 0.2, 0.2), abs=1e-5)
    assert (figures.verified, figures.falsified, figures.answered, figures.samples) == (1, 0, 2, 2)
    assert (gaps.figures["attack"].verified, gaps.figures["attack"].falsified) == (0, 1)
    assert (gaps.figures["exact"].verified, gaps.figures["exact"].falsified) == (1, 1)
    assert gaps.figures["lp"].mean == pytest.approx(0.075, abs=1e-5)
    # beside the attack of another method the bracket says more than the certificate alone
    row = gaps.of("interval")[1]
    assert (row.verdict, row.decides, row.lower) == (Verdict.FALSIFIED, Verdict.UNKNOWN, -inf)
    assert [best.verdicts[0] for best in gaps.best] == [Verdict.VERIFIED, Verdict.FALSIFIED]
    assert all(row.seconds >= 0 for row in gaps.rows)
    assert [(row.index, row.method) for row in gaps.rows] == [(i, name) for i in (0, 1) for name in methods]


@pytest.mark.parametrize(("name", "norm"), [("dense", "linf"), ("conv", "linf"), ("residual", "linf"), ("dense", "l2")])
def test_tighter_methods_leave_smaller_gaps(name: str, norm: str) -> None:
    net = nets()[name]
    x = torch.rand(2, *net.input_shape, generator=torch.Generator().manual_seed(1))
    asked = robustness(net, x, net(x).argmax(1), "1/50", norm)
    exact = verify.BranchAndBound(goal="optimum", time_limit=20)
    methods = [ATTACK, verify.Interval(), verify.CROWN(), verify.AlphaCROWN(goal="optimum"), verify.LP(), exact]
    gaps = verify.gaps(asked, methods)
    assert list(gaps.methods) == [method.name for method in methods]
    for i in range(len(x)):
        gap = {name: gaps.of(name)[i].gap for name in gaps.methods}
        assert gap["Interval"] >= gap["CROWN"] >= gap["AlphaCROWN"] >= gap["BaB-optimum"] - 1e-5 >= -2e-5
        assert isfinite(gap["Interval"])
        assert gap["BaB-optimum"] <= 1.1e-3
        if norm == "linf":
            assert gap["CROWN"] + 1e-5 >= gap["LP"] >= gap["BaB-optimum"] - 1e-5
        else:
            assert gaps.of("LP")[i].note.startswith("LP and MILP take boxes and polytopes, not l2 balls")


@pytest.mark.parametrize("seed", range(3))
def test_all_methods_agree_on_linear_networks(seed: int) -> None:
    first, last = nn.Linear(6, 5), nn.Linear(5, 3)
    module = seeded(nn.Sequential(first, last), seed)
    x = torch.rand(4, 6, generator=torch.Generator().manual_seed(seed))
    asked = robustness(verify.trace(module, x[:1]), x, [0, 1, 2, 0], "1/10", target=torch.tensor([1, 2, 0, 2]))
    methods = [verify.FGSM(), verify.Interval(), verify.CROWN(), verify.AlphaCROWN(), verify.LP(), verify.MILP(),
               verify.BranchAndBound(goal="optimum")]
    gaps = verify.gaps(asked, methods)
    # by hand: the largest of a linear function over a box is at a corner
    weight, bias = (last.weight @ first.weight).detach(), last(first.bias).detach()
    low, high = (x - 0.1).clamp(min=0), (x + 0.1).clamp(max=1)
    for i, (label, target) in enumerate(zip((0, 1, 2, 0), (1, 2, 0, 2), strict=True)):
        row = weight[target] - weight[label]
        best = float((torch.where(row > 0, high[i], low[i]) @ row) + bias[target] - bias[label])
        for name in gaps.methods:
            assert values(gaps, name)[i] == pytest.approx((best, best), abs=1e-4), name


@pytest.mark.parametrize("kind", NETWORKS)
def test_no_method_crosses_another_on_small_networks(kind: str) -> None:
    for spec in ("targeted", "untargeted", "conjunctive"):
        found = verify.gaps(problem(NETWORKS[kind](1), spec, 1), [
            ATTACK, verify.Interval(), verify.CROWN(), verify.AlphaCROWN(), verify.LP(), verify.MILP(),
        ])
        assert max(row.gap for row in found.of("MILP")) <= 1e-4


def test_a_problem_of_several_cases_is_one_sample() -> None:
    low = torch.tensor([[0.8, 0.8], [0.4, 0.3], [0.4, 0.3]])
    three = Problem(network(), Box(low, low + 0.2), margins(torch.tensor([0, 0, 0]), 2), torch.tensor([0, 0, 1]), 2)
    gaps = verify.gaps(three, [ATTACK, verify.Interval(), Told(upper=7.0)])
    whole = verify.solve(three, verify.Interval())
    assert [row.upper for row in gaps.of("Interval")] == whole.upper.tolist()
    assert values(gaps, "Interval")[0] == pytest.approx((0.15, 0.35), abs=1e-5)  # the second case is the worse one
    part = sample_of(three, [1])
    assert (part.batch, part.cases, part.inputs.low.tolist()) == (1, 1, low[2:].tolist())


def test_dear_and_unknown_methods_take_samples_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    answer = verify.CROWN.answer
    monkeypatch.setattr(verify.CROWN, "answer", lambda self, asked: (sizes.append(asked.batch), answer(self, asked))[1])
    told, seen = Told(upper=9.0), list[int]()
    verify.gaps(of_samples([0, 1, 2]), [verify.CROWN(), told], seen.append)
    assert sizes == [3]
    assert told.sizes == [1, 1, 1]
    assert sum(seen) == 6


def test_a_method_that_cannot_answer_says_why() -> None:
    methods: dict[str, Method] = {
        "pgd": ATTACK, "lp": Refuses(UnsupportedMethod("no LP of\nthis")), "milp": Refuses(SolverError("lost")),
        "nan": Told(upper=float("nan")), "nothing": Told(),
    }
    gaps = verify.gaps(of_samples([0, 2]), methods)
    for name, note in (("lp", "no LP of this"), ("milp", "lost"), ("nan", "no finite bound"), ("nothing", "")):
        for row in gaps.of(name):
            assert (row.certificate, row.gap, row.note, row.decides) == (inf, inf, note, Verdict.UNKNOWN)
        assert gaps.figures[name].answered == 0
        assert isnan(gaps.figures[name].median)
        assert gaps.figures[name].verified == 0
    assert gaps.figures["lp"].notes == {"no LP of this": 2}
    assert [row.gap for row in gaps.of("pgd")] == [inf, inf]  # nothing to measure the attack by


def test_an_interruption_is_no_answer() -> None:
    @dataclass(frozen=True)
    class Stopped(Told):
        def answer(self, problem: Problem) -> Answer:
            return Answer(torch.ones(problem.cases), notes={"stopped": "interrupted"})

    with pytest.raises(KeyboardInterrupt):
        verify.gaps(of_samples([0]), [Stopped()])


@pytest.mark.parametrize(("methods", "message"), [
    ([], "no method to compare"),
    ([verify.CROWN], "takes methods' values, not"),
    (["crown"], "takes methods' values, not 'crown'"),
    ([verify.CROWN(), verify.CROWN()], "two methods are named CROWN; pass a dict"),
])
def test_bad_methods(methods: list[Method], message: str) -> None:
    with pytest.raises(InputError, match=message):
        verify.gaps(of_samples([0]), methods)


def test_bad_problems_and_names() -> None:
    with pytest.raises(InputError, match="gaps takes a problem, not a Network"):
        verify.gaps(network(), [verify.CROWN()])  # type: ignore
    with pytest.raises(InputError, match="no method 'lp' was compared; choose among CROWN"):
        verify.gaps(of_samples([0]), [verify.CROWN()]).of("lp")


def test_methods_are_set_to_go_for_the_value() -> None:
    assert for_value(verify.BranchAndBound(time_limit=3)) == verify.BranchAndBound(goal="optimum", time_limit=3)
    assert for_value(verify.PGD(steps=7)) == verify.PGD(steps=7, stop_when_falsified=False)
    assert for_value(verify.CROWN()) == verify.CROWN()


def made(rows: list[Gap], shape: tuple[int, ...] = (1,)) -> Gaps:
    side = Bracket(torch.zeros(shape), torch.ones(shape), above=Side("x", verify.Rigour.FLOAT))
    return Gaps({row.method: verify.CROWN() for row in rows}, tuple(rows), (side,))


NUMBERS = st.floats(allow_nan=False)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp", "Cs"]), max_size=20)
ROWS = st.builds(Gap, st.integers(0, 10**6), NAMES, *[NUMBERS] * 4, st.floats(0, 1e6), NAMES)


@given(st.lists(ROWS, min_size=1, max_size=5), st.fractions(0, 10))
def test_csv_keeps_every_value(rows: list[Gap], eps: Fraction) -> None:
    read = list(csv.DictReader(io.StringIO(csv_of({str(eps): made(rows)}), newline="")))
    assert len(read) == len(rows)
    for found, row in zip(read, rows, strict=True):
        assert tuple(found) == COLUMNS
        ends = [float(found[name]) for name in ("attack", "certificate", "gap", "seconds")]
        assert ends == [row.attack, row.certificate, row.gap, row.seconds]
        assert (int(found["index"]), found["method"], found["note"]) == (row.index, row.method, row.note)
        assert (Fraction(found["eps"]), found["verdict"]) == (eps, str(row.verdict))


@given(*[st.floats(width=32)] * 2)
def test_nan_never_decides(lower: float, upper: float) -> None:
    row = Gap(0, "x", lower, upper, lower, upper, 0.0)
    bracket = Bracket(Tensor([lower]), Tensor([upper]), below=Side("a", Rigour.FLOAT))
    assert row.decides == row.verdict == bracket.verdicts[0]
    assert row.decides is not Verdict.VERIFIED or upper < 0
    assert row.decides is not Verdict.FALSIFIED or lower >= 0


@pytest.mark.conformance
def test_the_sandwich_holds_on_the_digits_networks() -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "benchmarks" / "sandwich.py"), "--problems", "6",
               "--methods", "pgd,interval,crown,alpha,lp,bab", "--timeout", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 crossings" in done.stdout
    assert done.stdout.endswith("all as it must be\n")
