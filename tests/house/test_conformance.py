"""Published verdicts: never a wrong one. Long; run by `make conformance`."""

from __future__ import annotations

import csv

import pytest

from tests.support.helpers import SHARED, needs_shared
from verify.runs.competition.decide import decide
from verify.runs.options import entries_of

FAMILIES = ("test", "rl_benchmarks", "reach_prob_density", "collins_rul_cnn", "mnist_fc", "safenlp", "acasxu")


@needs_shared
@pytest.mark.conformance
@pytest.mark.parametrize("family", FAMILIES)
def test_no_verdict_is_wrong(family: str) -> None:
    folder = SHARED / "vnncomp" / family
    with (folder / "expected.csv").open() as file:
        instances = list(csv.DictReader(file))
    wrong = []
    for row in instances:
        entries = entries_of("bab")
        answer = str(decide(folder / row["onnx"], folder / row["vnnlib"], entries, timeout=10.0).answer)
        if {answer, row["verdict"]} == {"sat", "unsat"}:
            wrong.append((row["onnx"], row["vnnlib"], answer))
    assert not wrong
