"""The VNN-LIB reader on published files, read by hand beside it."""

from __future__ import annotations

import csv
import gzip
import io
import re
import time
from fractions import Fraction

import numpy as np
import pytest

from tests.support.helpers import SHARED, later, needs_shared
from verify.vnnlib import read_vnnlib

FAMILIES = SHARED / "vnncomp"


def content(path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


@needs_shared
@pytest.mark.parametrize("every", later([1, 12], [1]))
def test_every_published_file_is_read(every):
    seconds = {}
    for path in sorted(FAMILIES.glob("*/vnnlib/*"))[::every]:
        start = time.process_time()
        prop = read_vnnlib(path)
        seconds[path.name] = time.process_time() - start
        assert prop.cases, path
        text = content(path) if path.stat().st_size < 20_000 else ""
        if text:
            declared = re.findall(r"declare-const ([XY])_", text)
            assert (declared.count("X"), declared.count("Y")) == (prop.inputs, prop.outputs)
    slowest = max(seconds, key=seconds.__getitem__)
    print(f"{len(seconds)} files in {sum(seconds.values()):.1f} s, slowest {slowest} {seconds[slowest]:.2f} s")


@needs_shared
@pytest.mark.parametrize(
    ("number", "cases", "disjuncts", "rows"),
    [(1, 1, 1, 1), (2, 1, 1, 4), (3, 1, 1, 4), (4, 1, 1, 4), (5, 1, 4, 1), (6, 2, 4, 1), (7, 1, 2, 3), (8, 1, 3, 2),
     (9, 1, 4, 1), (10, 1, 4, 1)],
)  # fmt: skip
def test_acas_xu_properties_have_the_shape_that_one_reads_in_the_file(number, cases, disjuncts, rows):
    prop = read_vnnlib(FAMILIES / "acasxu" / "vnnlib" / f"prop_{number}.vnnlib")
    assert (prop.inputs, prop.outputs, len(prop.cases)) == (5, 5, cases)
    for case in prop.cases:
        assert [len(disjunct) for disjunct in case.disjuncts] == [rows] * disjuncts


@needs_shared
def test_acas_xu_property_seven_number_by_number():
    (case,) = read_vnnlib(FAMILIES / "acasxu" / "vnnlib" / "prop_7.vnnlib").cases
    assert case.low.tolist() == [Fraction(v) for v in ("-0.328422877", "-0.499999896", "-0.499999896", "-0.5", "-0.5")]
    assert case.high.tolist() == [Fraction(v) for v in ("0.679857769", "0.499999896", "0.499999896", "0.5", "0.5")]
    signs = [[{i: int(c) for i, c in row.output} for row in rows] for rows in case.disjuncts]
    assert signs == [[{3: -1, i: 1} for i in range(3)], [{4: -1, i: 1} for i in range(3)]]


@needs_shared
@pytest.mark.parametrize("family", ["cctsdb_yolo", "cifar10_resnet", "collins_rul_cnn", "mnist_fc", "safenlp", "vit"])
def test_boxes_equal_the_numbers_in_the_text(family):
    path = min((FAMILIES / family / "vnnlib").iterdir())
    found = {(op, int(i)): Fraction(v) for op, i, v in re.findall(r"\(([<>]=) X_(\d+) ([^\s()]+)\)", content(path))}
    (case,) = read_vnnlib(path).cases
    assert {(">=", i): v for i, v in enumerate(case.low)} | {("<=", i): v for i, v in enumerate(case.high)} == found


@needs_shared
@pytest.mark.parametrize("boxes", [1, 200, 1000])
def test_unions_of_boxes_become_cases(boxes):
    (path,) = (FAMILIES / "nn4sys" / "vnnlib").glob(f"lindex_{boxes}.vnnlib*")
    pairs = re.findall(r"\(>= X_0 (\S+)\) \(<= X_0 (\S+)\)", content(path))
    prop = read_vnnlib(path)
    assert [(case.low[0], case.high[0]) for case in prop.cases] == [
        (Fraction(low), Fraction(high)) for low, high in dict.fromkeys(pairs)
    ]
    assert sum(len(case.disjuncts) for case in prop.cases) == len(pairs) == 2 * boxes


@needs_shared
@pytest.mark.conformance
def test_published_witnesses_lie_in_a_case():
    csv.field_size_limit(10**7)
    seen = 0
    for listing in sorted(FAMILIES.glob("*/witness.csv.gz")):
        rows = list(csv.DictReader(io.StringIO(gzip.decompress(listing.read_bytes()).decode())))
        boxes = {}
        for row in rows:
            name = row["vnnlib"]
            if name not in boxes:
                cases = read_vnnlib(listing.parent / name).cases
                boxes[name] = [(case.low.astype(float), case.high.astype(float)) for case in cases]
            x = np.array(row["x"].split(), float)
            inside = [bool(((x >= low - 1e-6) & (x <= high + 1e-6)).all()) for low, high in boxes[name]]
            assert any(inside), (listing, name)
            seen += 1
    assert seen > 200
