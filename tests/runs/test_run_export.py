"""Exports read back by other programs: every value of a run is there, and any text survives."""

from __future__ import annotations

import csv
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cli_cases import error_of
from tests.support.report_runs import NASTY, config, kinds, many, payload, put
from verify.bracket import Verdict
from verify.cli.main import run
from verify.errors import InputError
from verify.runs.certification import records
from verify.runs.certification.export import columns, export, rows
from verify.runs.certification.records import read_run
from verify.runs.engine.store import Store

METHOD_COLUMNS = [f"{m}.{part}" for m in ("clean", "interval", "pgd", "crown")
                  for part in ("lower", "upper", "seconds", "memory")]


def from_csv(content: bytes, types: dict[str, type]) -> list[dict[str, Any]]:
    """What the csv module of a program that knows the types reads; absent is empty, as reasons and trusts may be."""
    found = csv.DictReader(io.StringIO(content.decode(), newline=""))
    absent = {"reason": "", "trusts": ""}
    return [{k: types[k](v) if v != "" else absent.get(k) for k, v in row.items()} for row in found]


def from_json_lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.decode().split("\n")[:-1]]


def from_parquet(content: bytes) -> list[dict[str, Any]]:
    return pyarrow.parquet.read_table(pyarrow.BufferReader(content)).to_pylist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put(tmp_path / "run", [*kinds("1/20"), *kinds("1/10"), payload(9, "1/10", implied="1/5", methods={})])


def test_the_rows_are_the_results(folder: Path) -> None:
    with read_run(folder) as read:
        assert list(columns(read)) == [
            "index", "eps", "label", "prediction", "verdict", "method", "lower", "upper", "reason", "trusts", "implied",
            "attacked", "certificate", *METHOD_COLUMNS,
        ]
        table = rows(read)
    assert [(row["eps"], row["index"]) for row in table] == [*((e, i) for e in ("1/20", "1/10") for i in range(6)),
                                                            ("1/10", 9)]
    first, falsified, implied = table[0], table[2], table[-1]
    assert (first["verdict"], first["method"], first["lower"], first["upper"]) == ("verified", "interval", -2.0, -0.125)
    assert (first["interval.upper"], first["interval.seconds"], first["interval.memory"]) == (-0.125, 0.25, 512.0)
    assert first["crown.upper"] is None
    assert (falsified["verdict"], falsified["attacked"], falsified["upper"]) == ("falsified", 7, None)
    assert (implied["implied"], implied["clean.seconds"]) == ("1/5", None)
    assert table[1]["certificate"] == "sample-1.certificate"
    assert table[4]["reason"] == NASTY


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_round_trip(folder: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"table{suffix}"
    with read_run(folder) as read:
        assert export(read, target) == 13
        expected, types = rows(read), columns(read)
    content = target.read_bytes()
    found = {".csv": lambda: from_csv(content, types), ".jsonl": lambda: from_json_lines(content),
             ".parquet": lambda: from_parquet(content)}[suffix]()
    assert found == expected
    assert [list(row) for row in found] == [list(types)] * len(found)
    assert list(tmp_path.glob(".*")) == []


def test_parquet_is_typed_and_knows_its_run(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "t.parquet"
    with read_run(folder) as read:
        export(read, target)
        asked = read.config
    schema = pyarrow.parquet.read_schema(target)
    expected = {"index": "int64", "eps": "string", "lower": "double", "crown.memory": "double", "attacked": "int64"}
    assert {name: str(schema.field(name).type) for name in expected} == expected
    assert json.loads(schema.metadata[b"verify"]) == asked


def test_junit(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "t.xml"
    with read_run(folder) as read:
        export(read, target)
    suite = ElementTree.parse(target).getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "13", "failures": "4", "errors": "2", "skipped": "2"}
    cases = {(case.get("classname"), case.get("name", "")): case for case in suite}
    assert len(cases) == 13
    said = {name.split()[1]: [child.tag for child in case] for (eps, name), case in cases.items() if eps == "eps 1/10"}
    assert said == {"0": ["system-out"], "1": ["system-out"], "2": ["failure"], "3": ["failure"], "4": ["skipped"],
                    "5": ["error"], "9": ["system-out"]}
    skipped = cases["eps 1/20", "sample 4"][0]
    assert skipped.get("message") == NASTY
    assert cases["eps 1/10", "sample 2"].get("time") == "0.375000"
    assert "lower 0.25" in (cases["eps 1/10", "sample 2"][0].text or "")


TEXTS = st.text(st.characters(), max_size=40)  # with surrogates, control characters, newlines


@settings(max_examples=60, deadline=None)
@given(reason=TEXTS, trusts=TEXTS, certificate=TEXTS, name=TEXTS.filter(bool))
def test_any_text_survives(reason: str, trusts: str, certificate: str, name: str) -> None:
    effort = {"lower": None, "upper": -1.0, "seconds": 0.5, "memory": 1.5}
    made = payload(0, reason=reason, trusts=trusts, certificate=certificate, methods={name: effort})
    undecided = payload(1, verdict="unknown", method=None, reason=reason)
    with tempfile.TemporaryDirectory() as place:
        with read_run(put(Path(place) / "run", [made, undecided])) as read:
            for suffix in (".csv", ".jsonl", ".parquet", ".xml"):
                export(read, Path(place) / f"t{suffix}")
            expected, types = rows(read), columns(read)
        content = {path.suffix: path.read_bytes() for path in Path(place).glob("t.*")}
    assert from_csv(content[".csv"], types) == expected
    assert from_json_lines(content[".jsonl"]) == expected
    assert from_parquet(content[".parquet"]) == expected
    assert len(ElementTree.fromstring(content[".xml"])) == 2
    plain = expected[0]["reason"]
    assert plain == reason or any("\ud800" <= c <= "\udfff" for c in reason)


def test_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", "run", "--to", "t.csv"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "13 rows written to t.csv\n")
    with Path("t.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 14


def test_refusals_are_one_sentence(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", "run", "--to", "t.xlsx"]) == 2
    assert error_of(capsys) == ("error: cannot tell the format of t.xlsx from its suffix '.xlsx'; end it in one of "
                                ".csv, .jsonl, .parquet, .xml\n")
    assert run(["export", "nothing", "--to", "t.csv"]) == 2
    assert "there is no run in nothing" in error_of(capsys)
    assert run(["export", "run", "--to", "absent/t.csv"]) == 2
    assert "cannot write absent/t.csv" in error_of(capsys)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run(["export", "run", "--to", "t.parquet"]) == 2
    assert "pip install 'verify-nn[parquet]'" in error_of(capsys)
    assert not Path("t.parquet").exists()


def test_what_is_no_certification_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "a", {"command": "vnncomp"}, {}).close()
    with pytest.raises(InputError, match=r"is a run of verify vnncomp, not of verify certify"):
        read_run(tmp_path / "a")
    Store.open(tmp_path / "b", config(3, ["1/10"]), {}).close()
    with pytest.raises(InputError, match="has no results yet"):
        read_run(tmp_path / "b")
    Store.open(tmp_path / "c", {"command": "train"}, {}).close()
    with pytest.raises(InputError, match="has no certification yet"):
        read_run(tmp_path / "c")


def test_a_training_stands_for_its_certification(tmp_path: Path) -> None:
    with Store.open(tmp_path, {"command": "train"}, {}) as store:
        store.put("epoch/0001", {"epoch": 1, "loss": 2.0})
    put(tmp_path / "certify", many(5, ["1/10"]))
    with read_run(tmp_path) as read:
        assert len(read.records) == 5
        assert read.epochs == ({"epoch": 1, "loss": 2.0},)
        assert read.samples == 5


def test_what_a_payload_lacks_is_absent(tmp_path: Path) -> None:
    with Store.open(tmp_path, config(1, ["1/10"]), {}) as store:
        store.put("sample/0/1/10", {"index": 0, "verdict": "unknown"}, {"input": np.zeros(2, np.float32)})
    with read_run(tmp_path) as read:
        (record,) = read.records
        assert (record.eps, record.label, record.upper, record.reason, record.methods) == ("1/10", None, None, "", {})
        assert read.array(record, "witness") is None


def test_the_words_are_those_of_the_verdicts() -> None:
    words = {records.CERTIFIED, records.VERIFIED, records.FALSIFIED, records.UNKNOWN, records.ERROR}
    assert words == set(map(str, Verdict))
