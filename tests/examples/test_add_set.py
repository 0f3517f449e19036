"""A set is one file: a copy of the package with nothing but the file more knows it everywhere.

Inside the copy the laws of all sets run over it, and attacks, bounds and the command line's `--set` take it.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.added import Copy

SESSION = """
from fractions import Fraction
import torch
from dataclasses import replace
from hypothesis import given, settings, strategies as st
import verify
from tests.sets import test_sets as laws
from verify.cli.main import run
from verify.models import digits
from verify.sets.around import sets_around
from verify.sets.norms import norm_of
from verify.sets.samples import Samples

draws = settings(max_examples=25, deadline=None, derandomize=True, database=None)
own, seeds = laws.named(names=("budget",)), st.integers(0, 1000)
law = laws.test_members_stay_below_the_support_and_the_maximiser_attains_it
draws(given(own, seeds)(law.hypothesis.inner_test))()
law = laws.test_projection_is_an_exact_member_and_idempotent
draws(given(own, seeds, st.just(1.0))(law.hypothesis.inner_test))()

x, y = digits()
problem = verify.robustness(verify.load("digits-dense-interval"), x[:8], y[:8], eps=0)
samples = Samples(x[:8], Fraction(1, 10), norm_of("linf"), (Fraction(0), Fraction(1)))
problem = replace(problem, inputs=sets_around("budget:5", samples))
found = [verify.solve(problem, method) for method in (
    verify.PGD(stop_when_falsified=False), verify.CROWN(), verify.AlphaCROWN(), verify.BranchAndBound(time_limit=5))]
best = found[0]
for bracket in found[1:]:
    best = best.meet(bracket)
ball = verify.solve(replace(problem, inputs=sets_around("ball", samples)), verify.CROWN())
assert bool((best.lower <= best.upper).all())
assert bool((found[1].upper < ball.upper).all()), "it is smaller than its hull"
assert run(["certify", "digits-dense-interval", "--data", "digits", "--eps", "0.1", "--set", "budget:5", "--limit", "4",
            "--methods", "pgd,interval,crown,bab", "--out", "run"]) == 0
assert run(["certify", "--help"]) == 0
"""


def test_a_set_is_one_file(tmp_path: Path) -> None:
    copy = Copy(tmp_path, {"verify/sets/budget.py": Path(__file__).parent / "set_budget.py"})
    printed = " ".join(copy.python("-c", SESSION).split())
    print("files touched to add a set:", *copy.touched)
    assert copy.touched == ["verify/sets/budget.py"]
    assert "budget:K (sum of changes at most K)" in printed
    assert "budget:5 eps 0.1" in printed
