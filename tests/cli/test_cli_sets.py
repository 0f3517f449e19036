"""`--set`: what the command line calls a set is that set, and what it cannot read is one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from verify.models import digits

import verify
from tests.support.cli_cases import error_of
from verify.cli.main import run
from verify.errors import InputError
from verify.registry import SETS
from verify.sets import Ball, Box, ConvexSet, InputSet, Polytope
from verify.sets.around import sets_around
from verify.sets.norms import norm_of
from verify.sets.samples import Samples

X, Y = digits()
TEXTS = {
    "ball": "ball", "box": "box:-1,1/2", "polytope": "polytope:cut.npz", "convex": "convex:a_convex_set:half",
}
CONVEX = "import cvxpy\n\ndef half(d):\n    return [cvxpy.norm(d, 2) <= 1, cvxpy.sum(d) >= -0.5]\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a_convex_set.py").write_text(CONVEX)
    mask = np.zeros((1, 8, 8), np.float32)
    mask[..., :3] = 1
    np.savez("columns.npz", low=-mask, high=mask)
    np.savez("cut.npz", low=-mask, high=mask, rows=np.ones((1, 64)), bounds=np.array([2.5]))
    np.savez("away.npz", low=mask, high=2 * mask)
    np.savez("wrong.npz", low=np.zeros(3), high=np.ones(3))
    np.savez("endless.npz", low=-np.inf * np.ones(64), high=np.ones(64))
    return tmp_path


def samples(eps: str, count: int = 3) -> Samples:
    return Samples(X[:count], Fraction(eps), norm_of("linf"), (Fraction(0), Fraction(1)))


def certify(text: str, eps: str, *more: str, model: str = "digits-dense-interval") -> int:
    return run(["certify", model, "--data", "digits", "--set", text, "--eps", eps, *more])


def test_every_set_of_the_registry_has_a_text(here: Path) -> None:
    kinds = {"ball": Ball, "box": Box, "polytope": Polytope, "convex": ConvexSet}
    assert SETS.keys() == kinds.keys() == TEXTS.keys()
    for name, text in TEXTS.items():
        found = sets_around(text, samples("1/10"))
        assert type(found) is kinds[name]
        assert bool(found.contains(X[:3]).all())
        assert bool(((found.low >= 0) & (found.high <= 1)).all())


def test_a_box_is_exact(here: Path) -> None:
    box = sets_around("box:-1,1/2", samples("1/10"))
    assert isinstance(box, Box)
    for value, low, high in zip(X[:3].flatten().tolist(), *(end.reshape(-1) for end in box.exact), strict=True):
        assert low == max(Fraction(value) - Fraction(1, 10), 0)
        assert high == min(Fraction(value) + Fraction(1, 20), 1)
    ball = Ball(X[:3], "1/10")
    for own, other in zip(sets_around("box:-1,1", samples("1/10")).exact_box(), ball.exact_box(), strict=True):
        assert (own == other).all()


def test_a_polytope_is_its_rows_over_changes(here: Path) -> None:
    found = sets_around("polytope:cut.npz", samples("1/10"))
    assert isinstance(found, Polytope)
    told = []
    for share in np.linspace(0.05, 1, 20):
        moved = X[:3].clone()
        moved[..., :3] = (moved[..., :3] + 0.1 * share).clamp(max=1)
        for i, own in enumerate(found.contains(moved).tolist()):
            ends = zip(moved[i].flatten().tolist(), X[i].flatten().tolist(), strict=True)
            change = [Fraction(a) - Fraction(b) for a, b in ends]
            assert own == (sum(change) <= Fraction(1, 4) and max(change) <= Fraction(1, 10))
            told.append(own)
    assert 5 < sum(told) < len(told) - 5


@pytest.mark.parametrize("text", ["box:-1,1/2", "box:columns.npz", "polytope:cut.npz", "convex:a_convex_set:half"])
def test_certify_takes_sets(text: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = "pgd,crown" if text.startswith("convex") else "pgd,interval,crown,bab"
    assert certify(text, "0.01,0.1", "--limit", "3", "--methods", methods, "--out", "run", "--json") in (0, 3)
    found = json.loads(capsys.readouterr().out)
    assert f"{text} eps 0.01,0.1" in found["title"]
    assert found["config"]["set"] == text
    assert all(row["errors"] == 0 for row in found["radii"].values())
    assert found["radii"]["1/100"]["verified"] >= found["radii"]["1/10"]["verified"]


def test_the_verdict_is_that_of_the_box(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = verify.load("digits-dense-plain")
    box = sets_around("box:columns.npz", samples("1/2", 8))
    ball = verify.robustness(network, X[:8], Y[:8], eps=0)
    exact = verify.solve(replace(ball, inputs=box), verify.BranchAndBound(time_limit=20)).verdicts
    more = ("--limit", "8", "--timeout", "20", "--out", "run", "--json")
    assert certify("box:columns.npz", "1/2", *more, model="digits-dense-plain") in (0, 3)
    counts = json.loads(capsys.readouterr().out)["radii"]["1/2"]
    assert counts["verified"] == sum(str(v) == "verified" for v in exact)
    assert counts["falsified"] >= 1


def test_certificates_of_boxes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("box:columns.npz", "0.05", "--limit", "2", "--proof", "proofs", "--out", "run", "--json") == 0
    files = [file for file in Path("proofs").rglob("*") if file.is_file()]
    assert len(files) == 2
    for file in files:
        assert run(["check", str(file)]) == 0


@pytest.mark.parametrize(("text", "message"), [
    ("cube:1", "unknown set 'cube:1'; write one of ball (of --norm), box:LOW,HIGH"),
    ("box:1", "is neither box:LOW,HIGH nor box:FILE.npz"),
    ("box:a,1", "an end of the box"),
    ("box:1/10,1", "does not hold the sample"),
    ("box:away.npz", "does not hold the sample"),
    ("box:none.npz", "there is no file 'none.npz'"),
    ("box:wrong.npz", "low has shape (3,); give that of a sample, (1, 8, 8), or of all 2"),
    ("box:endless.npz", "low of endless.npz has a value that is not finite"),
    ("polytope:columns.npz", "columns.npz has no array rows"),
    ("ball:l2", "a ball takes its norm from --norm"),
    ("convex:nowhere:f", "names no function"),
])
def test_what_is_not_understood_is_one_sentence(
    text: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify(text, "0.1", "--limit", "2") == 2
    assert message in error_of(capsys)
    assert not Path("runs").exists()


def test_a_set_and_a_norm_do_not_go_together(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("box:-1,1", "0.1", "--norm", "l2") == 2
    assert "--norm is of balls, and --set asks for box:-1,1" in error_of(capsys)
    assert run(["radius", "digits-dense-interval", "--data", "digits", "--set", "box:-1,1", "--norm", "l1"]) == 2


def test_sets_that_the_command_line_cannot_write_say_so() -> None:
    with pytest.raises(InputError, match="has no way to write the set InputSet"):
        InputSet.around("", samples("1"))
