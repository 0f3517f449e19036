"""Methods that lie to `verify.gaps` are caught with what reproduces it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import verify
from tests.support.cli_cases import X
from tests.support.gap_cases import ATTACK, Refuses, Told, of_samples
from verify.errors import Contradiction
from verify.method import Answer
from verify.problem import Problem
from verify.runs.evidence.contradiction import keep
from verify.sets import Ball


def test_a_lie_is_caught_with_what_reproduces_it(tmp_path: Path) -> None:
    """v* of the samples is -0.85 and 0.15: an upper bound of -0.5 is true of the first alone."""
    lie = Told(upper=-0.5, name="Liar")
    with pytest.raises(Contradiction, match=r"^sample 1: PGD-40x5 found a point of value 0\.1\d+ above the upper bound "
                                            r"-0\.5 of Liar; one of them is wrong") as caught:
        verify.gaps(of_samples([0, 2]), [ATTACK, lie, verify.Interval()])
    bundle = caught.value.bundle
    assert bundle["sample"] == 1
    single = bundle["problem"]
    assert (single.batch, single.cases) == (1, 1)
    assert single.inputs.nominal().tolist() == [X[2].tolist()]
    assert (bundle["attack"]["method"], bundle["certificate"]["method"]) == ("PGD-40x5", "Liar")
    assert (bundle["attack"]["settings"], bundle["certificate"]["settings"]) == (repr(ATTACK), repr(lie))
    assert bundle["attack"]["value"] == pytest.approx(0.15, abs=1e-5)
    assert bundle["certificate"]["value"] == -0.5
    # and it does: the same problem and methods cross again, at the same witness
    assert float(single.violation(bundle["witness"])) == pytest.approx(0.15, abs=1e-5)
    with pytest.raises(Contradiction, match=r"^sample 0: "):
        verify.gaps(single, [ATTACK, lie])

    folder = keep(bundle, tmp_path)
    assert folder == tmp_path / "contradiction"
    assert sorted(path.name for path in folder.iterdir()) == [
        "contradiction.json", "network.safetensors", "sample.npz",
    ]
    record = json.loads((folder / "contradiction.json").read_text())
    assert record["certificate"]["settings"] == repr(lie)
    assert record["network"]["digest"] == single.network.digest
    assert record["set"] == {"kind": "Ball", "norm": "linf", "eps": "1/10", "clip": ["0", "1"]}
    with np.load(folder / "sample.npz") as arrays:
        rebuilt = Ball(torch.from_numpy(arrays["nominal"]), "1/10")
        assert bool(rebuilt.contains(torch.from_numpy(arrays["witness"])))
        assert arrays["low"].tolist() == rebuilt.low.tolist()
    assert keep(bundle, tmp_path).name == "contradiction-2"  # the first evidence stays


@pytest.mark.parametrize("first", [True, False])
def test_a_lie_is_caught_in_any_order(first: bool) -> None:
    lie = Told(upper=-0.5, name="Liar")
    methods = [lie, verify.MILP()] if first else [verify.MILP(), lie]
    with pytest.raises(Contradiction, match=r"sample 0: MILP found .* of Liar"):
        verify.gaps(of_samples([2]), methods)


def test_a_method_that_contradicts_itself() -> None:
    """Its point is the second sample, whose violation is -0.05, in the set of that sample alone."""
    two_faced = Told(upper=-0.5, point=(0.5, 0.4), name="Janus")
    with pytest.raises(Contradiction, match=r"sample 1: Janus found .* above its own upper bound -0\.5;") as caught:
        verify.gaps(of_samples([0, 2]), [two_faced])
    bundle = caught.value.bundle
    assert bundle["problem"].batch == 1
    assert bundle["attack"]["value"] == pytest.approx(-0.05, abs=1e-5)
    assert bundle["attack"]["method"] == bundle["certificate"]["method"] == "Janus"


def test_a_crossing_inside_a_batch_names_its_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    def lies(self: verify.CROWN, asked: Problem) -> Answer:
        return Answer(torch.tensor([9.0, 9.0, -9.0]), asked.inputs.nominal())

    monkeypatch.setattr(verify.CROWN, "answer", lies)
    with pytest.raises(Contradiction, match="sample 2: CROWN found") as caught:
        verify.gaps(of_samples([0, 1, 2]), [verify.CROWN()])
    assert caught.value.bundle["problem"].inputs.nominal().tolist() == [X[2].tolist()]
    assert caught.value.bundle["witness"].tolist() == [X[2].tolist()]


def test_a_crossing_that_a_method_raises_is_passed_on() -> None:
    with pytest.raises(Contradiction, match=r"^sample 0: x: the parts cross$") as caught:
        verify.gaps(of_samples([0]), {"x": Refuses(Contradiction("the parts cross"))})
    assert caught.value.bundle["attack"]["value"] is None
    assert caught.value.bundle["witness"] is None
