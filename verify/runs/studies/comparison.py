"""A comparison of gaps from the user's texts to its rows: everything is read and checked before the work starts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from verify.errors import Contradiction, InputError
from verify.method import Method
from verify.problem import Problem
from verify.registry import Entry, entry_of
from verify.runs.engine.files import writable_folder, write_whole
from verify.runs.evidence.contradiction import asked_of, where_kept
from verify.runs.options import typed_radii
from verify.runs.request import GapsRequest
from verify.runs.studies.gap import Gap, Gaps
from verify.runs.studies.gaps import gaps
from verify.runs.subject import Subject, read

COLUMNS = ("index", "eps", "method", "lower", "upper", "attack", "certificate", "gap", "seconds", "verdict", "note")
TABLE = "gaps.csv"


@dataclass(frozen=True)
class Plan:
    """A comparison that has been read and checked: one problem for each eps, under its text."""

    asked: GapsRequest
    subject: Subject
    problems: dict[str, Problem]
    methods: dict[str, Method]

    @property
    def title(self) -> str:
        """One line that says what is compared."""
        return self.subject.title(self.asked.shape)

    @property
    def warnings(self) -> list[str]:
        """What the user may not have meant."""
        return self.subject.warnings(typed_radii(self.asked.eps).values())

    @property
    def answers(self) -> int:
        """How many answers the methods are asked for."""
        return len(self.problems) * len(self.methods) * len(self.subject.data.x)

    def run(self, advance: Callable[[int], None] = lambda count: None) -> dict[str, Gaps]:
        """The gaps for each eps; with a folder, its gaps.csv is written after each eps.

        A Contradiction is raised once its reproduction is in a folder, which its message names.
        """
        found: dict[str, Gaps] = {}
        for eps, problem in self.problems.items():
            try:
                found[eps] = gaps(problem, self.methods, advance, self.asked.timeout)
            except Contradiction as crossing:
                raise self._kept(eps, crossing) from crossing
            if self.asked.out is not None:
                write_whole(self.asked.out / TABLE, csv_of(found))
        return found

    def _kept(self, eps: str, crossing: Contradiction) -> Contradiction:
        """The same error, which says where its reproduction is."""
        i, data = crossing.bundle["sample"], self.subject.data
        bundle = {**crossing.bundle, "x": data.x[i : i + 1], "y": data.y[i : i + 1],
                  "asked": asked_of(self.asked.as_json(), eps)}
        where = where_kept(bundle, self.asked.out or Path())
        return Contradiction(f"eps {eps}, {crossing}, {where}", bundle)


def plan(asked: GapsRequest) -> Plan:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    entries = asked.entries
    _both_sides(entries)
    if not (asked.timeout > 0 and math.isfinite(asked.timeout)):
        raise InputError(f"timeout is {asked.timeout:g} but must be a positive number of seconds; write for example 10")
    radii = typed_radii(asked.eps)
    methods = {name: for_value(entry.make(asked.timeout)) for name, entry in entries.items()}
    subject = read(asked, simplified=False)
    problems = {text: subject.around(eps) for text, eps in radii.items()}
    if asked.out is not None:
        if (asked.out / TABLE).exists():
            raise InputError(f"{asked.out} holds {TABLE} already; name another folder with --out")
        writable_folder(asked.out)
    return Plan(asked, subject, problems, methods)


def for_value(method: Method) -> Method:
    """The method with the settings with which it goes for v*, and not only for its sign."""
    entry = entry_of(method)
    return method if entry is None else replace(cast(Any, method), **entry.value)


def csv_of(found: Mapping[str, Gaps]) -> str:
    """The rows of every eps as CSV, floats to the last bit; -inf and inf where there is no bound."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for eps, compared in found.items():
        for row in compared.rows:
            ends = row.lower, row.upper, row.attack, row.certificate, row.gap, row.seconds
            writer.writerow([row.index, eps, row.method, *map(repr, ends), row.verdict, row.note])
    return text.getvalue()


def json_of(compared: Gaps) -> dict[str, Any]:
    """The figures of every method and all rows, as JSON; null where a number is not finite."""
    figures = {name: _finite(asdict(values)) for name, values in compared.figures.items()}
    settings = {name: repr(method) for name, method in compared.methods.items()}
    return {"settings": settings, "methods": figures, "rows": [_json_row(row) for row in compared.rows]}


def _json_row(row: Gap) -> dict[str, Any]:
    extra = {"gap": row.gap, "verdict": str(row.verdict), "decides": str(row.decides)}
    return _finite({**asdict(row), **extra})


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def _both_sides(entries: dict[str, Entry]) -> None:
    """Raises InputError where all methods bound v* from one side only, which leaves nothing between."""
    kinds, names = {entry.family for entry in entries.values()}, ", ".join(entries)
    if kinds == {"lower"}:
        raise InputError(f"{names} can only attack, and a gap needs a certificate; add crown, or bab")
    if kinds == {"upper"}:
        raise InputError(f"{names} can only certify, and a gap needs an attack; add pgd, or bab")
