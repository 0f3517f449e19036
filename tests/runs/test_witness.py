"""Both violations of a witness, against rationals by hand."""

from __future__ import annotations

import re
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ir.test_evaluate import overflowing, two_layers
from tests.support.cli_cases import X, certify, property_file
from tests.support.nets import nets
from tests.support.onnx_models import Model
from verify.cli.main import run
from verify.ir import violation as module
from verify.ir.load import load
from verify.ir.violation import Violation, real_violation
from verify.problem import robustness
from verify.runs.competition.decide import InstanceResult, decide
from verify.runs.engine.store import Store
from verify.runs.evidence.runtime_replay import members, original_outputs
from verify.runs.evidence.witness import Witness, examine, property_witness, sample_witness
from verify.runs.options import entries_of
from verify.vnnlib import Row, read_vnnlib

TENTH = np.float32(0.1)  # more than 1/10
F_ONLY = "violates as executed only, not in real arithmetic"
R_ONLY = "violates in real arithmetic only, not as executed"


def fixed_tenth(here: Path, claim: str) -> Witness:
    """The witness of a claim about the only point of a set, (1/10, 1/10), where y0 = x0 + x1."""
    asked = read_vnnlib(property_file(here / "p.vnnlib", claim, low="0.1", high="0.1"))
    x = np.array([TENTH, TENTH])
    (point,) = members(asked, x)
    y = original_outputs(here / "net.onnx", x)
    return property_witness(asked, load(here / "net.onnx"), [point], x, y)


def test_a_witness_at_one_level_only(here: Path) -> None:
    two = 2 * Fraction(float(TENTH))  # doubling rounds nothing
    found = fixed_tenth(here, "(>= Y_0 0.200000001)")
    assert found.point.tolist() == [Fraction(1, 10)] * 2
    assert (found.real.low, found.real.high) == (Fraction(1, 5) - Fraction("0.200000001"),) * 2
    assert (found.executed.low, found.executed.high) == (two - Fraction("0.200000001"),) * 2
    assert (found.levels, found.remark) == (("F",), F_ONLY)
    assert str(found) == f"violation -1e-09 in real arithmetic, 1.98023e-09 as executed; it {F_ONLY}"
    found = fixed_tenth(here, "(<= Y_0 0.2)")
    assert (found.real.low, found.executed.low) == (0, Fraction(1, 5) - two)
    assert (found.levels, found.remark) == (("R",), R_ONLY)
    assert found.payload()["rationals"] == {"0": "1/10", "1": "1/10"}
    found = fixed_tenth(here, "(>= Y_0 0.1)")
    assert (found.levels, found.remark) == (("R", "F"), "")


def test_the_command_says_where_it_violates(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(>= Y_0 0.200000001)", low="0.1", high="0.1")
    assert run(["vnnlib", "net.onnx", "p.vnnlib", "--methods", "pgd"]) == 0
    out, err = capsys.readouterr()
    assert out == "sat\n"
    assert f"witness: violation -1e-09 in real arithmetic, 1.98023e-09 as executed; it {F_ONLY}\n" in err
    decision = decide(here / "net.onnx", here / "p.vnnlib", entries_of("pgd"))
    assert decision.witness is not None
    assert (decision.answer, decision.witness.levels) == (InstanceResult.SAT, ("F",))


def test_what_violates_in_real_arithmetic_only_is_no_sat(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from verify.runs.competition import decide as deciding

    property_file(here / "p.vnnlib", "(>= Y_0 1.5)")
    monkeypatch.setattr(deciding, "original_outputs", lambda model, x: np.array([1.25, 0.75], np.float32))
    decision = decide(here / "net.onnx", here / "p.vnnlib", entries_of("pgd"))
    assert decision.answer is InstanceResult.UNKNOWN
    assert re.search(r"does not stand the replay .* -0\.25 as executed; it violates in real", decision.reason)


def test_members_are_rational_points_that_round_to_the_input(here: Path) -> None:
    asked = read_vnnlib(property_file(here / "p.vnnlib", "(>= Y_0 0)", low="0.1", high="0.3"))
    (point,) = members(asked, np.array([TENTH, np.float32(0.25)]))
    assert point.tolist() == [Fraction(float(TENTH)), Fraction(1, 4)]
    third = np.float32(0.3)  # more than 3/10
    (point,) = members(asked, np.array([TENTH, third]))
    assert point.tolist() == [Fraction(float(TENTH)), Fraction(3, 10)]
    below, beyond = np.nextafter(TENTH, np.float32(0)), np.nextafter(third, np.float32(1))
    for x in ((below, third), (TENTH, beyond), (np.nan, third)):
        assert members(asked, np.array(x, np.float32)) == []


def exactly(value: Fraction) -> Violation:
    return Violation(value, value)


@given(st.fractions(-2, 2, max_denominator=50), st.fractions(-2, 2, max_denominator=50), st.fractions(-1, 1))
@settings(deadline=None, max_examples=100)
def test_the_violation_in_real_arithmetic_is_exact(x0: Fraction, x1: Fraction, offset: Fraction) -> None:
    row = Row(((0, Fraction(-1)),), ((1, Fraction(1, 3)),), offset)
    point = np.array([x0, x1], dtype=object)
    x = point.astype(np.float64).astype(np.float32)
    y = np.array([0.5], np.float32)
    found = examine([[row]], two_layers(), point, x, y)
    value = 2 * max(x0 - 3 * x1, 0) - max(x0 + x1, 0) + Fraction(1, 2)
    assert found.real == exactly(-value + x1 / 3 - offset)
    assert found.executed == exactly(Fraction(-1, 2) + x1 / 3 - offset)


def test_larger_networks_are_bounded_until_the_sign_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    network, point = two_layers(), np.array([Fraction(1, 3), Fraction(1, 10)], dtype=object)
    value = 2 * Fraction(1, 30) - Fraction(13, 30) + Fraction(1, 2)
    clear = real_violation([[Row(((0, Fraction(1)),), (), Fraction(0))]], network, point, small=0)
    assert clear.low is not None
    assert clear.high is not None
    assert clear.low < value < clear.high < value + Fraction(1, 10**12)
    assert clear.holds
    assert re.fullmatch(r"0\.133333 \+- \de-1\d", str(clear))
    tie = [[Row(((0, Fraction(1)),), (), value)]]
    assert real_violation(tie, network, point, small=0) == Violation(Fraction(0), Fraction(0))
    monkeypatch.setattr(module, "LARGEST", 0)
    still_open = real_violation(tie, network, point, small=0)
    assert still_open.holds is None
    assert still_open.as_json()["violated"] is None
    assert still_open.as_json()["low"] < 0 < still_open.as_json()["high"]


def test_irrational_values_are_bounded_and_what_is_not_computed_says_why() -> None:
    network = nets()["smooth"]
    point = np.full(5, Fraction(1, 7), dtype=object)
    found = real_violation([[Row(((0, Fraction(1)),), (), Fraction(0))]], network, point)
    expected = float(network.double()(torch.full((1, 5), 1 / 7, dtype=torch.float64))[0, 0])
    assert found.low is not None
    assert found.high is not None
    assert float(found.low) < expected < float(found.high) < expected + 1e-12
    huge = real_violation([[Row(((0, Fraction(1)),), (), Fraction(0))]], overflowing(), np.array([Fraction(1)]))
    assert huge.holds is None
    assert "not computed (" in str(huge)
    assert huge.as_json().keys() == {"violated", "reason"}


def test_an_output_that_is_not_finite_is_no_violation() -> None:
    point = np.array([Fraction(1), Fraction(1)], dtype=object)
    for bad in (np.nan, np.inf):
        found = examine([[Row((), (), Fraction(0))]], two_layers(), point, np.ones(2), np.array([bad]))
        assert (found.executed.holds, found.levels) == (None, ("R",))
        assert "not finite" in str(found)


def test_the_rows_of_a_sample_are_its_margins() -> None:
    network = nets()["dense"]
    x = torch.full((2, 6), 0.25)
    problem = robustness(network, x, [0, 2], eps="1/100", clip=None)
    rows = problem.spec.disjuncts_of(1)
    assert [[row.output for row in disjunct] for disjunct in rows] == [
        [((0, Fraction(1)), (2, Fraction(-1)))], [((1, Fraction(1)), (2, Fraction(-1)))]]
    y = network(x)[1]
    found = sample_witness(problem.select(torch.tensor([1])), x[1].numpy(), lambda flat: y.numpy())
    assert found.executed.low == max(Fraction(float(y[k])) for k in (0, 1)) - Fraction(float(y[2]))
    assert found.real.low is not None
    assert found.executed.low is not None
    assert float(found.real.low) == pytest.approx(float(found.executed.low), abs=1e-5)


def test_certify_keeps_both_violations(here: Path) -> None:
    assert certify("--out", "run", eps="0.1", methods="pgd") == 0
    with Store.read("run") as store:
        results = dict(store.items())
        kept = store.array("sample/2/1/10", "witness")
    assert "witness" not in results["sample/0/1/10"]
    x0, x1 = (Fraction(float(v)) for v in X[3])  # classified wrongly as it is, of class 1
    found = results["sample/3/1/10"]["witness"]
    assert found["real"]["exact"]
    assert Fraction(found["real"]["low"]) <= x0 + x1 - (x0 - x1 + Fraction(3, 4)) <= Fraction(found["real"]["high"])
    assert found["executed"]["violated"]
    assert kept is not None
    x0, x1 = (Fraction(float(v)) for v in kept)
    found = results["sample/2/1/10"]["witness"]["real"]
    assert Fraction(found["low"]) <= max(x0 - x1, 0) + Fraction(3, 4) - x0 - x1 <= Fraction(found["high"])
    assert found["violated"]


def test_certify_counts_witnesses_of_one_level(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """x0 + x1 = 0.75 + 2^-25 is rounded to 0.75, which ties with the other class; it is larger in real arithmetic."""
    tie = np.array([[0.375, 0.375 + 2**-25]], np.float32)
    np.savez(here / "data.npz", x=tie, y=np.array([0]))
    assert certify("--out", "run") == 0
    assert f"1 falsified by a witness that {F_ONLY}" in capsys.readouterr().out
    with Store.read("run") as store:
        (payload,) = (payload for key, payload in store.items() if key.startswith("sample/"))
    assert payload["witness"]["real"] == {"violated": False, "exact": True, "low": -(2.0**-25), "high": -(2.0**-25)}
    assert payload["witness"]["executed"]["low"] == 0
    np.savez(here / "data.npz", x=X[3:], y=np.array([1]))
    assert certify("--out", "other") == 0
    assert "witness" not in capsys.readouterr().out


def test_a_model_that_cannot_be_replayed_is_no_level(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert certify("--out", "run") == 0
    with Store.read("run") as store:
        found = dict(store.items())["sample/3/1/100"]
    assert found["verdict"] == "falsified"
    assert found["witness"]["executed"]["violated"] is None
    assert "cannot replay" in found["witness"]["executed"]["reason"]


@pytest.mark.parametrize("divisor", [0.1994, 0.224, 1.7, 3.3])
def test_the_end_of_a_range_may_round_beyond_it(divisor: float, tmp_path: Path) -> None:
    """2^23 (x / c - 1) changes its sign within the last float of [0, c], c written in fewer digits than it has."""
    end = float(np.float32(divisor))
    model = Model(1, 1)
    share = model("Div", "x", np.array([divisor], np.float32))
    last = model("Gemm", share, np.array([[2.0**23]], np.float32), np.array([-(2.0**23)], np.float32))
    path, prop = tmp_path / "net.onnx", tmp_path / "p.vnnlib"
    path.write_bytes(model.proto(last).SerializeToString())
    for written in (repr(end), f"{end:.15g}"):
        prop.write_text(
            "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n(assert (>= X_0 0))\n"
            f"(assert (<= X_0 {written}))\n(assert (>= Y_0 -0.125))\n"
        )
        found = decide(path, prop, entries_of("pgd"), 60)
        assert found.answer is InstanceResult.SAT
        assert found.witness is not None
        assert 0 <= found.witness.point[0] <= Fraction(written)
