"""From a problem to a certificate that the checker accepts, end to end, and when there is none."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn
from verify.models import digits

import verify
from tests.support.bases import KINDS, near
from tests.support.certificates import Parts, attack, ends, real_violation, samples
from tests.support.cli_cases import WEIGHTS, onnx_file, property_file
from tests.support.machines import Singles
from tests.support.nets import nets, seeded
from tests.support.small_nets import NETWORKS, box_around, problem
from verify.bracket import Verdict
from verify.check.checker import check
from verify.cli.main import run
from verify.errors import InputError
from verify.exact.search.neuron_split import NeuronSplit
from verify.method import Method
from verify.problem import Problem
from verify.proof.export import exported
from verify.proof.prover import Proof, prove
from verify.sets import Box
from verify.solving import solve
from verify.upper.duals.proof_log import ProofLog

METHODS = [
    verify.Interval(), verify.CROWN(), verify.AlphaCROWN(), verify.LP(), verify.MILP(time_limit=10),
    verify.BranchAndBound(time_limit=10),
]
NEURONS = patch("verify.exact.branch_and_bound.frontier_of", NeuronSplit)  # trees over neurons, whatever the inputs


@cache
def digit(name: str, index: int, eps: str) -> Problem:
    x, y = digits()
    return verify.robustness(verify.load(name), x[index : index + 1], y[index : index + 1], eps=eps)


def good(proof: Proof, given: Problem, level: str, lower: float) -> Parts:
    """The certificate in parts: accepted at its level, its margins between an attack's bound and 0."""
    assert proof.certificate is not None, proof.reason
    report = check(proof.certificate)
    assert report.accepted
    assert report == proof.report
    assert set(report.margins) == ({"R", "F"} if level == "F" else {"R"})
    assert all(lower - 1e-5 * (1 + abs(lower)) <= margin < 0 for margin in report.margins.values())
    if level == "F":
        assert report.margins["R"] <= report.margins["F"] + 1e-9
    assert check(proof.certificate, "R").accepted
    parts = Parts.of(proof.certificate)
    assert parts.header["network"] == exported(given.network)[0]
    assert all(parts.arrays[name].tobytes() == values.tobytes() for name, values in exported(given.network)[1].items())
    return parts


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("name", ["digits-dense-interval", "digits-conv-interval"])
def test_what_is_verified_on_real_images_is_certified(name: str, index: int) -> None:
    given, level = digit(name, index, "1/25"), "RF"[index % 2]
    below, above = verify.solve(given, verify.PGD()), [verify.solve(given, method) for method in METHODS[:3]]
    proof = prove(given, level=level, seconds=10)
    if not any(bracket.verdicts == [Verdict.VERIFIED] for bracket in above):
        assert proof.certificate is None or float(below.lower) < 0
        return
    parts = good(proof, given, level, float(below.lower))
    center = [Fraction(v) for v in digits()[0][index].reshape(-1).tolist()]
    low, high = ends(parts.header["cases"][0])
    assert low.tolist() == [max(v - Fraction(1, 25), Fraction(0)) for v in center]
    assert high.tolist() == [min(v + Fraction(1, 25), Fraction(1)) for v in center]
    label, disjuncts = int(digits()[1][index]), parts.header["cases"][0]["disjuncts"]
    rows = [(dict(line["output"]), line["offset"]) for disjunct in disjuncts for line in disjunct]
    assert rows == [({j: "1", label: "-1"}, "0") for j in range(10) if j != label]
    assert len(disjuncts) == 9


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_what_a_method_verifies_is_certified_and_true(method: Method) -> None:
    """The problem is as tight as the method's bound lets it be, so that it is verified by little."""
    loose = problem(NETWORKS["relu"](4), "untargeted", 4)
    closing = verify.BranchAndBound(goal="optimum", gap=1e-3) if isinstance(method, verify.BranchAndBound) else method
    bound = float(verify.solve(loose, closing).upper)
    given = replace(loose, spec=replace(loose.spec, offset=loose.spec.offset + bound + 0.01))
    assert verify.solve(given, method).verdicts == [Verdict.VERIFIED]
    lower = float(verify.solve(given, verify.PGD()).lower)
    for level in ("R", "F"):
        parts = good(prove(given, level=level, seconds=10), given, level, lower)
        assert attack(parts, parts.header["cases"][0], np.random.default_rng(0)) < 0


# curves and products have no level F and proofs of their own in test_curve_proofs
OTHERWISE = ("max", "tiny", "smooth", "smooth search", "product search", "jump search")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in OTHERWISE])
def test_a_search_is_followed_at_both_levels_and_in_rationals(kind: str) -> None:
    """Trees over neurons: what the proof log holds is what the checker bounds."""
    base = KINDS[kind]
    network = base.make(base.seed)
    asked = problem(network, base.spec, base.seed)
    given = near(replace(asked, inputs=Box(*box_around(network, base.seed, 2.0))), 0.05)
    proof_log = ProofLog()
    with NEURONS:
        bracket = solve(given, verify.BranchAndBound(), proof_log=proof_log)
        proofs = {level: prove(given, level=level, proof_log=proof_log if level == "R" else None) for level in "RF"}
    assert float(bracket.upper) < 0
    rng = np.random.default_rng(0)
    for level, proof in proofs.items():
        parts = good(proof, given, level, float(bracket.lower))
        case = parts.header["cases"][0]
        assert attack(parts, case, rng) <= Fraction(proof.report.margins["R"])
        assert proof.certificate is not None
        exact = check(proof.certificate, exact=True)
        assert exact.accepted
        for name, margin in proof.report.margins.items():
            assert margin - 1e-6 <= exact.margins[name] <= margin
        if level == "F":
            x = samples(case, 40, rng).astype(np.float64)
            for how in ("sequential", "fused", "tree", "pairwise"):
                assert max(real_violation(parts, case, x, Singles(rng, how))) <= Fraction(proof.report.margins["F"])


def _searched() -> tuple[Problem, ProofLog, float]:
    """The first image that linear bounds leave open and a search verifies, what it wrote down, and its lower bound."""
    for index in range(60):
        given, proof_log = digit("digits-dense-plain", index, "1/16"), ProofLog()
        if float(verify.solve(given, verify.AlphaCROWN()).upper) >= 0:
            bracket = verify.solve(given, verify.BranchAndBound(time_limit=10), proof_log=proof_log)
            if float(bracket.upper) < 0:
                return given, proof_log, float(bracket.lower)
    raise AssertionError("no image needs a search")


def test_a_search_on_real_images_is_followed() -> None:
    given, proof_log, lower = _searched()
    parts = good(prove(given, proof_log=proof_log, level="R"), given, "R", lower)
    tasks = [task for search in parts.header["searches"] for task in search["tasks"]]
    assert max(len(parts.arrays[task["variable"]]) for task in tasks) > 1
    good(prove(given, level="F", seconds=20), given, "F", lower)


def test_what_is_violated_gets_no_certificate() -> None:
    open_images = [digit("digits-dense-plain", index, "1/10") for index in range(12)]
    violated = [given for given in open_images if float(verify.solve(given, verify.PGD()).lower) >= 0]
    violated = violated[:2] + [near(problem(NETWORKS["relu"](seed), "untargeted", seed), -1e-4) for seed in range(2)]
    assert len(violated) == 4
    for k, given in enumerate(violated):
        proof = prove(given, level="RF"[k % 2], seconds=0.5)
        assert proof.certificate is None
        assert proof.reason
        assert not proof.report.accepted


def test_what_has_no_place_in_a_certificate_gives_a_reason() -> None:
    x, y = digits()
    net = verify.load("digits-dense-interval")
    for norm in ("l2", "l1"):
        proof = prove(verify.robustness(net, x[:1], y[:1], eps="1/100", norm=norm))
        assert proof.certificate is None
        assert "boxes" in proof.reason
    smooth = nets()["smooth"]
    proof = prove(verify.robustness(smooth, torch.full((1, 5), 0.5), [0], eps="1/1000"), level="F")
    assert proof.certificate is None
    assert "level F does not cover the curve" in proof.reason
    polytope = prove(problem(NETWORKS["relu"](0), "polytope", 0))
    assert polytope.certificate is None
    assert polytope.reason
    normed = verify.trace(seeded(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)), 3),
                          torch.zeros(1, 4))
    given = near(verify.robustness(normed, torch.full((1, 4), 0.5), [0], eps="1/100"), 0.5)
    assert prove(given).certificate is not None
    assert "batch normalisation" in prove(given, level="F").reason
    with pytest.raises(InputError, match="one problem"):
        prove(verify.robustness(net, x[:2], y[:2], eps="1/100"))
    with pytest.raises(InputError, match="level"):
        prove(verify.robustness(net, x[:1], y[:1], eps="1/100"), level="S")


def test_the_same_problem_gives_the_same_bytes() -> None:
    made = KINDS["search"]
    asked = problem(made.make(made.seed), made.spec, made.seed)
    tight = near(replace(asked, inputs=Box(*box_around(asked.network, made.seed, 3.0))), 0.02)
    for given in (digit("digits-dense-interval", 0, "1/25"), tight):
        for where in (nullcontext(), NEURONS):
            with where:
                first, second = (prove(given, level="F").certificate for _ in range(2))
            assert first is not None
            assert first == second


def test_cases_of_a_file_are_claimed_as_it_writes_them(tmp_path: Path) -> None:
    """Decimals stay decimals; an `or` of boxes becomes cases, an `and` of rows one disjunct."""
    text = """
        (declare-const X_0 Real) (declare-const X_1 Real) (declare-const Y_0 Real) (declare-const Y_1 Real)
        (assert (or (and (>= X_0 0.1) (<= X_0 0.3) (>= X_1 0.7) (<= X_1 0.7))
                    (and (>= X_0 -1.5e-3) (<= X_0 0) (>= X_1 0.2) (<= X_1 0.9))))
        (assert (and (>= Y_0 3.3) (<= Y_1 Y_0)))
    """
    (tmp_path / "p.vnnlib").write_text(text)
    prop, net = verify.read_vnnlib(tmp_path / "p.vnnlib"), verify.load(onnx_file(tmp_path / "net.onnx"))
    given = verify.from_vnnlib(net, prop)
    for level in ("R", "F"):
        parts = good(prove(given, prop, level), given, level, float(verify.solve(given, verify.PGD()).lower))
        boxes = [[*ends(case)[0], *ends(case)[1]] for case in parts.header["cases"]]
        assert sorted(boxes) == [[Fraction(-15, 10**4), Fraction(1, 5), 0, Fraction(9, 10)],
                                 [Fraction(1, 10), Fraction(7, 10), Fraction(3, 10), Fraction(7, 10)]]
        assert [[len(rows) for rows in case["disjuncts"]] for case in parts.header["cases"]] == [[2], [2]]
        offsets = {Fraction(row["offset"]) for case in parts.header["cases"] for row in case["disjuncts"][0]}
        assert offsets == {Fraction(33, 10), Fraction(0)}


def test_a_file_is_certified_and_checked_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx_file(tmp_path / "net.onnx")
    other = onnx_file(tmp_path / "other.onnx", {**WEIGHTS, "b": np.array([0, 0.7500001], np.float32)})
    prop, file = property_file(tmp_path / "p.vnnlib", "(>= Y_0 2.001)"), tmp_path / "p.proof"

    assert run(["vnnlib", str(model), str(prop), "--proof", str(file), "--level", "F"]) == 0
    assert capsys.readouterr().out.split()[-1] == "unsat"
    for words in ([], [str(model)]):
        assert run(["check", str(file), *words]) == 0
        assert capsys.readouterr().out.strip().endswith("accepted")
    assert run(["check", str(file), str(other)]) == 1
    assert "rejected: the model is another network" in capsys.readouterr().out
    words = [sys.executable, "-m", "verify.check", str(file), str(model)]
    alone = subprocess.run(words, capture_output=True, text=True, check=True)
    assert alone.stdout.strip().endswith("accepted")
    file.write_bytes(file.read_bytes()[:-1])
    assert run(["check", str(file), str(model)]) == 1
