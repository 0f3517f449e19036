"""What another tool claims: its results in the competition's format, and the witnesses that it wrote.

Results (VNN-COMP 2021 and later), without a header: category, onnx, vnnlib, seconds to prepare, result, seconds to run.
A witness is a list of all inputs, then all outputs, ((X_0 0.5) ... (Y_0 1.0)), in a file named
<onnx stem>_<vnnlib stem>.counterexample or .counterexample.gz.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from verify.errors import InputError
from verify.runs.competition.instances import Instance

SAT, UNSAT = "sat", "unsat"
WORDS = {SAT: SAT, UNSAT: UNSAT, "violated": SAT, "holds": UNSAT}  # the last two in 2021
NO_CLAIM = ("unknown", "timeout", "error")
HARNESS = ("run_instance_timeout", "prepare_instance_", "error_", "no_result_in_file")  # how its own words begin
COLUMNS = "category, onnx, vnnlib, seconds to prepare, result, seconds to run"
ENTRY = re.compile(r"\s*\(\s*([XY])_(\d+)\s+([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?)\s*\)")


@dataclass(frozen=True)
class Claim:
    """One row of another tool's results.

    Args:
        line: of the file, from 1.
        instance: what it speaks of.
        result: "sat", "unsat", or a word that claims neither.
        witness: the file with its witness, where there is one.
    """

    line: int
    instance: Instance
    result: str
    witness: Path | None = None

    @property
    def key(self) -> str:
        """Its name in the store of a run."""
        return f"line/{self.line}"


def read_claims(
    path: Path, families: dict[str, list[Instance]], witnesses: Path | None = None, chosen: Sequence[str] = ()
) -> list[Claim]:
    """The rows of a results file, each with its instance among the families; rows of other categories than the chosen
    ones, if any are, are left out.

    A path may have a leading ./ and folders before those of instances.csv, and may lack a .gz that is there. Raises
    InputError with the line for a row that cannot be understood.
    """
    if witnesses is not None and not witnesses.is_dir():
        raise InputError(f"there is no folder {witnesses}; name the one with the tool's .counterexample files")
    claims = []
    for line, row in enumerate(_rows(path), 1):
        if row and (not chosen or row[0] in chosen):
            claims.append(_claim(line, row, f"{path}, line {line}", families, witnesses))
    if not claims:
        raise InputError(f"{path} has no row to audit; name a results file of the competition ({COLUMNS})")
    return claims


def read_point(path: Path) -> np.ndarray:
    """The inputs of a witness file, flat, an object array of rationals as they are written.

    A first word sat is allowed. Its outputs are not believed, only read. Raises InputError with the line.
    """
    text = _text(path).rstrip()
    position, end = len(text) - len(text.lstrip().removeprefix(SAT).lstrip()) + 1, len(text) - 1
    if text[position - 1 : position] != "(" or position > end or text[end] != ")":
        raise InputError(f"{path}: is no list ((X_0 ..) .. (Y_0 ..)); ask the tool for its counterexample again")
    found: dict[str, list[Fraction]] = {"X": [], "Y": []}
    while entry := ENTRY.match(text, position, end):
        name, index, number = entry.groups()
        if int(index) != len(found[name]) or (name == "X" and found["Y"]) or not math.isfinite(float(number)):
            where, shown = _place(path, text, entry.end()), f"{name}_{index} {number}"
            raise InputError(f"{where}: {shown!r} is out of order or no float; list all X_i, then all Y_i, from 0")
        found[name].append(Fraction(number))
        position = entry.end()
    rest = text[position:end].lstrip()
    if rest:
        where = _place(path, text, end - len(rest))
        raise InputError(f"{where}: {rest[:30]!r} is no (X_i number) or (Y_i number); mend the file")
    return np.array(found["X"], dtype=object)


def _place(path: Path, text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"{path}, line {line}"


def _claim(
    line: int, row: list[str], where: str, families: dict[str, list[Instance]], witnesses: Path | None
) -> Claim:
    if len(row) != 6:
        raise InputError(f"{where}: has {len(row)} fields; write {COLUMNS}")
    category, onnx, vnnlib, prepared, word, ran = (text.strip() for text in row)
    for text in (prepared, ran):
        if not _is_seconds(text):
            raise InputError(f"{where}: {text!r} is no number of seconds; write {COLUMNS}")
    result = WORDS.get(word.lower(), word.lower())
    if result not in (SAT, UNSAT, *NO_CLAIM) and not result.startswith(HARNESS):
        raise InputError(f"{where}: {word!r} is no result; write sat, unsat, unknown, timeout or error")
    if category not in families:
        raise InputError(f"{where}: {category!r} is no family here ({', '.join(families)}); choose with --family")
    match = next((i for i in families[category] if _names(onnx, i.onnx) and _names(vnnlib, i.vnnlib)), None)
    if match is None:
        raise InputError(f"{where}: {onnx} with {vnnlib} is no instance of {category}; check the benchmark's year")
    return Claim(line, match, result, _witness_file(match, witnesses) if result == SAT else None)


def _names(given: str, listed: str) -> bool:
    """Whether a path of a results file is the one that instances.csv lists, behind other folders perhaps."""
    given, listed = (text.removeprefix("./").removesuffix(".gz") for text in (given, listed))
    return given == listed or given.endswith(f"/{listed}")


def _witness_file(instance: Instance, folder: Path | None) -> Path | None:
    """The file of an instance's witness in a folder, or in its folder for the family."""
    if folder is None:
        return None
    stems = [Path(name.removesuffix(".gz")).stem for name in (instance.onnx, instance.vnnlib)]
    names = [f"{stems[0]}_{stems[1]}.counterexample{ending}" for ending in ("", ".gz")]
    places = [place / name for place in (folder / instance.family, folder) for name in names]
    return next((place for place in places if place.is_file()), None)


def _is_seconds(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="") as file:
            return list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise InputError(f"{path} cannot be read as CSV ({problem}); name a results file") from None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise InputError(f"{path} cannot be read ({problem}); ask the tool for its counterexample again") from None
