"""A run as one flat table in a file: CSV, JSON lines, Parquet, or JUnit XML for what shows test results."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import astuple, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from verify.errors import InputError
from verify.runs.certification.records import ERROR, FALSIFIED, UNKNOWN, Effort, Record, Run
from verify.runs.engine.files import write_whole

COLUMNS: dict[str, type] = {
    "index": int, "eps": str, "label": int, "prediction": int, "verdict": str, "method": str, "lower": float,
    "upper": float, "reason": str, "trusts": str, "implied": str, "attacked": int, "certificate": str,
}
EFFORTS = tuple(each.name for each in fields(Effort))

# what XML 1.0 cannot hold, however it is written
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def columns(run: Run) -> dict[str, type]:
    """The columns of a run's table with the types of their values, any of which may be None."""
    return COLUMNS | {f"{method}.{name}": float for method in run.methods for name in EFFORTS}


def rows(run: Run) -> list[dict[str, Any]]:
    """A row for each record, with all columns."""
    return [_row(record, run.methods) for record in run.records]


def export(run: Run, path: Path) -> int:
    """Writes the run's table in the format that the file's suffix says, whole or not at all; returns its rows.

    Raises InputError for another suffix, or for Parquet where pyarrow is not installed.
    """
    writer = FORMATS.get(path.suffix.lower())
    if writer is None:
        known = ", ".join(FORMATS)
        raise InputError(f"cannot tell the format of {path} from its suffix {path.suffix!r}; end it in one of {known}")
    write_whole(path, writer(run))
    return len(run.records)


def as_csv(run: Run) -> bytes:
    """Comma-separated, UTF-8, with a head; None is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns(run)))
    writer.writeheader()
    writer.writerows(rows(run))
    return text.getvalue().encode()


def as_json_lines(run: Run) -> bytes:
    """One flat JSON object a line, all columns in each."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows(run)).encode()


def as_parquet(run: Run) -> bytes:
    """A Parquet file with typed columns; the run's configuration is in its metadata under "verify"."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError("Parquet files need pyarrow, which is not installed; add it with python -m pip install "
                         "'verify-nn[parquet]', or export to .csv or .jsonl") from None
    kinds = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns(run).items()])
    table = pyarrow.Table.from_pylist(rows(run), schema.with_metadata({"verify": json.dumps(run.config)}))
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def as_junit(run: Run) -> bytes:
    """JUnit XML: a test case for each record. Falsified is a failure, unknown is skipped, error is an error."""
    verdicts = [record.verdict for record in run.records]
    suite = ElementTree.Element("testsuite", {
        "name": _xml(f"verify certify {run.request.get('model', run.folder)}"),
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count(FALSIFIED)),
        "errors": str(verdicts.count(ERROR)),
        "skipped": str(verdicts.count(UNKNOWN)),
        "time": f"{sum(record.seconds for record in run.records):.6f}",
        "timestamp": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="seconds"),
    })
    for record in run.records:
        _case(suite, record)
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)


def _row(record: Record, methods: tuple[str, ...]) -> dict[str, Any]:
    head = {name: getattr(record, name) for name in COLUMNS}
    efforts = [(name, astuple(record.methods.get(name, Effort()))) for name in methods]
    return head | {f"{name}.{part}": v for name, values in efforts for part, v in zip(EFFORTS, values, strict=True)}


def _case(suite: ElementTree.Element, record: Record) -> None:
    """The test case of a record; what it says of the verdict is in an element of its own."""
    case = ElementTree.SubElement(suite, "testcase", {
        "classname": _xml(f"eps {record.eps}"), "name": f"sample {record.index}", "time": f"{record.seconds:.6f}",
    })
    lower, upper = ("none" if side is None else f"{side:.6g}" for side in (record.lower, record.upper))
    known = "" if record.label is None else f"label {record.label}, predicted {record.prediction}, "
    found = f"{known}lower {lower}, upper {upper}"
    words = {
        FALSIFIED: ("failure", f"falsified by {record.method}"),
        UNKNOWN: ("skipped", record.reason),
        ERROR: ("error", record.reason),
    }
    if record.verdict in words:
        kind, message = words[record.verdict]
        what = ElementTree.SubElement(case, kind, {"message": _xml(message), "type": record.verdict})
        what.text = found
    else:
        by = f"{record.verdict} by {record.method}" + (f", trusts {record.trusts}" if record.trusts else "")
        ElementTree.SubElement(case, "system-out").text = _xml("\n".join(filter(None, (by, found, record.reason))))


def _xml(text: str) -> str:
    """Without the control characters that no XML file may hold."""
    return FORBIDDEN.sub("", text)


FORMATS: dict[str, Callable[[Run], bytes]] = {
    ".csv": as_csv, ".jsonl": as_json_lines, ".parquet": as_parquet, ".xml": as_junit,
}
