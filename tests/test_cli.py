"""The commands as a user meets them: output, exit codes, and one line for every bad input."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import verify
from tests.helpers import SHARED, needs_shared
from verify.bracket import Verdict
from verify.cli.main import run
from verify.errors import Contradiction, InputError, UnsupportedMethod
from verify.ir.normalize import normalized
from verify.method import Answer
from verify.problem import Problem
from verify.runs import options
from verify.runs.store import FILE, Store

# x in [0, 1]^2, y = (x0 + x1, relu(x0 - x1) + 0.75): class 0 iff x0 + x1 is larger
WEIGHTS = {
    "A": np.array([[1, 1], [1, -1]], np.float32), "a": np.array([0, 0], np.float32),
    "B": np.array([[1, 0], [0, 1]], np.float32), "b": np.array([0, 0.75], np.float32),
}
X = np.array([[0.9, 0.9], [0.2, 0.1], [0.5, 0.4], [0.9, 0.8]], np.float32)
Y = np.array([0, 1, 0, 1])  # the last one is wrong


def onnx_file(path: Path, weights: dict[str, np.ndarray] = WEIGHTS, activation: str = "Relu") -> Path:
    """The two-layer network of these weights."""
    nodes = [
        helper.make_node("Gemm", ["X", "A", "a"], ["z"], transB=1), helper.make_node(activation, ["z"], ["r"]),
        helper.make_node("Gemm", ["r", "B", "b"], ["Y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("X", "Y")]
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def property_file(path: Path, *claims: str, low: str = "0", high: str = "1") -> Path:
    """Boxes on both inputs and these claims."""
    declared = [f"(declare-const {name} Real)" for name in ("X_0", "X_1", "Y_0", "Y_1")]
    boxes = [f"(assert (>= X_{i} {low}))\n(assert (<= X_{i} {high}))" for i in range(2)]
    path.write_text("\n".join([*declared, *boxes, *(f"(assert {claim})" for claim in claims)]))
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model and data."""
    onnx_file(tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def certify(*more: str, eps: str = "1/100", methods: str = "interval", data: str = "data.npz") -> int:
    return run(["certify", "net.onnx", "--data", data, "--eps", eps, "--methods", methods, *more])


def error_of(captured: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; stdout is empty and there is no traceback."""
    out, err = captured.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", err), err
    return err


@dataclass(frozen=True)
class Fake:
    """A method that answers as told; stands in for a dear one."""

    answers: Answer | Exception
    name: str = "milp"

    def make(self, seconds: float | None) -> Fake:
        return self

    dear = True

    def answer(self, problem: Problem) -> Answer:
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


# --- certify -----------------------------------------------------------------------------------------------------


def test_certify_counts_what_it_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--out", "run") == 0
    out, err = capsys.readouterr()
    assert "clean accuracy         75.0 %  3 of 4" in out
    assert "accuracy under attack  75.0 %  3 of 4" in out
    assert "verified accuracy      75.0 %  3 of 4" in out
    assert re.search(r"^interval +3 ", out, re.MULTILINE)
    assert re.search(r"^clean +1 ", out, re.MULTILINE)
    assert "the verdicts trust" in out.splitlines()[-1]
    assert err == "run kept in run\n"
    with Store.read("run") as store:
        results = dict(store.items())
        assert store.config["eps"] == "1/100"
        assert (results["sample/3"]["verdict"], results["sample/3"]["method"]) == (Verdict.FALSIFIED, "clean")
        witness = store.array("sample/3", "witness")
        assert witness is not None
        assert witness.tobytes() == X[3].tobytes()
        # by hand: the largest margin of sample 2 is 0.75 + relu(0.1 + 2 eps) - (0.9 - 2 eps)
        assert results["sample/2"]["upper"] == pytest.approx(-0.01, abs=1e-6)
        assert results["sample/2"]["methods"]["interval"]["upper"] == pytest.approx(-0.01, abs=1e-6)


def test_json_holds_the_same_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--json", eps="0.1") == 0
    found = json.loads(capsys.readouterr().out)
    counts = {"samples": 4, "clean": 3, "falsified": 0, "verified": 2, "undecided": 1, "errors": 0}
    assert {name: found[name] for name in counts} == counts
    assert found["reasons"] == {"the bounds leave a gap": 1}
    assert found["config"]["eps"] == "1/10"
    assert [result["index"] for result in found["unsettled"]] == [2]
    assert Path(found["run"], FILE).is_file()


def test_an_attack_falsifies_what_is_not_robust(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--json", "--out", "run", eps="0.1", methods="pgd,crown") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["falsified"], found["verified"], found["undecided"]) == (1, 2, 0)
    with Store.read("run") as store:
        witness = store.array("sample/2", "witness")
    assert witness is not None
    x = [Fraction(float(v)) for v in witness]
    assert all(abs(v - Fraction(float(c))) <= Fraction(1, 10) for v, c in zip(x, X[2], strict=True))
    assert max(x[0] - x[1], 0) + Fraction(3, 4) >= x[0] + x[1]


@pytest.mark.parametrize(("least", "code"), [("50%", 0), ("1/2", 0), ("75%", 3), ("0.76", 1), ("100%", 1), ("0", 0)])
def test_fail_under(here: Path, least: str, code: int) -> None:
    assert certify("--fail-under", least, eps="0.1") == code  # 2 of 4 verified, 1 undecided


def test_a_run_continues_where_it_stopped(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    @dataclass(frozen=True)
    class Interrupted(Fake):
        def answer(self, problem: Problem) -> Answer:
            asked.append(problem.batch)
            if len(asked) == 2:
                raise KeyboardInterrupt
            return Answer(upper=torch.tensor([-0.01]))

    monkeypatch.setitem(options.METHODS, "milp", Interrupted(Answer()))
    assert certify("--out", "run", methods="milp") == 130
    assert "continues with the same command and --out RUN" in error_of(capsys)
    with Store.read("run") as store:
        assert store.keys() == {"sample/3", "sample/0"}
    assert certify("--out", "run", methods="milp") == 0
    assert "verified accuracy      75.0 %" in capsys.readouterr().out
    assert len(asked) == 4  # one more for the sample that was interrupted, one for the last
    assert certify("--out", "run", methods="milp", eps="0.01") == 0  # 0.01 is 1/100
    assert len(asked) == 4


def test_a_run_of_something_else_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--out", "run") == 0
    before, _ = Path("run", FILE).read_bytes(), capsys.readouterr()
    assert certify("--out", "run", eps="8/255") == 2
    assert "eps was 1/100, now 8/255" in error_of(capsys)
    np.savez(here / "data.npz", x=X[::-1], y=Y[::-1])
    assert certify("--out", "run") == 2
    assert "data was" in error_of(capsys)
    np.savez(here / "data.npz", x=X, y=Y)
    onnx_file(here / "net.onnx", {**WEIGHTS, "b": np.array([0, 0.5], np.float32)})
    assert certify("--out", "run") == 2
    assert "model was" in error_of(capsys)
    assert Path("run", FILE).read_bytes() == before


def test_a_dear_method_says_why_it_does_not_decide(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = Answer(upper=torch.tensor([0.5]), notes={"stopped": "time limit of 10 s"}, trusts="the solver")
    monkeypatch.setitem(options.METHODS, "milp", Fake(stopped))
    monkeypatch.setitem(options.METHODS, "lp", Fake(UnsupportedMethod("no LP of an l2 ball"), "lp"))
    assert certify(eps="0.1", methods="interval,lp,milp") == 0
    out = capsys.readouterr().out
    assert "1 undecided: lp: no LP of an l2 ball; milp: time limit of 10 s" in out
    assert re.search(r"^2 +0 +-0\.05 <= v\* <= 0\.35", out, re.MULTILINE)
    assert "attack <= v* <= certificate" in out


def test_a_bound_that_is_not_a_number_decides_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(options.METHODS, "milp", Fake(Answer(upper=torch.tensor([torch.nan]))))
    assert certify(methods="milp") == 0
    assert "3 undecided: milp: no finite bound" in capsys.readouterr().out


def test_a_contradiction_is_an_error_and_no_verdict(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(options.METHODS, "milp", Fake(Answer(upper=torch.tensor([-9.0]))))  # the clean margin is larger
    assert certify("--json", methods="milp") == 4
    found = json.loads(capsys.readouterr().out)
    assert (found["verified"], found["errors"]) == (0, 3)
    crossing = Contradiction("the sides cross", {"problems": [0]})
    monkeypatch.setitem(options.METHODS, "milp", Fake(crossing))
    assert certify("--json", methods="milp") == 4
    found = json.loads(capsys.readouterr().out)
    assert found["failures"] == {"milp: the sides cross": 3}
    assert certify(methods="milp") == 4
    out, err = capsys.readouterr()
    assert "3 in error: milp: the sides cross" in out
    assert "error: 3 samples met an error" in err


def test_normalization_keeps_eps_in_the_units_of_the_input(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mean, std = np.array([0.5, 0.25]), np.array([0.5, 2.0])
    first = {"A": WEIGHTS["A"] * std, "a": WEIGHTS["A"] @ mean}  # undoes the normalisation
    onnx_file(here / "net.onnx", WEIGHTS | {name: value.astype(np.float32) for name, value in first.items()})
    assert certify("--normalize", "0.5,0.25:1/2,2", "--json", eps="0.1") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["clean"], found["verified"]) == (3, 2)
    (gap,) = found["unsettled"]
    assert (gap["lower"], gap["upper"]) == pytest.approx((-0.05, 0.35), abs=1e-6)


@pytest.mark.parametrize(("channels", "counts"), [(1, "1"), (3, "1 or 3")])
def test_a_normalization_of_another_length_names_the_lengths(channels: int, counts: str) -> None:
    network = verify.trace(torch.nn.Flatten(), torch.zeros(1, channels, 2, 2))
    with pytest.raises(InputError, match=f"give {counts}$"):
        normalized(network, [Fraction(0)] * 2, [Fraction(1)])


def test_other_norms_have_their_own_default_methods(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["certify", "net.onnx", "--data", "data.npz", "--eps", "0.01", "--norm", "l2", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["config"]["methods"]) == ["interval", "pgd", "crown"]


BAD_CERTIFY = {
    "eps is -1 but": ["--eps", "-1"],
    "eps 'much' is not a finite number": ["--eps", "much"],
    "eps 'nan' is not": ["--eps", "nan"],
    "unknown norm 'l3'": ["--norm", "l3"],
    "unknown method 'magic'; choose among fgsm": ["--methods", "interval,magic"],
    "method 'pgd' is named twice": ["--methods", "pgd,pgd"],
    "unknown device 'tpu'": ["--device", "tpu"],
    "clip '1' is not LOW,HIGH": ["--clip", "1"],
    "clip '1,0' is empty": ["--clip", "1,0"],
    "outside the clip": ["--clip", "0,1/2"],
    "is not MEAN:STD": ["--normalize", "0.5"],
    "deviation that is not positive": ["--normalize", "0:0"],
    "3 values of mean": ["--normalize", "0,0,0:1"],
    "the share '2' is not between": ["--fail-under", "2"],
    "Invalid value for '--limit'": ["--limit", "0"],
    "No such option: --epsilon": ["--epsilon", "1"],
    "there is no file none.npz": ["--data", "none.npz"],
    "has its weights in it": ["--weights", "w.safetensors"],
    "cannot make run folder": ["--out", "data.npz/run"],
}


@pytest.mark.parametrize(("message", "arguments"), BAD_CERTIFY.items(), ids=range(len(BAD_CERTIFY)))
def test_bad_options(here: Path, message: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    plain = {"--data": "data.npz", "--eps": "0.1", "--methods": "interval", arguments[0]: arguments[1]}
    assert run(["certify", "net.onnx", *(word for pair in plain.items() for word in pair)]) == 2
    assert message in error_of(capsys)
    assert sorted(os.listdir()) == ["data.npz", "net.onnx"]  # nothing half written


def test_cuda_where_there_is_none(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert certify("--device", "cuda") == 2
    assert "no CUDA device" in error_of(capsys)


def broken_data(kind: str) -> None:
    x, y = X.copy(), Y.copy()
    if kind == "truncated":
        Path("data.npz").write_bytes(Path("data.npz").read_bytes()[:200])
        return
    if kind == "shape":
        x = np.zeros((4, 3), np.float32)
    elif kind == "pixel":
        x[2, 1] = np.nan
    elif kind == "label":
        y[1] = 2
    np.savez("data.npz", x=x, y=y)


@pytest.mark.parametrize(("kind", "message"), [
    ("truncated", "data.npz"), ("shape", "inputs have shape (3,)"), ("pixel", "finite"), ("label", "out of range"),
])
def test_bad_data(here: Path, kind: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    broken_data(kind)
    assert certify("--out", "run") == 2
    assert message in error_of(capsys)
    assert not Path("run").exists()


def broken_model(kind: str) -> None:
    path = Path("net.onnx")
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif kind == "op":
        onnx_file(path, activation="Cosh")
    else:
        onnx_file(path, {**WEIGHTS, "b": np.array([0, np.inf], np.float32)})


@pytest.mark.parametrize(("kind", "message"), [
    ("missing", "there is no model file net.onnx"), ("truncated", "net.onnx"), ("op", "Cosh"), ("weight", "not finite"),
])
@pytest.mark.parametrize("command", ["certify", "vnnlib", "inspect"])
def test_bad_models(here: Path, command: str, kind: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    prop = property_file(here / "p.vnnlib", "(>= Y_1 Y_0)")
    broken_model(kind)
    more = {"certify": ["--data", "data.npz", "--eps", "0.1"], "vnnlib": [str(prop)], "inspect": []}
    assert run([command, "net.onnx", *more[command]]) == 2
    assert message in error_of(capsys)


def test_internal_errors_are_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(options.METHODS, "milp", Fake(ZeroDivisionError("what\na pity")))
    assert certify(methods="milp") == 4
    assert "please report it" in (line := error_of(capsys))
    assert "ZeroDivisionError: what a pity" in line
    monkeypatch.setenv("VERIFY_DEBUG", "1")
    assert certify(methods="milp") == 4
    assert "Traceback" in capsys.readouterr().err


# --- vnnlib ------------------------------------------------------------------------------------------------------


def vnnlib(*more: str, prop: str = "p.vnnlib") -> int:
    return run(["vnnlib", "net.onnx", prop, *more])


def verdict_of(captured: pytest.CaptureFixture[str]) -> tuple[str, str]:
    out, err = captured.readouterr()
    return out.splitlines()[-1], err


def test_unsat(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(<= Y_1 0.7)")
    assert vnnlib("--methods", "interval", "--witness", "w") == 0
    assert verdict_of(capsys)[0] == "unsat"
    assert not Path("w").exists()


def test_sat_comes_with_a_witness_that_stands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = property_file(here / "p.vnnlib", "(>= Y_0 1.5)", "(<= Y_1 1.2)")
    (here / "q.vnnlib.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert vnnlib("--methods", "pgd", "--witness", "w", prop="q.vnnlib.gz") == 0
    assert verdict_of(capsys)[0] == "sat"
    head, *lines = Path("w").read_text().splitlines()
    assert head == "sat"
    assert lines[0].startswith("((X_0 ")
    assert lines[-1].endswith("))")
    named = {name: np.float32(value) for name, value in re.findall(r"\((\w+) ([^()]+)\)", "\n".join(lines))}
    assert list(named) == ["X_0", "X_1", "Y_0", "Y_1"]
    x = np.array([named["X_0"], named["X_1"]])
    assert ((x >= 0) & (x <= 1)).all()
    z = np.maximum(WEIGHTS["A"] @ x, 0) + WEIGHTS["b"]
    assert (named["Y_0"], named["Y_1"]) == pytest.approx(tuple(z), abs=1e-6)
    assert named["Y_0"] >= 1.5
    assert Fraction(float(named["Y_1"])) <= Fraction("1.2")
    assert sorted(os.listdir()) == ["data.npz", "net.onnx", "p.vnnlib", "q.vnnlib.gz", "w"]


def test_a_range_without_floats_is_not_empty(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(<= Y_0 1)", low="0.1", high="0.1")  # 0.1 is no float; fl(0.1) stands for it
    assert vnnlib("--methods", "pgd") == 0
    assert verdict_of(capsys)[0] == "sat"


def test_unknown_says_why(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    assert vnnlib("--methods", "interval") == 3
    last, err = verdict_of(capsys)
    assert last == "unknown"
    assert "interval: -inf <= v* <= " in err
    assert "unknown: the bounds leave a gap" in err


def test_a_timeout_stops_between_methods(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    assert vnnlib("--timeout", "0", "--methods", "interval") == 3
    assert verdict_of(capsys)[0] == "timeout"


@pytest.mark.parametrize("answer", [UnsupportedMethod("no such spec"), Answer(upper=torch.tensor([torch.nan]))])
def test_what_proves_nothing_is_unknown(
    here: Path, answer: Answer | Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    monkeypatch.setitem(options.METHODS, "milp", Fake(answer))
    assert vnnlib("--methods", "milp") == 3
    assert verdict_of(capsys)[0] == "unknown"


def test_a_witness_that_fails_its_replay_is_unknown(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    from verify.runs import decide

    monkeypatch.setattr(decide, "original_outputs", lambda model, x: np.array([0.0, 1.25], np.float32))
    monkeypatch.setitem(options.METHODS, "milp", Fake(Answer(points=torch.tensor([[1.0, 0.0]]))))
    assert vnnlib("--methods", "milp", "--witness", "w") == 3
    last, err = verdict_of(capsys)
    assert last == "unknown"
    assert "does not stand the replay" in err
    assert not Path("w").exists()


@needs_shared
def test_published_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    folder = SHARED / "vnncomp" / "test"
    with (folder / "expected.csv").open() as file:
        for row in csv.DictReader(file):
            assert run(["vnnlib", str(folder / row["onnx"]), str(folder / row["vnnlib"])]) == 0
            assert verdict_of(capsys)[0] == row["verdict"]


@pytest.mark.parametrize(("text", "message"), [
    ("(declare-const X_0 Real)\n(assert", "line"),
    ("(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))(assert (>= Y_0 1))",
     "1 variables X_i but the network has 2"),
])
def test_bad_properties(here: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.vnnlib").write_text(text)
    assert vnnlib() == 2
    assert message in error_of(capsys)
    assert vnnlib(prop="none.vnnlib") == 2
    assert "none.vnnlib" in error_of(capsys)


def test_a_witness_file_that_cannot_be_written_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    property_file(here / "p.vnnlib", "(>= Y_1 1.5)")
    for place in ("none/w", "."):
        assert vnnlib("--witness", place) == 2
        assert "cannot write" in error_of(capsys)


# --- inspect, doctor, the program itself ---------------------------------------------------------------------------


def test_inspect_shows_nodes_and_unstable_neurons(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "net.onnx", "--eps", "0.06", "--data", "data.npz", "--limit", "4"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^z +Linear +X +2 +A 2x2, a 2$", out, re.MULTILINE)
    assert "3 nodes, 12 parameter values, 2 nonlinear neurons" in out
    # |x0 - x1| is 0, 0.1, 0.1, 0.1, less than 2 eps, in every sample; x0 + x1 > 2 eps
    assert re.search(r"^r +1\.0 +1\.0 +2$", out, re.MULTILINE)


def test_inspect_needs_data_for_eps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "net.onnx", "--eps", "0.1"]) == 2
    assert "--eps and --data go together" in error_of(capsys)


def test_doctor_lists_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    for name, module in (("torch", torch), ("numpy", np), ("onnx", onnx)):
        assert re.search(rf"^{name} +{re.escape(module.__version__)} ", out, re.MULTILINE)
    assert "highspy" in out
    assert "cuda" in out


def test_doctor_names_the_command_that_adds_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["doctor"]) == 0
    assert "matplotlib (plots): python -m pip install 'verify-nn[plot]'" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "highspy", None)
    assert run(["doctor"]) == 2
    assert "python -m pip install highspy" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["prove"], ["certify"], ["certify", "a", "b"], ["vnnlib", "net.onnx"]])
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "see verify --help" in error_of(capsys)


def test_help_is_quick_and_loads_no_torch() -> None:
    script = (
        "import sys, time; start = time.perf_counter(); from verify.cli.main import run; code = run(['--help'])\n"
        "heavy = {'torch', 'numpy', 'onnx', 'highspy', 'scipy', 'rich.table'} & set(sys.modules)\n"
        "print(code, heavy, file=sys.stderr); sys.exit(bool(code or heavy))"
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        for command in ("certify", "vnnlib", "inspect", "doctor"):
            assert command in done.stdout
    assert min(seconds) < 0.5


def test_a_process_keeps_results_and_the_rest_apart(here: Path) -> None:
    command = [sys.executable, "-m", "verify.cli.main", "certify", "net.onnx", "--data", "data.npz", "--eps", "0.01",
               "--methods", "interval"]
    environment = {**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0
    assert "verified accuracy" in done.stdout
    assert "\x1b" not in done.stdout
    assert re.fullmatch(r"run kept in runs/net-\d+-\d+\n", done.stderr)
