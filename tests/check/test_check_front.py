"""Fronts of certificates: told in words as they compute, compared without, and no place to hide a layer in."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import verify
from tests.support.certificates import Parts
from tests.support.cli_cases import WEIGHTS, onnx_file
from tests.support.machines import Rationals, Singles
from tests.support.machines import values as exact_values
from tests.support.mutations import numbers as mutated
from tests.support.small_nets import dense
from verify.check.__main__ import show
from verify.check.bounds import Level, sweep
from verify.check.checker import check
from verify.check.front import SHOWN, words
from verify.check.network import build
from verify.check.numbers import Arithmetic
from verify.ir.front import normalized
from verify.ir.graph import Network
from verify.ops import ReLU
from verify.proof.export import exported
from verify.proof.prover import ModelFile

MEAN, STD = [Fraction(1307, 10000)], [Fraction(3081, 10000), Fraction("0.2")]
Header, Arrays = dict[str, Any], dict[str, np.ndarray]


def told(lines: tuple[str, ...], x: np.ndarray) -> np.ndarray:
    """What the words make of variables x (entries,), in rationals; lines that are left out leave None."""
    found: dict[int, Fraction] = {}
    for line in lines[1:]:
        if line.startswith("and "):
            continue
        left, right = line.split(" = ")
        first, last = _named(left, len(x))
        inner = re.search(r"x(_[\d.]+)?", right)
        start = 0 if inner is None else _named(inner[0], len(x))[0]
        for i in range(first, last + 1):
            text = re.sub(r"x(_[\d.]+)?", "X", right)
            text = re.sub(r"\d+(/\d+)?", lambda number: f"F('{number[0]}')", text)
            found[i] = Fraction(eval(text, {"F": Fraction, "X": x[min(start + i - first, len(x) - 1)]}))
    return np.array([found.get(i) for i in range(max(found, default=-1) + 1)], object)


def _named(text: str, size: int) -> tuple[int, int]:
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    return (numbers[0], numbers[-1]) if numbers else (0, size - 1)


def front_of(seed: int) -> Network:
    """A random front of entrywise constants and moves of entries."""
    rng = np.random.default_rng(seed)
    value = verify.variable((int(rng.integers(1, 4)), 2))
    for _ in range(int(rng.integers(1, 5))):
        shape = value.shape[:1] + (1,) * (len(value.shape) - 1)
        constant = [str(Fraction(int(rng.integers(1, 40)), int(rng.integers(1, 40)))) for _ in range(prod(shape))]
        column = np.array(constant).reshape(shape) if rng.random() < 0.5 else constant[0]
        ways = [lambda v, c: v + c, lambda v, c: v * c, lambda v, c: (v - c) / c, lambda v, c: v[::-1],
                lambda v, c: v.flatten(), lambda v, c: c - v, lambda v, c: verify.concatenate([v, v - c])]
        value = ways[int(rng.integers(len(ways)))](value, column)
    return value.network()


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(st.integers(0, 2**32 - 1))
def test_words_say_what_the_nodes_compute(seed: int) -> None:
    network = front_of(seed)
    if not network.graph.nodes:
        return
    header, arrays = exported(network)
    size = prod(network.input_shape)
    x = np.array([Fraction(int(n), 7) for n in np.random.default_rng(seed).integers(-30, 30, size)], object)
    lines = words(header, arrays, len(header["nodes"]), "R")
    parts = told(lines, x)
    exact = exact_values(header, arrays, Rationals(), x[None])[header["nodes"][-1]["name"]][0]
    assert len(parts) == len(exact) or lines[-1].startswith("and ")
    assert all(mine == theirs for mine, theirs in zip(parts, exact, strict=False))
    assert len(parts) >= min(len(exact), SHOWN)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_file(tmp_path_factory.mktemp("front") / "net.onnx")


def certificate(model: Path, level: str = "R", eps: str = "1/100") -> Parts:
    network = normalized(verify.load(model), MEAN, STD)
    x = torch.tensor([[0.9, 0.8]])
    problem = verify.robustness(network, x, network(x).argmax(1), eps)
    assert problem.front is network.front
    proof = verify.prove(problem, level=level, source=ModelFile(model))
    assert proof.compared, proof
    assert proof.certificate is not None
    return Parts.of(proof.certificate)


@cache
def whole(model: Path) -> Parts:
    return certificate(model)


@pytest.mark.parametrize("level", ["R", "F"])
def test_a_normalised_network_is_certified_against_its_file(
    model: Path, level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = certificate(model, level)
    report = check(parts.bytes(), model=model.read_bytes())
    assert (report.accepted, report.uncompared) == (True, "")
    assert show(report) == 0
    out = capsys.readouterr().out
    assert "u_0 = (x_0 - 1307/10000) / (3081/10000)" in out
    assert "u_1 = (x_1 - 1307/10000) / (1/5)" in out
    assert ("in real arithmetic" if level == "R" else "in float64 and rounded once") in out
    assert check(parts.bytes(), exact=True, level="R").accepted
    other = onnx_file(model.parent / "other.onnx", {**WEIGHTS, "b": np.array([0, 0.75000006], np.float32)})
    assert "the model is another network" in check(parts.bytes(), model=other.read_bytes()).reason


def test_fronts_that_hide_a_layer_are_another_network_and_say_so(model: Path) -> None:
    base = whole(model)
    count = base.header["front"]
    for front in range(1, len(base.header["network"]["nodes"]) + 2):
        parts = base.copy()
        parts.header["front"] = front
        assert check(parts.bytes(), model=model.read_bytes()).accepted == (front == count)
        report = check(parts.bytes())
        if report.accepted and front > count:
            nodes = parts.header["network"]["nodes"][:front]
            assert all(f"{node['name']!r} is {node['op']}" in " ".join(report.front) for node in nodes)
        elif report.accepted and front < count:
            assert report.front != check(base.bytes()).front
    for junk in (0, -1, True, 1.0, "3", None, 10**9):
        parts = base.copy()
        parts.header["front"] = junk
        assert not check(parts.bytes()).accepted
    parts = base.copy()
    del parts.header["front"]
    assert check(parts.bytes()).front == ()
    assert "the model is another network" in check(parts.bytes(), model=model.read_bytes()).reason


def test_what_follows_a_front_reads_nothing_but_its_result(model: Path) -> None:
    parts = whole(model).copy()
    nodes, count = parts.header["network"]["nodes"], parts.header["front"]
    for name in (parts.header["network"]["input"], *(node["name"] for node in nodes[: count - 1])):
        forged = parts.copy()
        forged.header["network"]["nodes"][count]["inputs"] = [name]
        assert f"reads {name!r}, which is not the front's result" in check(forged.sign().bytes()).reason


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(st.integers(0, 2**32 - 1))
def test_another_front_is_told_as_it_is(model: Path, seed: int) -> None:
    """Damaged fronts, signed anew and with the model at hand: what is accepted says what its nodes compute."""
    parts, rng = whole(model).copy(), np.random.default_rng(seed)
    nodes = parts.header["network"]["nodes"][: parts.header["front"]]
    mutated(parts, {v for node in nodes for v in node.values() if isinstance(v, str)} & parts.arrays.keys(), rng)
    report = check(parts.sign().bytes(), model=model.read_bytes())
    if not report.accepted:
        return
    x = np.array([Fraction(int(n), 7) for n in rng.integers(-30, 30, 2)], object)
    exact = exact_values(parts.header["network"], parts.arrays, Rationals(), x[None])[nodes[-1]["name"]][0]
    assert (told(report.front, x) == exact).all()


def test_level_f_covers_how_data_are_normalised_in_float32() -> None:
    """One subtraction and one division by the rounded numbers; the front in float64, rounded; and node by node."""
    rng = np.random.default_rng(0)
    for mean, std in (("0.1307", "0.3081"), ("0.485", "0.229"), ("0.5", "0.25"), ("0", "0.2"), ("0.48215841", "0.3")):
        front = normalized(dense(ReLU(), (64, 2), 0), [Fraction(mean)], [Fraction(std)]).front
        assert front is not None
        header, arrays = exported(front)
        x = rng.uniform(-1, 2, 64).astype(np.float32)
        single = Level(Arithmetic(), single=True)
        point = x.astype(np.float64)[None]
        boxes = sweep(build(single.number, header, arrays), single, point, point, {})
        low, high = (side[header["nodes"][-1]["name"]][0] for side in (boxes.low, boxes.high))
        wide = front.double()(torch.from_numpy(x)[None].double())[0].float().numpy()
        usual = (x - np.float32(mean)) / np.float32(std)
        machine = Singles(rng, "sequential", False)
        stepwise = exact_values(header, arrays, machine, x[None])[header["nodes"][-1]["name"]][0]
        for ran in (wide, usual, stepwise):
            assert ((low <= ran) & (ran <= high)).all()
        assert (high - low).max() < 1e-4
