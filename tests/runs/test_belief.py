"""What one part finds, all believe: a point against a verdict ends in a contradiction, wherever it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

import verify
from tests.support.cli_cases import Fake, X, Y, certify, counts_of, property_file
from tests.support.gap_cases import Told, network, of_samples
from verify.cli.main import run
from verify.errors import Contradiction, InputError
from verify.ir.graph import Source
from verify.ir.rewrite import simplify
from verify.method import Answer, Method
from verify.proof.prover import Prover, prove
from verify.runs import options
from verify.runs.certification.cascade import Cascade
from verify.runs.competition.decide import decide
from verify.runs.engine.drive import certify as certified
from verify.runs.engine.store import Store
from verify.runs.evidence.certificates import Proving
from verify.runs.studies.radii import Radii

SAMPLES = [0, 1, 2]  # v* is -0.85, 0.05 below what a method may say of 1, and 0.15


def rows(
    folder: Path, methods: Mapping[str, Method], proving: Proving | None = None, copies: int = 1,
    replay: Callable[[np.ndarray], np.ndarray] | None = None, source: Source | None = None,
) -> list[dict]:
    """The results of a run over the samples, each so many times, at radius 1/10."""
    index = SAMPLES * copies
    x, y = torch.from_numpy(X[index]), Y[index].tolist()
    problem = verify.robustness(simplify(replace(network(), source=source)), x, y, "1/10")
    job = Cascade({"1/10": problem}, x, y, dict(methods), set(), replay, proving)
    request = {"model": "net.onnx", "data": "data.npz", "eps": "1/10,1/5"}
    with Store.open(folder, {}, {}, request) as store:
        certified(job, store)
        found = dict(store.items())
    return [found[f"sample/{i}/1/10"] for i in range(len(index))]


def test_a_verdict_that_no_attack_has_seen_is_held_against_one(tmp_path: Path) -> None:
    """What the method says of the first sample is true, but it is not believed; another method verifies it."""
    first, _, third = rows(tmp_path, {"liar": Told(upper=-0.01), "crown": verify.CROWN()})
    assert (first["verdict"], first["method"]) == ("verified", "crown")
    assert third["verdict"] == "error"
    assert "above the upper bound -0.00999" in third["reason"]
    record = json.loads((tmp_path / "contradiction" / "contradiction.json").read_text())
    assert (record["certificate"]["method"], record["sample"]) == ("liar", 2)
    assert record["certificate"]["value"] == pytest.approx(-0.01)
    assert record["attack"]["value"] == pytest.approx(0.15, abs=1e-5)
    assert record["again"] == "verify gaps net.onnx --data sample.npz --eps 1/10 --methods pgd"
    with np.load(tmp_path / "contradiction" / "sample.npz") as arrays:
        assert arrays["x"].tolist() == [X[2].tolist()]
        assert arrays["y"].tolist() == [int(Y[2])]


def test_where_a_sample_of_the_batch_contradicts_the_whole_batch_is_looked_at(tmp_path: Path) -> None:
    found = rows(tmp_path, {"liar": Told(upper=-0.01)}, copies=20)
    assert not [row for row in found if row["verdict"] == "verified"]
    assert all(row["verdict"] == "error" for row in found[2::3])
    assert {row["reason"] for row in found[::3]} == {"liar: not believed, since a point contradicts what it says of "
                                                     "sample 2"}
    assert len(list(tmp_path.glob("contradiction*"))) == 10
    assert sum("like the 10 that are kept" in row.get("bundle", "") for row in found) > 0


def test_an_attack_that_has_looked_is_not_repeated(tmp_path: Path) -> None:
    with patch("verify.runs.certification.cascade.CHEAP", None):
        (first, _, _) = rows(tmp_path, {"pgd": verify.PGD(), "crown": verify.CROWN()})
    assert first["verdict"] == "verified"


def test_a_point_that_the_prover_meets_is_believed(tmp_path: Path) -> None:
    """The method brings a point of its own, so that no other attack looks before the proof is made."""
    liar = Told(upper=-0.01, point=(0.5, 0.4))
    _, _, third = rows(tmp_path, {"liar": liar}, Proving("R", None, None, 10.0))
    assert third["verdict"] == "error"
    assert third["reason"].startswith("proof: ")
    record = json.loads((tmp_path / "contradiction" / "contradiction.json").read_text())
    assert (record["attack"]["method"], record["certificate"]["method"]) == ("proof", "liar")


@pytest.mark.parametrize("broken", ["prove", "_search", "_assembled"])
def test_a_proof_that_fails_loses_nothing(tmp_path: Path, broken: str) -> None:
    with patch.object(Prover, broken, side_effect=ZeroDivisionError("of a prover")), \
            patch.object(Prover, "_rules", return_value={}):
        first, _, _ = rows(tmp_path, {"crown": verify.CROWN()}, Proving("R", None, None, 10.0))
        proof = prove(of_samples([0]), level="F")
    assert (first["verdict"], first["method"]) == ("verified", "crown")
    why = "the prover failed, please report it (ZeroDivisionError: of a prover)"
    assert first["reason"] == f"no certificate at level R: {why}"
    assert proof.reason == why


def test_certify_ends_with_an_error_where_a_method_lies(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(options.METHODS, "interval", Fake(Answer(upper=torch.tensor([-0.01]))))
    assert certify("--out", "run", "--json", eps="1/10") == 4
    counts = counts_of(capsys)
    assert (counts["verified"], counts["errors"]) == (2, 1)
    assert (here / "run" / "contradiction" / "net.onnx").is_file()


def test_a_property_ends_with_an_error_where_a_method_lies(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(options.METHODS, "interval", Fake(Answer(upper=torch.tensor([-0.01]))))
    property_file(here / "p.vnnlib", "(<= Y_1 0.9)")
    assert run(["vnnlib", "net.onnx", "p.vnnlib", "--methods", "interval"]) == 4
    where = f"kept in {Path('contradiction')}"
    message = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"error: problem 0: PGD-3 found a point of value 0\.1(5|49999)", message)
    assert message.endswith(where)
    record = json.loads((here / "contradiction" / "contradiction.json").read_text())
    assert record["again"] == f"verify vnnlib net.onnx {here.resolve() / 'p.vnnlib'}"
    monkeypatch.setitem(options.METHODS, "interval", Fake(Answer(torch.tensor([-0.01]), torch.tensor([[1.0, 0.0]]))))
    assert run(["vnnlib", "net.onnx", "p.vnnlib", "--methods", "interval", "--proof", "c"]) == 4
    assert not Path("c").exists()


def test_radii_end_with_an_error_where_a_method_lies(tmp_path: Path) -> None:
    x, y = torch.from_numpy(X[SAMPLES]), Y[SAMPLES].tolist()
    job = Radii(simplify(network()), x, y, Fraction(1, 10), "linf", (Fraction(0), Fraction(1)),
                {"liar": Told(upper=-0.01)}, set(), Fraction(1, 100), 10.0)
    first, _, third = job.first([0, 1, 2])
    assert (first.error, first.lower) == ("", Fraction(1, 10))
    assert "above the upper bound" in third.error
    kept = job.kept(third, tmp_path, {})
    assert kept.bundle == f"kept in {tmp_path / 'contradiction'}"
    assert json.loads((tmp_path / "contradiction" / "contradiction.json").read_text())["again"] is None


def test_brackets_that_meet_points_are_those_of_the_problem() -> None:
    from verify.runs.evidence.belief import held, met

    problem = of_samples([2])
    assert float(met(problem, torch.tensor([[0.4, 0.5]]), "proof").lower) <= 0.15 + 1e-6
    verified = verify.solve(problem, Told(upper=-0.01))
    with pytest.raises(Contradiction):
        held(problem, verified)
    open_bracket = verify.solve(problem, Told(upper=0.5))
    assert held(problem, open_bracket) is open_bracket


class Otherwise:
    """A runtime in which every input is far inside of class 0."""

    def outputs(self, x: np.ndarray) -> np.ndarray:
        return np.tile(np.array([9.0, 0.0], np.float32), (len(x), 1))

    def tensors(self, x: np.ndarray) -> list[tuple[str, list[np.ndarray]]]:
        return []


def test_a_model_that_runs_otherwise_than_it_was_read_is_refused(here: Path) -> None:
    """The witness of the graph is none of the model, by much."""
    prop = property_file(here / "p.vnnlib", "(>= Y_1 Y_0)")
    lying, honest = simplify(replace(network(), source=Otherwise())), simplify(network())
    with patch("verify.runs.competition.decide.original_outputs", lambda model, x: Otherwise().outputs(x[None])[0]):
        with pytest.raises(InputError, match=r"would be read wrongly: .* gives .* as read, and 9|0 as run"):
            decide(here / "net.onnx", prop, options.entries_of("pgd"), read=lambda model: lying)
        found = decide(here / "net.onnx", prop, options.entries_of("pgd"), read=lambda model: honest)
    assert found.answer == "unknown"
    assert "does not stand the replay" in found.reason


def test_a_sample_whose_model_runs_otherwise_is_an_error(tmp_path: Path) -> None:
    def replay(x: np.ndarray) -> np.ndarray:
        return Otherwise().outputs(x[None])[0]

    _, _, third = rows(tmp_path, {"pgd": verify.PGD()}, replay=replay, source=Otherwise())
    assert third["verdict"] == "error"
    assert "would be read wrongly" in third["reason"]
