"""Verdicts, certificates and commands of networks that end in a softmax are those of their logits."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import verify
from tests.support.certificates import Parts, row
from tests.support.cli_cases import X, certify, counts_of, error_of, property_file
from tests.support.heads import LAST, chain, classifier, headed
from verify.bracket import Verdict
from verify.check.checker import check
from verify.cli.main import run
from verify.errors import InputError
from verify.ir.head import NEGATIVE, Head
from verify.ir.original import original
from verify.problem import Problem
from verify.proof.prover import ModelFile
from verify.rows import Row
from verify.runs.competition.decide import InstanceResult, decide
from verify.runs.options import entries_of
from verify.spec import Specification, from_rows

METHODS = (verify.PGD(), verify.Interval(), verify.CROWN(), verify.LP(), verify.BranchAndBound(time_limit=10))


@pytest.mark.parametrize("name", LAST)
@pytest.mark.parametrize(("target", "wins"), [(None, False), (2, False), (2, True)])
def test_verdicts_are_those_of_the_logits(name: str, target: int | None, wins: bool) -> None:
    plain, seen = classifier(2), set()
    x, y = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(5)), torch.zeros(20, dtype=torch.long)
    problems = [verify.robustness(chain(net), x, y, "1/10", target=target, wins=wins)
                for net in (plain, nn.Sequential(plain, LAST[name]))]
    share = torch.rand(500, *x.shape, generator=torch.Generator().manual_seed(6))
    points = [problems[1].inputs.place(part) for part in (*share, *share.round())]
    outputs = [LAST[name](plain(part)) for part in points]
    reached = torch.stack([problems[1].spec.violation(x, y) for x, y in zip(points, outputs, strict=True)]).amax(0)
    for method in METHODS:
        without, within = (verify.solve(problem, method) for problem in problems)
        assert without.verdicts == within.verdicts
        assert bool((problems[1].reduce(reached) <= within.upper + 1e-7).all())
        assert name == "Softmax" or torch.equal(without.upper, within.upper)
        seen |= set(within.verdicts)
        if within.witness is not None:
            there = problems[1].spec.violation(within.witness, LAST[name](plain(within.witness)))
            torch.testing.assert_close(within.lower, there)
    assert seen == {Verdict.VERIFIED, Verdict.FALSIFIED, Verdict.UNKNOWN}


THIRD = Fraction(1, 3)


OTHER_ROWS = {
    "a threshold": Row(((0, Fraction(1)),), (), Fraction(1, 2)),
    "an offset": Row(((0, Fraction(1)), (1, Fraction(-1))), (), Fraction(-1, 10)),
    "a tiny offset": Row(((0, Fraction(1)), (1, Fraction(-1))), (), Fraction(1, 10**60)),
    "unequal coefficients": Row(((0, Fraction(1)), (1, Fraction(-2))), (), Fraction(0)),
    "all but equal coefficients": Row(((0, THIRD), (1, -THIRD - Fraction(1, 10**30))), (), Fraction(0)),
    "equal signs": Row(((0, Fraction(1)), (1, Fraction(1))), (), Fraction(0)),
    "three outputs": Row(((0, Fraction(1)), (1, Fraction(1)), (2, Fraction(-2))), (), Fraction(0)),
    "inputs": Row(((0, Fraction(1)), (1, Fraction(-1))), ((0, Fraction(1)),), Fraction(0)),
    "no output": Row((), ((0, Fraction(1)),), Fraction(0)),
}


ORDERS = [Row(((0, c), (2, -c)), (), Fraction(0)) for c in (Fraction(1), -THIRD, Fraction(1, 10**30))]


@pytest.mark.parametrize("name", OTHER_ROWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_than_the_order_is_refused(name: str, dtype: torch.dtype) -> None:
    network = chain(nn.Sequential(classifier(), nn.Softmax(1)), dtype)
    asked = verify.robustness(network, torch.rand(1, 1, 2, 2), [0], "1/10")
    for rows in (ORDERS, [*ORDERS, OTHER_ROWS[name]]):
        spec = from_rows([[rows[:1], rows[1:]]], 3, 4, dtype)
        if rows is ORDERS:
            assert Problem(network, asked.inputs, spec, asked.owner, 1).network.bare
        else:
            with pytest.raises(InputError, match=r"ends in a softmax, .*ask which output is the largest"):
                Problem(network, asked.inputs, spec, asked.owner, 1)
            assert Problem(network.logits, asked.inputs, spec, asked.owner, 1).network.bare


@pytest.mark.parametrize(("tolerance", "bounds"), [("1/10", None), (None, (None, 1))])
def test_ranges_of_probabilities_are_refused(tolerance: str | None, bounds: tuple[None, int] | None) -> None:
    network = chain(nn.Sequential(classifier(), nn.Softmax(1)))
    with pytest.raises(InputError, match="ends in a softmax"):
        verify.robustness(network, torch.rand(2, 1, 2, 2), None, "1/10", tolerance=tolerance, bounds=bounds)


SATURATED = {  # logits (200, x0, x1)
    "A": np.eye(2, dtype=np.float32), "a": np.zeros(2, np.float32),
    "B": np.array([[0, 0], [1, 0], [0, 1]], np.float32), "b": np.array([200, 0, 0], np.float32),
}


def test_probabilities_that_tie_where_logits_differ(tmp_path: Path) -> None:
    """Class 2 comes less than 1 below class 1, and both have the probability 0 in float32."""
    path = headed(tmp_path / "net.onnx", weights=SATURATED)
    network = verify.load(path)
    x, y = torch.tensor([[0.75, 0.25], [0.25, 0.75]]), [1, 1]
    assert torch.equal(network(x), torch.tensor([[1.0, 0, 0]] * 2))
    assert original(path)(x[0].numpy()).tolist() == [1, 0, 0]
    found = verify.solve(verify.robustness(network, x, y, "1/10", target=2), verify.BranchAndBound())
    assert found.verdicts == [Verdict.VERIFIED, Verdict.FALSIFIED]
    assert float(found.upper[0]) == NEGATIVE
    assert float(found.lower[1]) == 0  # the probabilities tie
    found = verify.solve(verify.robustness(network, x[:1], y[:1], "1/10", target=2), verify.PGD())
    assert float(found.lower) == NEGATIVE
    text = (
        "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
        "(declare-const Y_2 Real)(assert (>= X_0 {})) (assert (<= X_0 0.7))(assert (>= X_1 0.1))(assert (<= X_1 0.3))"
        "(assert (>= Y_2 Y_1))"
    )
    for low, answer in (("0.4", InstanceResult.UNSAT), ("0.2", InstanceResult.SAT)):
        (tmp_path / "p.vnnlib").write_text(text.format(low))
        decision = decide(path, tmp_path / "p.vnnlib", entries_of("pgd,bab"), proof="R", bundles=tmp_path)
        assert decision.answer is answer, decision.reason
        assert any("ends in a softmax" in warning for warning in decision.warnings)
        if answer is InstanceResult.UNSAT:
            assert decision.proof is not None
            assert decision.proof.compared
        else:
            assert decision.witness is not None
            assert decision.witness.levels == ("R", "F")
            assert decision.witness.y.tolist() == [1, 0, 0]


@pytest.mark.parametrize("op", LAST)
@pytest.mark.parametrize("opset", [11, 13])
def test_a_certificate_of_the_logits_is_one_of_the_file(tmp_path: Path, op: str, opset: int) -> None:
    path = headed(tmp_path / "net.onnx", op, opset=opset)
    problem = verify.robustness(verify.load(path), torch.from_numpy(X[:1]), [0], "1/100")
    proof = verify.prove(problem, source=ModelFile(path))
    assert proof.compared
    assert proof.certificate is not None
    assert verify.prove(problem, level="F", source=ModelFile(path)).reason.startswith("level F does not cover the")
    assert not check(proof.certificate, "F", model=path.read_bytes()).accepted


CLAIMS = {
    "the order": (row({0: -3, 1: 3}, 0), True),
    "an offset": (row({0: -1, 1: 1}, "1/1000"), False),
    "a negative offset": (row({0: -1, 1: 1}, "-1/1000"), False),
    "unequal coefficients": (row({0: -2, 1: 1}, 0), False),
    "an input": (row({0: -1, 1: 1}, 0, {0: "-1/1000"}), False),
    "a threshold": (row({1: 1}, 2), False),
    "no output": (row({}, 1), False),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_of_a_file_with_a_softmax_is_of_the_order(tmp_path: Path, name: str) -> None:
    """All of them are true of the logits, whose proof stands."""
    path = headed(tmp_path / "net.onnx")
    problem = verify.robustness(verify.load(path), torch.from_numpy(X[:1]), [0], "1/100")
    parts, (line, holds) = Parts.of(verify.prove(problem).certificate or b""), CLAIMS[name]
    parts.header["cases"][0]["disjuncts"][0] = [line]
    data = parts.bytes()
    assert check(data).accepted
    report = check(data, model=path.read_bytes())
    assert report.accepted == holds
    assert not report.uncompared
    assert holds or report.reason.startswith("the model ends in a Softmax, which keeps no more than the order")
    single = check(data, "F", model=path.read_bytes())
    assert not single.accepted


def test_another_softmax_is_not_compared(tmp_path: Path) -> None:
    path = headed(tmp_path / "net.onnx")
    problem = verify.robustness(verify.load(path), torch.from_numpy(X[:1]), [0], "1/100")
    data = verify.prove(problem, source=ModelFile(path)).certificate or b""
    proto = onnx.load(path)
    proto.graph.node[-1].attribute[0].i = 0
    assert "softmax of one entry" in check(data, model=proto.SerializeToString()).uncompared
    proto.graph.node[-1].attribute[0].i = 1
    other = onnx.helper.make_node("Identity", ["v2_0"], ["v3_0"])
    del proto.graph.node[-1]
    proto.graph.node.append(other)
    assert check(data, model=proto.SerializeToString()).accepted


def test_the_commands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify("--json", methods="pgd,crown") == 0
    plain = counts_of(capsys)
    headed(here / "net.onnx")
    assert certify("--json", methods="pgd,crown") == 0
    found = counts_of(capsys)
    assert [found[key] for key in ("verified", "falsified")] == [plain[key] for key in ("verified", "falsified")]
    assert certify("--proof", "proofs", methods="pgd,crown") == 0
    out = "".join(capsys.readouterr())
    assert "certified" in out
    assert "not compared" not in out
    assert run(["inspect", "net.onnx"]) == 0
    assert "the output is the softmax of v2_0" in capsys.readouterr().out
    assert certify("--within", "1/10") == 2
    assert "the network ends in a softmax" in error_of(capsys)
    property_file(here / "p.vnnlib", "(>= Y_0 0.9)")
    assert run(["vnnlib", "net.onnx", "p.vnnlib"]) == 2
    assert "the network ends in a softmax" in error_of(capsys)


@pytest.mark.parametrize("seed", range(4))
def test_bounds_of_logits_are_bounds_of_probabilities(seed: int) -> None:
    """Random logits and positive multiples of margins: what a head makes of the violation by logits encloses that by
    probabilities."""
    generator, classes = torch.Generator().manual_seed(seed), 4
    z = torch.randn(2000, classes, generator=generator, dtype=torch.float64) * 10.0 ** (seed - 2)
    factor = 0.5 + 2 * torch.rand(classes - 1, generator=generator, dtype=torch.float64)
    rows = torch.cat([-torch.ones(classes - 1, 1), torch.eye(classes - 1)], 1).double() * factor[:, None]
    for chosen in (rows, rows[:2]):
        ones = torch.ones(1, len(chosen), dtype=torch.bool)
        for disjunct in (torch.arange(len(chosen)), torch.zeros(len(chosen), dtype=torch.long)):
            spec = Specification(chosen[None], torch.zeros(1, len(chosen)).double(), disjunct[None], ones)
            whole = spec.select(torch.zeros(len(z), dtype=torch.long))
            logits, outputs = whole.violation(z, z), whole.violation(z, z.softmax(1))
            assert bool((outputs <= Head(False).above(whole, logits)).all())
            assert bool((Head(False).below(whole, logits) <= outputs).all())
            assert torch.equal(Head(True).above(whole, logits), logits)
            assert bool(((Head(False).above(whole, logits) < 0) == (logits < 0)).all())
