"""A norm is one file: a copy of the package with nothing but the file more knows it everywhere.

Inside the copy the laws of all sets run over balls of the norm, and attacks, bounds and the command line take it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.added import Copy

HERE = Path(__file__).parent
SESSION = """
import sys
import torch
from hypothesis import given, settings, strategies as st
import verify
from tests.sets import test_sets as laws
from verify.cli.main import run
from verify.models import digits

name, is_box = sys.argv[1], sys.argv[2] == "box"
draws = settings(max_examples=25, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 1000)
law = laws.test_members_stay_below_the_support_and_the_maximiser_attains_it
draws(given(laws.balls(norms=(name,)), seeds)(law.hypothesis.inner_test))()
law = laws.test_projection_is_an_exact_member_and_idempotent
draws(given(laws.balls(norms=(name,)), seeds, st.just(1.0))(law.hypothesis.inner_test))()
law = laws.test_projection_satisfies_the_variational_inequality
draws(given(laws.balls(torch.float64, (name,)), seeds)(law.hypothesis.inner_test))()
laws.test_norms_are_norms(name)

x, y = digits()
x, y, network = x[:8], y[:8], verify.load("digits-dense-interval")
problem = verify.robustness(network, x, y, eps="1/20", norm=name)
methods = [verify.PGD(stop_when_falsified=False), verify.FGSM(), verify.CROWN(), verify.AlphaCROWN(), verify.ConvexLP()]
assert problem.inputs.is_box == is_box
brackets = [verify.solve(problem, method) for method in methods]
best = brackets[0]
for bracket in brackets[1:]:
    best = best.meet(bracket)
assert bool((best.lower <= best.upper).all()) and bool((best.gap < 2).all()), best
assert run(["certify", "digits-dense-interval", "--data", "digits", "--eps", "0.05", "--norm", name, "--limit", "4",
            "--methods", "pgd,interval,crown,bab", "--out", "certified"]) == 0
assert run(["radius", "digits-dense-interval", "--data", "digits", "--norm", name, "--limit", "2",
            "--methods", "pgd,crown", "--out", "radii"]) == 0
assert run(["certify", "--help"]) == 0
"""


@pytest.mark.parametrize(("file", "name", "kind"), [
    ("norm_pairs.py", "pairs", "round"),
    pytest.param("norm_weighted.py", "weighted", "box", marks=pytest.mark.conformance),
])
def test_a_norm_is_one_file(file: str, name: str, kind: str, tmp_path: Path) -> None:
    copy = Copy(tmp_path, {f"verify/sets/norms/{name}.py": HERE / file})
    printed = copy.python("-c", SESSION, name, kind)
    print("files touched to add a norm:", *copy.touched)
    assert copy.touched == [f"verify/sets/norms/{name}.py"]
    assert f"linf, l2, l1, l0 or {name}" in " ".join(printed.split())
    assert f"on 4 samples of digits, {name} eps 0.05" in " ".join(printed.split())
