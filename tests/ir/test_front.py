"""Fronts: the network behind one, what it was read from, and what witnesses are replayed on."""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import verify
from tests.support.cli_cases import X, Y, certify, onnx_file
from tests.support.small_nets import NETWORKS
from verify.errors import InputError
from verify.ir.evaluate import exact_value
from verify.ir.front import Behind, behind, normalized
from verify.ir.graph import Network
from verify.ir.guard import compare, probes
from verify.ir.original import original
from verify.ir.rewrite import simplify
from verify.rationals import exact_array
from verify.runs.evidence.witness import Witness, sample_witness

MEAN, STD = [Fraction("0.1307")], [Fraction("0.3081")]


def fronted(path: Path) -> Network:
    return normalized(verify.load(path), MEAN, STD)


@pytest.mark.parametrize("name", ["relu", "conv", "residual"])
def test_a_normalised_network_is_that_of_normalised_data(name: str) -> None:
    network = NETWORKS[name](0)
    x = torch.rand(20, *network.input_shape)
    for given in (network, simplify(network), network.double()):
        moved = normalized(given, MEAN, STD)
        want = network.double()((x.double() - 0.1307) / 0.3081)
        torch.testing.assert_close(moved(x.to(given.dtype)).double(), want, rtol=2e-5, atol=2e-5)
        torch.testing.assert_close(moved.double()(x.double()), want)
        assert (moved.unmerged is None) == (given.unmerged is None)


def test_the_numbers_of_a_front_are_the_rationals_that_were_given() -> None:
    """Exactly where the quotient has a form that float32 holds, else as their nearest floats."""
    network = NETWORKS["conv"](0)
    channels = network.input_shape[0]
    point = np.full(network.input_shape, Fraction(1, 3), object)
    for mean, std in (("0.1307", "0.3081"), ("0.485", "0.229"), ("1/3", "2/7"), ("0", "1/255"), ("0.5", "0.25")):
        front = normalized(network, [Fraction(mean)] * channels, [Fraction(std)]).front
        assert front is not None
        assert (exact_value(front, point) == (Fraction(1, 3) - Fraction(mean)) / Fraction(std)).all()
    front = normalized(network, [Fraction("0.48215841")], [Fraction("0.24703223")]).front
    assert front is not None
    mean, std = (Fraction(float(np.float32(v))) for v in ("0.48215841", "0.24703223"))
    assert (exact_value(front, point) == (Fraction(1, 3) - mean) / std).all()


def test_a_network_behind_a_front_keeps_its_source(tmp_path: Path) -> None:
    network = fronted(onnx_file(tmp_path / "net.onnx"))
    assert compare(network, probes(network)) == ""
    source = network.source
    assert isinstance(source, Behind)
    assert str(source) == str(tmp_path / "net.onnx")
    x = np.array([[0.3, 0.7]], np.float32)
    given = ((x.astype(np.float64) - 0.1307) / 0.3081).astype(np.float32)
    want = original(tmp_path / "net.onnx").outputs(given)
    assert np.array_equal(source.outputs(x), want)
    assert np.array_equal(pickle.loads(pickle.dumps(source))(x[0]), want[0])
    wrong = {**network.parameters, "A": 1.01 * network.parameters["A"]}
    with pytest.raises(InputError, match="would be read wrongly: node z differs"):
        compare(replace(network, parameters=wrong), probes(network))
    problem = verify.robustness(network, torch.tensor(X), torch.tensor(Y), "1/100")
    broken = replace(problem, network=replace(network, parameters=wrong))
    with pytest.raises(InputError, match="would be read wrongly"):
        verify.solve(broken, verify.CROWN())


def test_witnesses_are_replayed_on_the_file_behind_the_front(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Witness] = []

    def noted(*words: Any) -> Witness:
        found.append(sample_witness(*words))
        return found[-1]

    monkeypatch.setattr("verify.runs.certification.cascade.sample_witness", noted)
    assert certify("--normalize", "0.1307:0.3081", "--out", "run", eps="1/2", methods="pgd") == 0
    assert len(found) == 3  # one as it is
    for witness in found:
        given = ((witness.x.astype(np.float64) - 0.1307) / 0.3081).astype(np.float32)
        np.testing.assert_array_equal(witness.y, original(here / "net.onnx")(given))
        assert witness.levels == ("R", "F")


def test_fronts_stack(tmp_path: Path) -> None:
    network = fronted(onnx_file(tmp_path / "net.onnx"))
    x = verify.variable((2,))
    moved = behind(network, (x * "1/255").network())
    direct = behind(verify.load(tmp_path / "net.onnx"), ((x / 255 - "0.1307") / "0.3081").network())
    points = 255 * torch.rand(10, 2, dtype=torch.float64)
    torch.testing.assert_close(moved.double()(points), direct.double()(points))
    assert compare(moved, 255 * probes(moved)) == ""
    for each in (moved, direct):
        assert each.front is not None
        at = exact_value(each.front, exact_array(points[0]))
        assert at.tolist() == [(v / 255 - Fraction("0.1307")) / Fraction("0.3081") for v in exact_array(points[0])]


def test_fronts_that_do_not_fit_are_refused() -> None:
    network, x = NETWORKS["relu"](0), verify.variable((7,))
    wrong: Any
    for wrong, words in ((x.network(), "the front gives"), (x, "write front.network"), (None, "not a NoneType"),
                         (verify.variable(network.input_shape, torch.float64).network(), "the front gives")):
        with pytest.raises(InputError, match=words):
            behind(network, wrong)
    assert behind(network, verify.variable(network.input_shape).network()) is network
