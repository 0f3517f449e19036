"""Folders of the verification competition: families of instances, and what is known of them.

A family is a folder with `instances.csv`, without a header: onnx, vnnlib, seconds; paths are relative to the folder.
`expected.csv`, with a header, may tell the verdicts and the seconds of published tools.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from verify.errors import InputError

LIST = "instances.csv"
KNOWN = "expected.csv"
PEERS = {"best": "best_seconds", "abcrown": "abcrown_seconds", "nnenum": "nnenum_seconds"}  # name -> column


@dataclass(frozen=True)
class Instance:
    """One network with one property.

    Args:
        family: name of its folder; number: its place in `instances.csv`, from 0.
        folder: that folder; onnx, vnnlib: paths in it, as they are listed.
        limit: seconds.
        known: "sat", "unsat", or "" where nothing is known.
        peers: seconds that published tools needed, by tool, where they solved it.
    """

    family: str
    number: int
    folder: Path
    onnx: str
    vnnlib: str
    limit: float
    known: str = ""
    peers: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in the store of a run."""
        return f"{self.family}/{self.number}"

    @property
    def files(self) -> tuple[Path, Path]:
        """The model and the property."""
        return self.folder / self.onnx, self.folder / self.vnnlib


def read_families(folder: Path, chosen: Sequence[str] = ()) -> dict[str, list[Instance]]:
    """The instances of the chosen families, or of all, by family.

    folder: one family, or a folder of families. Raises InputError for one without instances, an unknown family, and,
    with file and line, for what is not as it should be.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; name a benchmark folder of the competition")
    places = [folder] if (folder / LIST).is_file() else sorted(path.parent for path in folder.glob(f"*/{LIST}"))
    known = {place.resolve().name: place for place in places}
    if not known:
        raise InputError(f"{folder} has no {LIST}, nor has a folder in it; name a family or a folder of families")
    for name in chosen:
        if name not in known:
            raise InputError(f"{folder} has no family {name!r}; choose among {', '.join(known)}")
    return {name: _read_family(name, known[name]) for name in (dict.fromkeys(chosen) or known)}


def digest(instances: Sequence[Instance]) -> str:
    """SHA-256 of the list and of every file that it names; an absent file counts as such."""
    total = hashlib.sha256()
    for instance in instances:
        total.update(f"{instance.onnx}\n{instance.vnnlib}\n{instance.limit}\n".encode())
    for path in sorted({path for instance in instances for path in instance.files}):
        total.update(hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"absent")
    return total.hexdigest()


def _read_family(name: str, folder: Path) -> list[Instance]:
    verdicts = _read_known(folder / KNOWN)
    instances = []
    for line, row in enumerate(_rows(folder / LIST), 1):
        if not row:
            continue
        where = f"{folder / LIST}, line {line}"
        if len(row) != 3:
            raise InputError(f"{where}: has {len(row)} fields; write onnx, vnnlib and seconds")
        onnx, vnnlib = (text.strip().removeprefix("./") for text in row[:2])
        verdict, peers = verdicts.get((onnx, vnnlib), ("", {}))
        limit = _seconds(row[2], where)
        instances.append(Instance(name, len(instances), folder, onnx, vnnlib, limit, verdict, peers))
    if not instances:
        raise InputError(f"{folder / LIST} lists no instance; name another family")
    return instances


def _read_known(path: Path) -> dict[tuple[str, str], tuple[str, dict[str, float]]]:
    """(verdict, seconds by tool) of each (onnx, vnnlib); nothing where there is no such file."""
    if not path.is_file():
        return {}
    head, *rows = _rows(path) or [[]]
    missing = next((column for column in ("onnx", "vnnlib", "verdict") if column not in head), None)
    if missing:
        raise InputError(f"{path}, line 1: has no column {missing!r}; write onnx,vnnlib,verdict")
    found = {}
    for line, fields in enumerate(rows, 2):
        row, where = dict(zip(head, fields, strict=False)), f"{path}, line {line}"
        peers = {tool: _seconds(row[column], where) for tool, column in PEERS.items() if row.get(column)}
        verdict = row.get("verdict", "")
        found[row.get("onnx", ""), row.get("vnnlib", "")] = verdict if verdict in ("sat", "unsat") else "", peers
    return found


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="") as file:
            return list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"{path} cannot be read as CSV ({problem}); mend it") from None


def _seconds(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"{where}: {text!r} is no number of seconds; write a positive number")
    return value
