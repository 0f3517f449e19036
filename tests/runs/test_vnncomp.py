"""`verify vnncomp` on small families made here, and the competition's scripts."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.cli_cases import Fake, error_of, onnx_file, property_file
from verify.cli.main import run
from verify.method import Answer
from verify.runs import options
from verify.runs.competition import decide, vnncomp
from verify.runs.competition.scores import scores
from verify.runs.competition.vnncomp import plan
from verify.runs.engine.store import Store

CLAIMS = {"unsat": "(>= Y_0 2.1)", "sat": "(>= Y_0 1.5)", "close": "(>= Y_0 1.99)"}  # the largest Y_0 is 2


def family(place: Path, *names: str, known: dict[str, str] | None = None, limit: str = "10") -> Path:
    """A benchmark folder with one instance for each claim, and expected.csv where something is known."""
    for name in ("onnx", "vnnlib"):
        (place / name).mkdir(parents=True)
    onnx_file(place / "onnx" / "net.onnx")
    for name in names:
        property_file(place / "vnnlib" / f"{name}.vnnlib", CLAIMS[name])
    rows = [f"onnx/net.onnx,vnnlib/{name}.vnnlib,{limit}" for name in names]
    (place / "instances.csv").write_text("\n".join(rows) + "\n")
    if known is not None:
        head = "onnx,vnnlib,verdict,best_tool,best_seconds,abcrown_seconds,nnenum_seconds"
        lines = [f"onnx/net.onnx,vnnlib/{name}.vnnlib,{verdict},a,2,,4" for name, verdict in known.items()]
        (place / "expected.csv").write_text("\n".join([head, *lines]) + "\n")
    return place


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two families, `a` with known verdicts and `b` without."""
    monkeypatch.chdir(tmp_path)
    family(tmp_path / "bench" / "a", "unsat", "sat", known={"unsat": "unsat", "sat": "sat"})
    family(tmp_path / "bench" / "b", "sat", "unsat", "close")
    return tmp_path / "bench"


def command(folder: Path, *more: str, out: str = "run", methods: str = "pgd,interval") -> int:
    return run(["vnncomp", str(folder), "--out", out, "--methods", methods, *more])


def rows(out: str = "run") -> list[list[str]]:
    return list(csv.reader(Path(out, "results.csv").read_text().splitlines()))


def answers(out: str = "run") -> list[tuple[str, str, str]]:
    return [(row[0], Path(row[2]).stem, row[4]) for row in rows(out)]


def count_runs(monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> list[str]:
    """The properties that are decided from now on; the one at `fail_at` is interrupted."""
    seen: list[str] = []
    original = vnncomp.decide

    def counted(model: Path, prop: Path, *more: Any) -> decide.Decision:
        if len(seen) == fail_at:
            raise KeyboardInterrupt
        seen.append(prop.stem)
        return original(model, prop, *more)

    monkeypatch.setattr(vnncomp, "decide", counted)
    return seen


def test_results_are_in_the_format_of_the_competition(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(bench) == 0
    assert answers() == [
        ("a", "unsat", "unsat"), ("a", "sat", "sat"),
        ("b", "sat", "sat"), ("b", "unsat", "unsat"), ("b", "close", "sat"),
    ]
    for row in rows():
        assert len(row) == 6
        assert row[1] == "onnx/net.onnx"
        assert row[2].startswith("vnnlib/")
        assert row[3] == "0"
        assert 0 < float(row[5]) < 10
    out, err = capsys.readouterr()
    assert re.search(r"^a +2/2 +1 +1 +0 +0 +0$", out, re.MULTILINE)
    assert re.search(r"^b +3/3 +1 +2 +0 +0 +0$", out, re.MULTILINE)
    assert re.search(r"^a +2/2 +0 +0 ", out, re.MULTILINE)
    assert re.search(r"^b +- +- +- ", out, re.MULTILINE), "without expected.csv nothing is right or wrong"
    assert re.search(r"^a +2 +nnenum +\d\.\d +8\.0 ", out, re.MULTILINE)
    assert "abcrown" not in out, "it has no seconds here"
    told = "warning: a/vnnlib/unsat.vnnlib and 4 others: 1 of 2 outputs are in no constraint (Y_1)"
    assert err.splitlines() == [told, "run kept in run"]


def test_the_witness_of_a_sat_is_kept(bench: Path) -> None:
    assert command(bench, "--family", "a") == 0
    with Store.read("run") as store:
        x, y = store.array("a/1", "x"), store.array("a/1", "y")
        assert store.array("a/0", "x") is None
        (payload,) = (p for key, p in store.items() if key == "a/1")
    assert x is not None
    assert y is not None
    assert ((x >= 0) & (x <= 1)).all()
    assert y[0] >= 1.5
    assert payload["method"] == "pgd"
    assert payload["methods"]["pgd"]["lower"] >= 0


def test_an_interrupted_run_continues(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        first = count_runs(patch, fail_at=2)
        assert command(bench) == 130
    assert "continues with the same command" in error_of(capsys)
    assert first == ["unsat", "sat"]
    assert len(rows()) == 2, "what is done is in results.csv"
    rest = count_runs(monkeypatch)
    assert command(bench) == 0
    assert rest == ["sat", "unsat", "close"]
    assert len(rows()) == 5
    rest.clear()
    assert command(bench) == 0
    assert rest == []


def test_ctrl_c_inside_a_method_is_no_result(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Answer(upper=torch.tensor([1.0]), notes={"stopped": "interrupted"})
    monkeypatch.setitem(options.METHODS, "milp", Fake(stopped))
    assert command(bench, "--family", "b", methods="milp") == 130
    assert rows() == []


def test_another_question_in_the_same_folder_is_refused(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(bench, "--family", "a") == 0
    capsys.readouterr()
    for more in (("--family", "b"), ("--family", "a", "--timeout", "3")):
        assert command(bench, *more) == 2
        assert "asked something else" in error_of(capsys)
    property_file(bench / "a" / "vnnlib" / "sat.vnnlib", CLAIMS["unsat"])
    assert command(bench, "--family", "a") == 2
    assert "families was" in error_of(capsys)


def test_shards_share_a_run(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(bench, "--shard", "2/2") == 0
    assert answers() == [("a", "sat", "sat"), ("b", "unsat", "unsat")]
    assert command(bench, "--shard", "1/2") == 0
    assert len(rows()) == 5
    shown = capsys.readouterr().out
    assert re.findall(r"^a +(\d)/1 +\d +\d +0 +0 +0$", shown, re.MULTILINE) == ["1", "1"]
    for wrong in ("0/2", "3/2", "1", "a/b", "1/0", "-1/2"):
        assert command(bench, "--shard", wrong) == 2
        assert "is not I/N" in error_of(capsys)


def test_a_shard_without_instances_is_empty(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(bench, "--family", "a", "--shard", "3/3") == 0
    assert rows() == []
    assert "a " not in capsys.readouterr().out


def test_a_family_by_itself(bench: Path) -> None:
    assert command(bench / "b") == 0
    assert {row[0] for row in rows()} == {"b"}


def test_an_error_is_a_row_with_its_reason(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bench / "b" / "vnnlib" / "sat.vnnlib").write_text("(declare-const X_0 Real)\n(assert")
    onnx_file(bench / "a" / "onnx" / "net.onnx", activation="RandomUniformLike")
    (bench / "b" / "vnnlib" / "unsat.vnnlib").unlink()
    assert command(bench) == 0, "refused networks and files are no fault of the program"
    assert [answer for *_, answer in answers()] == ["error", "error", "error", "error", "sat"]
    out = capsys.readouterr().out
    assert re.search(r"^2 x error: .*RandomUniformLike", out, re.MULTILINE)
    assert re.search(r"^1 x error: .*sat\.vnnlib, line 2", out, re.MULTILINE)
    assert re.search(r"^1 x error: .*unsat\.vnnlib: cannot be read", out, re.MULTILINE)


def test_a_fault_of_the_program_ends_no_run(
    bench: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crossing = Answer(upper=torch.tensor([-3.0]), points=torch.tensor([[1.0, 1.0]]))
    for answer in (crossing, RuntimeError("lost")):
        monkeypatch.setitem(options.METHODS, "milp", Fake(answer))
        out = type(answer).__name__
        assert command(bench, "--family", "a", methods="milp", out=out) == 4
        assert [answer for *_, answer in answers(out)] == ["error", "error"]
    shown = capsys.readouterr().out
    assert "2 x error: RuntimeError: lost" in shown


def test_a_wrong_verdict_is_named_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = family(tmp_path / "w", "unsat", "sat", known={"unsat": "sat", "sat": "sat"})
    assert command(place, out=str(tmp_path / "run")) == 1
    out = capsys.readouterr().out
    assert "WRONG: w onnx/net.onnx vnnlib/unsat.vnnlib: unsat, known sat" in out
    assert re.search(r"^w +1/2 +1 +0 ", out, re.MULTILINE)


def test_an_unknown_verdict_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = family(tmp_path / "u", "unsat", "sat", known={"unsat": "unknown", "sat": "sat"})
    assert command(place, out=str(tmp_path / "run")) == 0
    assert re.search(r"^u +1/1 +0 +1 ", capsys.readouterr().out, re.MULTILINE)


def test_every_instance_has_its_own_limit(bench: Path) -> None:
    given: list[float | None] = []

    class Noting(Fake):
        def make(self, seconds: float | None) -> Fake:
            given.append(seconds)
            return self

    family(bench / "c", "close", "sat", limit="7")
    planned = plan(bench, ["c"], "milp")
    noting: Any = Noting(Answer(upper=torch.tensor([1.0])))
    campaign = vnncomp.Campaign(planned.families, {"milp": noting}, None)
    results = campaign.run(Path("run"))
    assert given[0] is None, "for the configuration, which speaks of no instance"
    assert all(seconds is not None and 6 < seconds <= 7 for seconds in given[1:])
    assert [r["answer"] for r in results.values()] == ["unknown", "unknown"]
    assert scores(campaign.instances, results)["c"].solved == 0


def test_what_is_left_open(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(bench, "--family", "a", methods="interval") == 0
    assert command(bench, "--family", "a", "--timeout", "0", out="late") == 0
    assert answers() == [("a", "unsat", "unsat"), ("a", "sat", "unknown")]
    assert answers("late") == [("a", "unsat", "timeout"), ("a", "sat", "timeout")]
    assert re.findall(r"^a +(\d)/2 +(\d) +(\d) +(\d) +(\d) +(\d)$", capsys.readouterr().out, re.MULTILINE) == [
        ("1", "1", "0", "1", "0", "0"), ("0", "0", "0", "0", "2", "0")]


def test_a_network_is_read_once(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def reading(model: Path) -> Any:
        read.append(model)
        return decide.read_network(model)

    monkeypatch.setattr(vnncomp, "read_network", reading)
    assert command(bench) == 0
    assert [path.parts[-3] for path in read] == ["a", "b"]


def test_what_properties_hardly_mean_is_told_once(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where a run is continued, and has its answers already."""
    file = bench / "b" / "vnnlib" / "sat.vnnlib"
    file.write_text(file.read_text() + "(assert (<= 0 1))\n")
    for _ in range(2):
        command(bench)
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
        assert told[0] == "warning: a/vnnlib/unsat.vnnlib and 4 others: 1 of 2 outputs are in no constraint (Y_1)"
        assert len(told) == 2
        assert told[1].startswith("warning: b/vnnlib/sat.vnnlib: ")
