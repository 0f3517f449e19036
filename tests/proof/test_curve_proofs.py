"""Certificates of networks with smooth curves and products, end to end: proved, accepted, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

import verify
from tests.support.bases import base, near
from tests.support.certificates import Parts, attack, real_violation, samples
from tests.support.onnx_models import Model
from tests.support.small_nets import bilinear
from verify.check.checker import check
from verify.check.container import MAGICS
from verify.exact.search.neuron_split import NeuronSplit
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.ops import Exp, Linear, Log, Op, ReLU, Shift, Sigmoid, Tanh
from verify.problem import Problem
from verify.proof.prover import ModelFile, Proof, prove
from verify.upper.duals.proof_log import ProofLog


def chain(seed: int, sizes: tuple[int, ...], *between: Op) -> Network:
    """Linear layers with these operators between them."""
    g, b = torch.Generator().manual_seed(seed), GraphBuilder("x", (sizes[0],))
    at = "x"
    for k, (n, m) in enumerate(pairwise(sizes)):
        w = b.parameter(f"w{k}", torch.randn(m, n, generator=g) / n**0.5)
        at = b.add(f"z{k}", Linear(), (at,), (w, b.parameter(f"b{k}", torch.randn(m, generator=g) / 2)))
        at = b.add(f"a{k}", between[k], (at,)) if k < len(between) else at
    return b.finish(at)


def ratio(seed: int) -> Network:
    """log(1 + exp(z)) of a linear z, by exp, a shift and log, and a linear layer behind."""
    g, b = torch.Generator().manual_seed(seed), GraphBuilder("x", (2,))
    at = b.add("z", Linear(), ("x",), (b.parameter("w", torch.randn(3, 2, generator=g)),))
    at = b.add("e", Exp(), (at,))
    at = b.add("one", Shift((3,)), (at,), (b.parameter("o", torch.ones(3)),))
    at = b.add("l", Log(), (at,))
    return b.finish(b.add("y", Linear(), (at,), (b.parameter("v", torch.randn(3, 3, generator=g)),)))


NETS: dict[str, Callable[[int], Network]] = {
    "tanh": lambda seed: chain(seed, (2, 4, 4, 3), Tanh(), Tanh()),
    "sigmoid": lambda seed: chain(seed, (3, 5, 3), Sigmoid()), "exp and log": ratio, "bilinear": bilinear,
}


def asked(network: Network, radius: str = "1/4") -> Problem:
    x = torch.full((1, *network.input_shape), 0.3)
    label = int(network(x).argmax())
    return near(verify.robustness(network, x, [label], eps=radius, clip=None), 0.05)


@cache
def certified(name: str) -> bytes:
    proof = prove(asked(NETS[name](1)), seconds=60)
    assert proof.certificate is not None, proof.reason
    return proof.certificate


@pytest.mark.parametrize("name", NETS)
def test_networks_with_curves_and_products_are_certified(name: str) -> None:
    parts, report = Parts.of(certified(name)), check(certified(name))
    assert report.accepted
    found = attack(parts, parts.header["cases"][0], np.random.default_rng(0), 100, 4)
    assert -0.5 < found <= Fraction(report.margins["R"]) < 0
    exact = check(certified(name), exact=True)
    assert exact.accepted
    assert exact.margins["R"] == pytest.approx(report.margins["R"], abs=1e-9)
    assert report.margins["R"] >= exact.margins["R"]
    old = parts.copy()
    old.header["format"] = 1
    data = old.bytes()
    assert "its header of another" in check(data).reason
    assert "version 1 of the format has no" in check(MAGICS[1] + data[len(MAGICS[2]) :]).reason


def test_level_f_covers_products_and_no_curves() -> None:
    b = GraphBuilder("x", (2,))
    maps = [b.add(f"m{k}", Linear(), ("x",), (b.parameter(f"w{k}", torch.eye(2) + k),)) for k in range(2)]
    product = b.finish(b.product("p", maps[0], maps[1]))
    proof = prove(asked(product, "1/10"), level="F", seconds=60)
    assert proof.certificate is not None, proof.reason
    assert check(proof.certificate, "F").accepted
    refused = prove(asked(NETS["tanh"](1), "1/100"), level="F", seconds=60)
    assert refused.certificate is None
    assert "level F does not cover the curve" in refused.reason


def test_version_1_is_still_read() -> None:
    parts = _of(prove(asked(chain(1, (2, 3)), "1/10")))
    data = parts.bytes()
    parts.header["format"] = 1
    old = parts.bytes()
    assert check(data).accepted
    assert check(MAGICS[1] + old[len(MAGICS[2]) :]).accepted
    assert not check(MAGICS[1] + data[len(MAGICS[2]) :]).accepted
    assert not check(b"verify certificate 3\n" + data[len(MAGICS[2]) :]).accepted


def _of(proof: Proof) -> Parts:
    assert proof.certificate is not None, proof.reason
    return Parts.of(proof.certificate)


def test_certificates_of_curves_are_compared_with_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    w, v = (rng.normal(size=(3, 3)).astype(np.float32) for _ in range(2))
    for last in ("Tanh", "Sigmoid"):
        model = Model(1, 3, opset=13)
        at = model("MatMul", model("Softplus", model("MatMul", "x", w)), v)
        (tmp_path / f"{last}.onnx").write_bytes(model.proto(model(last, at)).SerializeToString())
    network = verify.load(tmp_path / "Tanh.onnx")
    given = asked(network, "1/20")
    found = prove(given, source=ModelFile(tmp_path / "Tanh.onnx"), seconds=60)
    assert found.certificate is not None, found.reason
    assert found.compared
    other = check(found.certificate, model=(tmp_path / "Sigmoid.onnx").read_bytes())
    assert "differ in their function" in other.reason


def test_a_domain_that_is_left_is_told() -> None:
    network = chain(3, (2, 3, 3), Log())
    x = torch.full((1, 2), 0.3)
    given = verify.robustness(network, x, [0], eps="10", clip=None)
    proof = prove(given, seconds=20)
    assert proof.certificate is None
    assert "leaves the domain of its function (log)" in proof.reason


def test_a_false_claim_is_proved_by_no_slope() -> None:
    """A certificate whose claim is moved to what a point attains is rejected, whatever the rules of its layers."""
    for name in NETS:
        parts = Parts.of(certified(name))
        case = parts.header["cases"][0]
        x = samples(case, 60, np.random.default_rng(1))
        best = real_violation(parts, case, x).max()
        for disjunct in case["disjuncts"]:
            for row in disjunct:
                row["offset"] = str(Fraction(row["offset"]) + best - Fraction(1, 2**60))
        for rule, box in (("adaptive", "backward"), ("zero", "interval"), ("one", "backward")):
            parts.header["layers"] = [{**layer, "slope": rule, "box": box} for layer in parts.header["layers"]]
            assert not check(parts.bytes()).accepted


def test_neurons_of_curves_are_split_in_certificates() -> None:
    """The leaves of a search state where lines of curves touch, and the checker comes to the bound that was found."""
    given = asked(chain(1, (4, 6, 6, 3), Tanh(), Tanh()), "1/2")
    with patch("verify.exact.branch_and_bound.frontier_of", NeuronSplit):
        log = ProofLog()
        found = verify.solve(given, verify.BranchAndBound(time_limit=30), proof_log=log)
        proof = prove(given, proof_log=log, seconds=60)
    parts = _of(proof)
    (search,) = parts.header["searches"]
    assert len(search["columns"]) == 2
    assert any(parts.arrays[task["share"]].any() for task in search["tasks"])
    assert proof.report.margins["R"] == pytest.approx(float(found.upper), abs=1e-6)
    task, rng = search["tasks"][0], np.random.default_rng(0)
    best = attack(parts, parts.header["cases"][0], rng, 100, 4)
    for _ in range(6):  # any shares bound the claim
        parts.arrays[task["share"]] = rng.integers(0, 129, parts.arrays[task["share"]].shape).astype("|u1")
        report = check(parts.bytes())
        assert not report.accepted or best <= report.margins["R"]


def test_factors_of_products_are_split_in_certificates() -> None:
    """Leaves state the shares of factors and multipliers of their ranges; in rationals nearly the same is proved."""
    parts = base("product search")
    (search,) = parts.header["searches"]
    factors = next(column for column in search["columns"] if column["node"] == "p")
    assert sorted(parts.arrays[factors["entries"]].tolist()) == list(range(6))
    (task, *_) = sorted(search["tasks"], key=lambda task: -parts.arrays[task["variable"]].size)
    kinds = {column["node"]: len(parts.arrays[column["entries"]]) for column in search["columns"]}
    ends = np.cumsum([0, *kinds.values()])
    names = [list(kinds)[np.searchsorted(ends, v, "right") - 1] for v in parts.arrays[task["variable"]] if v >= 0]
    assert {"p", "q"} & set(names)
    report, exact = check(parts.bytes()), check(parts.bytes(), exact=True)
    assert exact.margins["R"] == pytest.approx(report.margins["R"], abs=1e-9)
    assert exact.margins["R"] <= report.margins["R"] < 0
    plain = parts.copy()
    plain.arrays[task["share"]][:] = 64  # the planes in the middle leave more
    looser = check(plain.bytes())
    assert not looser.accepted or looser.margins["R"] > report.margins["R"]


def test_intervals_that_overflow_are_no_end_of_a_proof() -> None:
    """exp(300 r - 299 r - 10) with r = relu(x + 10): by intervals beyond all bounds, by rows about 1."""
    b = GraphBuilder("x", (1,))
    at = b.add("in", Linear(), ("x",), (b.parameter("w", torch.ones(2, 1)), b.parameter("b", torch.full((2,), 10.0))))
    at = b.add("h", ReLU(), (at,))
    weight = torch.tensor([[300.0, -299.0], [300.0, -299.5]])
    at = b.add("z", Linear(), (at,), (b.parameter("v", weight), b.parameter("c", torch.tensor([-10.0, -8.0]))))
    network = b.finish(b.add("e", Exp(), (at,)))
    given = verify.robustness(network, torch.zeros(1, 1), [0], eps="1/4", clip=None)
    assert float(verify.solve(given, verify.Interval()).upper) > 2.0**200
    proof = prove(given, seconds=60)
    assert proof.certificate is not None, proof.reason
    assert check(proof.certificate, exact=True).accepted
