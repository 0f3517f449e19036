"""`verify certify` as a user meets it: output, exit codes, and one line for every bad input."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from verify.models.architectures import make

import verify
from tests.support.cli_cases import WEIGHTS, Fake, X, Y, certify, counts_of, error_of, onnx_file, property_file
from verify.bracket import Verdict
from verify.cli.main import run
from verify.errors import Contradiction, InputError, UnsupportedMethod
from verify.ir.front import normalized
from verify.ir.layers import read_chain
from verify.method import Answer
from verify.problem import Problem
from verify.runs import options
from verify.runs.engine.store import FILE, Store


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
        assert store.config["eps"] == ["1/100"]
        wrong = results["sample/3/1/100"]
        assert (wrong["verdict"], wrong["method"]) == (Verdict.FALSIFIED, "clean")
        witness = store.array("sample/3/1/100", "witness")
        assert witness is not None
        assert witness.tobytes() == X[3].tobytes()
        # by hand: the largest margin of sample 2 is 0.75 + relu(0.1 + 2 eps) - (0.9 - 2 eps)
        assert results["sample/2/1/100"]["upper"] == pytest.approx(-0.01, abs=1e-6)
        assert results["sample/2/1/100"]["methods"]["interval"]["upper"] == pytest.approx(-0.01, abs=1e-6)


def test_json_holds_the_same_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--json", eps="0.1") == 0
    told = json.loads(capsys.readouterr().out)
    found = told["radii"]["1/10"]
    counts = {"samples": 4, "clean": 3, "falsified": 0, "verified": 2, "undecided": 1, "errors": 0}
    assert {name: found[name] for name in counts} == counts
    assert found["reasons"] == {"the bounds leave a gap": 1}
    assert told["config"]["eps"] == ["1/10"]
    assert [result["index"] for result in found["unsettled"]] == [2]
    assert Path(told["run"], FILE).is_file()


def test_an_attack_falsifies_what_is_not_robust(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--json", "--out", "run", eps="0.1", methods="pgd,crown") == 0
    found = counts_of(capsys)
    assert (found["falsified"], found["verified"], found["undecided"]) == (1, 2, 0)
    with Store.read("run") as store:
        witness = store.array("sample/2/1/10", "witness")
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
    assert "continues with the same command, --out RUN, and --resume" in error_of(capsys)
    with Store.read("run") as store:
        assert store.keys() == {"sample/3/1/100", "sample/0/1/100", "batch/0"}
    assert certify("--out", "run", "--resume", methods="milp") == 0
    assert "verified accuracy      75.0 %" in capsys.readouterr().out
    assert len(asked) == 4  # one more for the sample that was interrupted, one for the last
    assert certify("--out", "run", "--resume", methods="milp", eps="0.01") == 0  # 0.01 is 1/100
    assert len(asked) == 4


def test_a_run_of_something_else_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--out", "run") == 0
    before, _ = Path("run", FILE).read_bytes(), capsys.readouterr()
    assert certify("--out", "run", "--resume", eps="8/255") == 2
    assert 'eps was ["1/100"], now ["8/255"]' in error_of(capsys)
    np.savez(here / "data.npz", x=X[::-1], y=Y[::-1])
    assert certify("--out", "run", "--resume") == 2
    assert "data was" in error_of(capsys)
    np.savez(here / "data.npz", x=X, y=Y)
    onnx_file(here / "net.onnx", {**WEIGHTS, "b": np.array([0, 0.5], np.float32)})
    assert certify("--out", "run", "--resume") == 2
    assert "model was" in error_of(capsys)
    assert certify("--out", "run") == 2
    assert "run holds a run already; continue it with --resume" in error_of(capsys)
    assert certify("--out", "other", "--resume") == 2
    assert "other holds no run; leave out --resume" in error_of(capsys)
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
    found = counts_of(capsys)
    assert (found["verified"], found["errors"]) == (0, 3)
    crossing = Contradiction("the sides cross", {"problems": [0]})
    monkeypatch.setitem(options.METHODS, "milp", Fake(crossing))
    assert certify("--json", methods="milp") == 4
    found = counts_of(capsys)
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
    found = counts_of(capsys)
    assert (found["clean"], found["verified"]) == (3, 2)
    (gap,) = found["unsettled"]
    assert (gap["lower"], gap["upper"]) == pytest.approx((-0.05, 0.35), abs=1e-6)


@pytest.mark.parametrize(("channels", "counts"), [(1, "1"), (3, "1 or 3")])
def test_a_normalization_of_another_length_names_the_lengths(channels: int, counts: str) -> None:
    network = verify.trace(torch.nn.Flatten(), torch.zeros(1, channels, 2, 2))
    with pytest.raises(InputError, match=f"give {counts}$"):
        normalized(network, [Fraction(0)] * 2, [Fraction(1)])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_default_methods_are_for_all_norms(here: Path, capsys: pytest.CaptureFixture[str], norm: str) -> None:
    assert run(["certify", "net.onnx", "--data", "data.npz", "--eps", "0.01", "--norm", norm, "--json"]) == 0
    methods = json.loads(capsys.readouterr().out)["config"]["methods"]
    assert list(methods) == ["interval", "pgd", "crown", "alpha", "bab"]


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
        onnx_file(path, activation="RandomUniformLike")  # refused, and not to be attacked either
    else:
        onnx_file(path, {**WEIGHTS, "b": np.array([0, np.inf], np.float32)})


@pytest.mark.parametrize(("kind", "message"), [
    ("missing", "there is no model file net.onnx"), ("truncated", "net.onnx"), ("op", "RandomUniformLike"),
    ("weight", "not finite"),
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


@pytest.mark.parametrize(("network", "size"), [("dense", 128), ("dm-large", 5)])
def test_a_batch_of_a_large_network_is_smaller(network: str, size: int):
    chain = read_chain(make(network, (1, 28, 28)), torch.zeros(1, 1, 28, 28))
    assert chain is not None
    assert options.batch_of(None, chain) == size
    assert options.batch_of(7, chain) == 7
    with pytest.raises(InputError, match="a batch has 0 samples; give 1 or more"):
        options.batch_of(0, chain)
