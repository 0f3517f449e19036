"""From the branches of a normal form to cases: one for each input set, with the disjuncts that share it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from verify.deadline import check_time
from verify.errors import InputError
from verify.rows import Row
from verify.vnnlib.parser import Branch, Script, parse
from verify.vnnlib.property import Case, Property

ALWAYS = Row((), (), Fraction(0))  # 0 >= 0
LONGEST = 1 << 27  # bytes of text, unpacked
ENTRIES = 20_000_000  # bounds of inputs, of all cases together
Side = list[Fraction | None]
Box = tuple[Side, Side]  # low and high, None where nothing is known


def read_vnnlib(path: str | Path) -> Property:
    """Reads a .vnnlib or .vnnlib.gz file.

    Raises InputError with the file and the line for what is missing, damaged, outside VNN-LIB 1.0 or the parser's
    limits, has more than LONGEST bytes, needs more than ENTRIES bounds of inputs, or leaves an input without a bound on
    both sides in some case; OutOfTime once the deadline in force has come.
    """
    script = parse(_text(Path(path)), str(path))
    cases = _Cases(script)
    for branch in script.branches:
        check_time()
        cases.add(branch)
    found = cases.finish()
    return Property(script.source, script.inputs, script.outputs, found, cases.warnings(bool(found)))


def _text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise InputError(f"{path}: has more than {LONGEST} bytes of text; split the property")
        return data.decode("utf-8-sig")
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path}: is not a complete gzip file; fetch it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: is not text; a packed property must end in .gz") from None


@dataclass
class _Part:
    """What a group of rows says: bounds of single inputs, rows over inputs alone, and the rest."""

    bounds: list[tuple[int, bool, Fraction]] = field(default_factory=list)
    cuts: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    constants: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, group: tuple[Row, ...]) -> _Part:
        part = cls()
        for row in group:
            if row.bound is not None:
                part.bounds.append(row.bound)
            elif row.output:
                part.rows.append(row)
            elif row.input:
                part.cuts.append(row)
            else:
                part.constants.append(row)
        return part

    @property
    def possible(self) -> bool:
        return all(row.offset <= 0 for row in self.constants)


class _Cases:
    """Collects the branches of a script by their input sets."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.bounds = 0  # of inputs, in all sets so far
        self.empty: dict[int, tuple[Fraction, Fraction]] = {}  # inputs whose bounds left none, with the first such
        self.outside = False  # whether a box lay outside one of its cuts
        self.parts: dict[int, _Part] = {}  # of a group, by identity: branches share groups
        self.trunks: dict[int, Box | None] = {}  # box of the first group, which all branches of a formula share
        self.by_groups: dict[tuple[int, ...], list[tuple[Row, ...]] | None] = {}
        self.by_set: dict[tuple[Any, Any, Any], list[tuple[Row, ...]]] = {}  # equal sets, however they were written

    def add(self, branch: Branch) -> None:
        """Puts the branch's disjunct where its input set belongs; drops it where it is false or its box is empty."""
        pieces = [self.part(group) for group in branch]
        if not all(piece.possible for piece in pieces):
            return
        shaping = [piece for piece in pieces if piece.bounds or piece.cuts]
        key = tuple(map(id, shaping))
        if key not in self.by_groups:
            self.by_groups[key] = self.disjuncts_of(shaping)
        disjuncts = self.by_groups[key]
        if disjuncts is not None:
            disjuncts.append(tuple(row for piece in pieces for row in piece.rows) or (ALWAYS,))

    def part(self, group: tuple[Row, ...]) -> _Part:
        if id(group) not in self.parts:
            self.parts[id(group)] = _Part.of(group)
        return self.parts[id(group)]

    def disjuncts_of(self, shaping: list[_Part]) -> list[tuple[Row, ...]] | None:
        """The list that collects the disjuncts of this input set; None where its box is empty."""
        self.bounds += self.script.inputs
        if self.bounds > ENTRIES:
            raise InputError(
                f"{self.script.source}: its input sets need more than {ENTRIES} bounds; split the property"
            )
        unknown: Side = [None] * self.script.inputs
        box: Box | None = (unknown, unknown)
        if shaping:
            first = id(shaping[0])
            if first not in self.trunks:
                self.trunks[first] = self.tightened(box, shaping[:1])
            box = self.trunks[first]
        box = box and self.tightened(box, shaping[1:])
        if box is None:
            return None
        low, high = box
        for side, values in (("below", low), ("above", high)):
            if any(value is None for value in values):
                name = f"X_{values.index(None)}"
                raise InputError(
                    f"{self.script.source}, line {self.script.line(name)}: {name} has no bound from {side} in some "
                    "case; bound every input on both sides"
                )
        cuts = frozenset(cut for part in shaping for cut in part.cuts)
        return self.by_set.setdefault((tuple(low), tuple(high), cuts), [])

    def tightened(self, box: Box, parts: list[_Part]) -> Box | None:
        """The box cut by the parts' bounds, or None where it becomes empty."""
        low, high = list(box[0]), list(box[1])
        for part in parts:
            for i, is_low, value in part.bounds:
                below, above = low[i], high[i]
                if is_low and (below is None or value > below):
                    low[i] = below = value
                elif not is_low and (above is None or value < above):
                    high[i] = above = value
                if below is not None and above is not None and below > above:
                    self.empty.setdefault(i, (below, above))
                    return None
        return low, high

    def finish(self) -> tuple[Case, ...]:
        """The cases, without those whose box lies outside one of their cuts."""
        found = []
        for (low, high, cuts), disjuncts in self.by_set.items():
            if all(_reach(cut, low, high) >= 0 for cut in cuts):
                found.append(_case(low, high, cuts, disjuncts))
            else:
                self.outside = True
        return tuple(found)

    def warnings(self, is_allowed: bool) -> tuple[str, ...]:
        """What the file says that its author may not have meant, a sentence each.

        is_allowed: whether any case is left.
        """
        told, parts = [], self.parts.values()
        where = "in some case, which is left out" if is_allowed else "so that no input is allowed"
        for i, (low, high) in list(self.empty.items())[:1]:
            told.append(f"X_{i} has a lower bound {float(low)!r} above its upper bound {float(high)!r}, {where}")
        if self.outside:
            told.append(f"a constraint over several inputs excludes the whole input box, {where}")
        spoken = {i for part in parts for row in part.rows for i, _ in row.output}
        silent = [f"Y_{i}" for i in range(self.script.outputs) if i not in spoken]
        if not spoken:
            told.append("no constraint speaks of an output: every allowed input satisfies the file")
        elif silent:
            names = ", ".join(silent[:5]) + (", .." if len(silent) > 5 else "")
            told.append(f"{len(silent)} of {self.script.outputs} outputs are in no constraint ({names})")
        constants = [row for part in parts for row in part.constants]
        if constants:
            told.append(f"a comparison speaks of no variable: 0 >= {float(constants[0].offset)!r} is always "
                        f"{'true' if constants[0].offset <= 0 else 'false'}")
        return tuple(told)


def _reach(cut: Row, low: tuple[Fraction, ...], high: tuple[Fraction, ...]) -> Fraction:
    """The largest value of a row over inputs alone on a box."""
    return sum((c * (high if c > 0 else low)[i] for i, c in cut.input), -cut.offset)


def _case(
    low: tuple[Fraction, ...], high: tuple[Fraction, ...], cuts: frozenset[Row], disjuncts: list[tuple[Row, ...]]
) -> Case:
    rows = np.full((len(cuts), len(low)), Fraction(0), dtype=object)
    ordered = sorted(cuts, key=lambda cut: (cut.input, cut.offset))
    for r, cut in enumerate(ordered):
        for i, coefficient in cut.input:
            rows[r, i] = -coefficient
    return Case(_exact(low), _exact(high), rows, _exact([-cut.offset for cut in ordered]), tuple(disjuncts))


def _exact(values: Sequence[Fraction]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
