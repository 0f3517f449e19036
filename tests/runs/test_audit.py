"""`verify audit` on small families made here and on published ones, with verdicts flipped."""

from __future__ import annotations

import csv
import gzip
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runs.test_vnncomp import family
from tests.support.cli_cases import Fake, error_of, onnx_file, property_file
from tests.support.heads import headed
from tests.support.helpers import SHARED, needs_shared
from verify.cli.main import run
from verify.runs import options
from verify.runs.competition import audit as module
from verify.runs.engine.store import Store
from verify.vnnlib import read_vnnlib

READING = "our search: timeout (the time limit was reached while the files were read)"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The family `a`: y0 = x0 + x1 on [0, 1]^2 is never 2.1 (unsat), may be 1.5 (sat) and 1.99 (close)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w").mkdir()
    family(tmp_path / "bench" / "a", "unsat", "sat", "close")
    return tmp_path / "bench"


def results(*claims: str, text: str | None = None) -> str:
    """A results file: "name result" each."""
    rows = [f"a,./benchmarks/a/onnx/net.onnx,./vnnlib/{c.split()[0]}.vnnlib,0.1,{c.split()[1]},1.5" for c in claims]
    Path("results.csv").write_text("\n".join(rows) + "\n" if text is None else text)
    return "results.csv"


def command(bench: Path, *more: str, out: str = "run", methods: str = "pgd,interval") -> int:
    return run(["audit", "results.csv", str(bench), "--out", out, "--methods", methods, *more])


def found(out: str = "run") -> list[tuple[str, str, str]]:
    """(property, status, reason) of every row."""
    with Path(out, "audit.csv").open() as file:
        return [(Path(r["vnnlib"]).stem, r["status"], r["reason"]) for r in csv.DictReader(file)]


def witness_file(name: str, *numbers: str, folder: str = "w") -> None:
    """The file of a witness; numbers are x0 x1 y0 y1."""
    names = ("X_0", "X_1", "Y_0", "Y_1")
    inside = "\n".join(f"({key} {value})" for key, value in zip(names, numbers, strict=True))
    Path(folder, f"net_{name}.counterexample").write_text(f"({inside})")


def test_true_verdicts_are_confirmed_and_flipped_ones_refuted(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results("unsat unsat", "sat sat", "close timeout")
    assert command(bench) == 0
    assert found() == [("unsat", "confirmed", ""), ("sat", "confirmed", "our search found a witness"),
                       ("close", "open", "claims nothing (timeout)")]
    out, err = capsys.readouterr()
    counts = re.findall(r"^a +(\w+) +(\d) +(\d) +(\d) +(\d)$", out, re.MULTILINE)
    assert counts == [("sat", "1", "1", "0", "0"), ("unsat", "1", "1", "0", "0"), ("neither", "1", "0", "0", "1")]
    assert "what is proved trusts the independent checker (verify.check) (interval)" in out
    assert err == "run kept in run\n"
    results("unsat sat", "sat unsat", "unsat holds", "sat violated")
    assert command(bench, out="flipped") == 1
    assert [status for _, status, _ in found("flipped")] == ["refuted", "refuted", "confirmed", "confirmed"]
    out = capsys.readouterr().out
    assert "REFUTED: line 1, a onnx/net.onnx vnnlib/unsat.vnnlib: sat; proved unsat" in out
    assert "REFUTED: line 2, a onnx/net.onnx vnnlib/sat.vnnlib: unsat; our search found a witness" in out
    with Store.read("flipped") as store:
        x = store.array("line/2", "x")
        payload = dict(store.items())["line/2"]
    assert x is not None
    assert x.sum() >= 1.5
    assert payload["witness"]["executed"]["violated"]


def test_what_time_does_not_settle_is_open(bench: Path) -> None:
    results("unsat unsat", "sat sat")
    assert command(bench, "--timeout", "0") == 0
    assert found() == [("unsat", "open", READING), ("sat", "open", READING)]
    results("close unsat")
    assert command(bench, methods="interval", out="loose") == 0
    assert found("loose") == [("close", "open", "our search: unknown (the bounds leave a gap)")]


def test_a_witness_is_replayed_and_its_outputs_are_not_believed(bench: Path) -> None:
    witness_file("sat", "0.75", "0.75", "-7", "-7")
    (Path("w") / "a").mkdir()
    witness_file("close", "1", "0.99", "1.99", "0.76", folder="w/a")
    packed = Path("w/a/net_close.counterexample")
    packed.with_suffix(".counterexample.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    results("sat sat", "close sat")
    assert command(bench, "--witnesses", "w", methods="interval") == 0, "which finds no witness"
    assert [status for _, status, _ in found()] == ["confirmed", "confirmed"]
    with Store.read("run") as store:
        payloads = dict(store.items())
        y = store.array("line/1", "y")
    assert payloads["line/1"]["method"] == "replay"
    assert y is not None
    assert y.tolist() == [1.5, 0.75]
    assert payloads["line/1"]["witness"]["real"] == {"violated": True, "exact": True, "low": 0.0, "high": 0.0}
    assert payloads["line/2"]["witness"]["rationals"] == {"1": "99/100"}, "as it is written in the file"


@pytest.mark.parametrize(("numbers", "status", "reason"), [
    (("1.00001", "0.75"), "open", "lies outside of the set; it stands only with the competition's tolerance of 1e-4"),
    (("0.75", "0.74995"), "open", r"violation -5e-05 in real .*, -5\.\d+e-05 as executed; it stands only with"),
    (("0.75", "0.7"), "confirmed", "does not stand the replay.*; our search found a witness"),
    (("2", "0.5"), "confirmed", "lies outside of the set; our search found a witness"),
    (("0.75", "much"), "confirmed", r"no evidence: .*counterexample, line 2: '\(X_1 much\).*' is no.*; our search"),
])
def test_a_witness_that_does_not_stand(bench: Path, numbers: tuple[str, str], status: str, reason: str) -> None:
    witness_file("sat", *numbers, "1.5", "0.75")
    results("sat sat")
    assert command(bench, "--witnesses", "w") == 0
    ((_, seen, why),) = found()
    assert seen == status
    assert re.search(reason, why), why


def test_a_sat_with_a_wrong_witness_that_is_proved_unsat_is_refuted(bench: Path) -> None:
    witness_file("unsat", "1", "1", "2.2", "0.75")
    results("unsat sat")
    assert command(bench, "--witnesses", "w") == 1
    ((_, status, reason),) = found()
    assert status == "refuted"
    assert re.fullmatch(r"its witness does not stand .* -0\.1 as executed; proved unsat", reason)


def test_the_rational_of_the_file_is_a_member_where_its_rounding_is_none(bench: Path) -> None:
    """fl32(0.1) + fl32(0.2) exceeds 3/10, which 1/10 + 2/10 does not."""
    property_file(bench / "a" / "vnnlib" / "sat.vnnlib", "(<= (+ X_0 X_1) 0.3)", "(>= Y_0 0.3)")
    witness_file("sat", "0.1", "0.2", "0", "0")
    results("sat sat")
    assert command(bench, "--witnesses", "w", methods="interval") == 0
    assert found() == [("sat", "confirmed", "")]
    with Store.read("run") as store:
        payload = dict(store.items())["line/1"]
    assert payload["witness"]["real"]["low"] == payload["witness"]["real"]["high"] == 0
    assert payload["witness"]["rationals"] == {"0": "1/10", "1": "1/5"}


def test_a_witness_needs_no_network_of_ours(bench: Path) -> None:
    onnx_file(bench / "a" / "onnx" / "net.onnx", activation="Asinh")  # y0 = asinh(x0 + x1)
    property_file(bench / "a" / "vnnlib" / "sat.vnnlib", "(>= Y_0 0.5)")
    property_file(bench / "a" / "vnnlib" / "unsat.vnnlib", "(>= Y_0 1.2)")  # it is asinh(2) = 1.44 at a corner
    property_file(bench / "a" / "vnnlib" / "close.vnnlib", "(<= Y_1 -3)")  # it is at least 3/4 - asinh(1)
    witness_file("sat", "0.5", "0.25", "0", "0")
    results("sat sat", "unsat unsat", "close unsat")
    assert command(bench, "--witnesses", "w", "--timeout", "2") == 1
    assert [status for _, status, _ in found()] == ["confirmed", "refuted", "open"]
    assert "Asinh" in found()[2][2]
    with Store.read("run") as store:
        level = dict(store.items())["line/1"]["witness"]["real"]
    assert level["violated"] is None
    assert "Asinh" in level["reason"]


def test_probabilities_are_judged_as_executed(bench: Path) -> None:
    headed(bench / "a" / "onnx" / "net.onnx")
    results("sat sat")
    witness_file("sat", "0.9", "0.9", "0", "0")
    for claim, remark, status in (("(>= Y_0 Y_1)", "", "confirmed"), ("(>= Y_0 0.7)", "", "confirmed"),
                                  ("(>= Y_0 0.8)", "ends in a softmax", "open")):
        property_file(bench / "a" / "vnnlib" / "sat.vnnlib", claim)
        command(bench, "--witnesses", "w", out=claim)
        ((_, told, reason),) = found(claim)
        assert told == status
        assert remark in reason


def test_a_fault_of_the_program_is_open_and_ends_no_audit(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(options.METHODS, "milp", Fake(RuntimeError("lost")))
    results("unsat unsat", "sat timeout")
    assert command(bench, methods="milp") == 4
    assert found()[0] == ("unsat", "open", "RuntimeError: lost")


def test_an_interrupted_audit_continues_and_another_one_is_refused(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results("unsat unsat", "sat sat")
    with monkeypatch.context() as patch:
        original, seen = module.examined, []

        def stopped(*given: Any) -> module.Finding:
            seen.append(given)
            if len(seen) == 2:
                raise KeyboardInterrupt
            return original(*given)

        patch.setattr(module, "examined", stopped)
        assert command(bench) == 130
    assert len(found()) == 1, "what is done is in audit.csv"
    assert command(bench) == 0
    assert len(found()) == 2
    capsys.readouterr()
    assert command(bench, "--timeout", "5") == 2
    assert "asked something else" in error_of(capsys)
    witness_file("sat", "1", "1", "2", "0.75")
    assert command(bench, "--witnesses", "w") == 2
    assert "witnesses was" in error_of(capsys)
    results("unsat unsat")
    assert command(bench) == 2
    assert "results was" in error_of(capsys)


def test_a_loosened_property_by_hand(bench: Path) -> None:
    asked = read_vnnlib(property_file(bench / "p.vnnlib", "(<= (+ X_0 X_1) 1)", "(>= Y_0 1.5)"))
    loose = asked.loosened("1/10")
    for d, inside in ((Fraction(1, 10), True), (Fraction(11, 100), False)):
        for x, y in (((-d, 0), Fraction(3, 2)), ((1 + d, 0), Fraction(3, 2)), ((1, 0), Fraction(3, 2) - d)):
            point, image = np.array(x, dtype=object), np.array([y, 0], dtype=object)
            assert loose.contains(point, image) == inside
            assert not asked.contains(point, image)
    assert not loose.contains(np.array([1, Fraction(11, 100)], dtype=object), np.array([2, 0]))


@needs_shared
def test_published_verdicts_stand_and_flipped_ones_fall(tmp_path: Path) -> None:
    """The family `test`, and four instances of ACAS Xu with the inputs that tools published."""
    chosen = {"test": 5, "acasxu": 4}
    flips = {"sat": "unsat", "unsat": "sat"}
    for name, count in chosen.items():
        place = SHARED / "vnncomp" / name
        with gzip.open(place / "witness.csv.gz", "rt") as file:
            points = {(r["onnx"], r["vnnlib"]): r["x"].split() for r in csv.DictReader(file)}
        with (place / "expected.csv").open() as file:
            known = [r for r in csv.DictReader(file) if name == "test" or (r["onnx"], r["vnnlib"]) in points][:count]
        for row in known:
            x = points.get((row["onnx"], row["vnnlib"]), [])
            stem = f"{Path(row['onnx']).stem}_{Path(row['vnnlib'].removesuffix('.gz')).stem}"
            inside = " ".join(f"(X_{i} {v})" for i, v in enumerate(x))
            if x:
                (tmp_path / f"{stem}.counterexample").write_text(f"({inside})")
        for turned in (False, True):
            rows = [f"{name},{r['onnx']},{r['vnnlib']},0,{flips[r['verdict']] if turned else r['verdict']},1"
                    for r in known]
            file, out = tmp_path / f"{name}-{turned}.csv", tmp_path / f"run-{name}-{turned}"
            file.write_text("\n".join(rows))
            words = ["audit", str(file), str(place), "--witnesses", str(tmp_path), "--out", str(out)]
            assert run(words) == int(turned)
            assert {status for _, status, _ in found(str(out))} == {"refuted" if turned else "confirmed"}
