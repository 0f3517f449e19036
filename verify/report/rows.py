"""The records of a run as the compact JSON that a page's script makes its table from, and the pictures among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from verify.report.figures import KINDS, kind_of
from verify.report.images import Change, Panels, changes, panels
from verify.runs.certification.records import FALSIFIED, Effort, Record, Run

SHOWN = 12  # falsified samples in the gallery
DIGITS = 7  # that numbers keep


@dataclass(frozen=True)
class Item:
    """A falsified sample of the gallery: its record's row, and pictures, or else the coordinates that change most."""

    row: int
    record: Record
    panels: Panels | None
    changes: list[Change]


@dataclass(frozen=True)
class Gallery:
    """The first falsified samples, of how many, and how many characters their pictures take."""

    items: list[Item] = field(default_factory=list)
    of: int = 0

    @property
    def picture_size(self) -> int:
        return sum(_size(item.panels) for item in self.items if item.panels)


@dataclass(frozen=True)
class Rows:
    """The table of a run. `pictures` and `changes` go by row; `left_out` counts pictures that had no room."""

    methods: tuple[str, ...]
    eps: tuple[str, ...]
    texts: list[str]
    rows: list[list[Any]]
    pictures: dict[int, Panels]
    changes: dict[int, list[Change]]
    left_out: int

    @property
    def labels(self) -> list[int]:
        """The class labels that occur in the run, ascending."""
        return sorted({row[2] for row in self.rows if row[2] is not None})

    @property
    def deciders(self) -> list[str]:
        """Names of the methods that decided at least one sample."""
        found = {self.texts[row[5]] for row in self.rows}
        return [name for name in self.methods if name in found]

    @property
    def kinds(self) -> list[str]:
        """Kinds that occur, from good to bad."""
        found = {row[4] for row in self.rows}
        return [kind for place, kind in enumerate(KINDS) if place in found]

    @property
    def picture_size(self) -> int:
        return sum(map(_size, self.pictures.values()))

    def as_json(self) -> dict[str, Any]:
        """For the script, which knows the places of a row's entries."""
        return {
            "methods": self.methods, "eps": self.eps, "kinds": KINDS, "texts": self.texts, "rows": self.rows,
            "pictures": {row: [p.sample, p.perturbed, p.change, p.factor] for row, p in self.pictures.items()},
            "changes": {row: [[c.place, _short(c.before), _short(c.after)] for c in many]
                        for row, many in self.changes.items()},
        }


class _Texts:
    """Texts by number: what a thousand rows say alike is written once. Number 0 is the empty one."""

    def __init__(self) -> None:
        self.numbers = {"": 0}

    def number(self, text: str | None) -> int:
        return self.numbers.setdefault(text or "", len(self.numbers))


def rows_of(run: Run, clip: tuple[float, float] | None, room: int) -> tuple[Rows, Gallery]:
    """The table and the gallery of a run, with pictures as long as there is room for their characters.

    Records that follow from another eps share its witness, and have no pictures of their own.
    """
    texts = _Texts()
    rows = [_row(record, run, texts) for record in run.records]
    broken = [(row, r) for row, r in enumerate(run.records) if r.verdict == FALSIFIED and not r.implied]
    perturbed = [(row, r) for row, r in broken if r.method != "clean"]
    chosen = {row for row, _ in _spread(perturbed)}
    items, pictures, listed, left_out = [], {}, {}, 0
    for row, record in sorted(perturbed, key=lambda pair: pair[0] not in chosen):
        if room < 0:
            left_out += 1
            continue
        witness = run.array(record, "witness")
        if witness is None:
            continue
        sample = run.array(record, "input")
        found = panels(sample, witness, clip)
        moved = [] if found else changes(sample, witness)
        if found and (room := room - _size(found)) < 0:
            left_out += 1
        elif row in chosen:
            items.append(Item(row, record, found, moved))
        elif found:
            pictures[row] = found
        elif moved:
            listed[row] = moved
    table = Rows(run.methods, run.eps, list(texts.numbers), rows, pictures, listed, left_out)
    return table, Gallery(items, len(perturbed))


def _spread(found: list[tuple[int, Record]]) -> Iterable[tuple[int, Record]]:
    """At most `SHOWN` of these, evenly spread."""
    return found if len(found) <= SHOWN else [found[k * len(found) // SHOWN] for k in range(SHOWN)]


def _row(record: Record, run: Run, texts: _Texts) -> list[Any]:
    """The entries in the order that page.js knows."""
    words = (record.reason, record.trusts, record.implied, record.certificate, record.remark)
    return [
        record.index, run.eps.index(record.eps), record.label, record.prediction, KINDS.index(kind_of(record)),
        texts.number(record.method), _short(record.lower), _short(record.upper), _short(record.seconds),
        record.attacked, *map(texts.number, words), [_effort(record.methods.get(name)) for name in run.methods],
    ]


def _effort(effort: Effort | None) -> list[float | None] | int:
    return 0 if effort is None else [_short(v) for v in (effort.lower, effort.upper, effort.seconds, effort.memory)]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _size(panels: Panels) -> int:
    return sum(len(uri or "") for uri in (panels.sample, panels.perturbed, panels.change))
