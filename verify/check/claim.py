"""What a certificate claims: on no input of the cases does the network do what must not happen.

A case is a box of inputs with disjuncts; a disjunct is a list of strict linear rows, each output . y + input . x -
offset in rationals. The claim: for every case, every input of its box and every disjunct, some row is negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verify.check.grid import on_grid
from verify.check.network import LARGEST
from verify.check.numbers import Arithmetic, Rejected, single_hull
from verify.check.strict import integer, items, keys, rational

SHOWN = 5  # inputs, disjuncts and terms that are written out


@dataclass(frozen=True)
class Rows:
    """The rows of one disjunct: output (rows, outputs), input (rows, inputs) or None, offset (rows,); rationals."""

    output: np.ndarray
    input: np.ndarray | None
    offset: np.ndarray

    @property
    def compares(self) -> bool:
        """Whether every row says no more than which of two outputs is the larger: a (y_i - y_j), a > 0."""
        pairs = ((self.output != 0).sum(1) == 2) & (self.output.sum(1) == 0)
        return bool(pairs.all()) and not self.offset.any() and (self.input is None or not self.input.any())

    def __str__(self) -> str:
        """The rows as they would be violated."""
        parts = []
        for r, offset in enumerate(self.offset):
            values = [("y", self.output[r]), *([] if self.input is None else [("x", self.input[r])])]
            terms = [f"{brief(c)} {name}_{i}" for name, row in values for i, c in enumerate(row) if c]
            terms = [*terms[:SHOWN], "..."] if len(terms) > SHOWN else terms or ["0"]
            parts.append(f"{' + '.join(terms)} >= {brief(offset)}")
        return " and ".join(parts)


@dataclass(frozen=True)
class Case:
    """low, high (inputs,) rationals, low <= high; at least one disjunct of at least one row.

    Of the box only the whole multiples of 1 / levels are meant, if there are `levels`.
    """

    low: np.ndarray
    high: np.ndarray
    disjuncts: tuple[Rows, ...]
    levels: int | None = None

    def box(self, number: Arithmetic, single: bool) -> tuple[np.ndarray, np.ndarray]:
        """The box as numbers, (1, inputs) each, rounded outward; at level F the hull of its points as float32."""
        if single:
            ends = single_hull(self.low, -np.inf), single_hull(self.high, np.inf)
            return number.of(ends[0])[None], number.of(ends[1])[None]
        return number.down(self.low)[None], number.up(self.high)[None]

    def __str__(self) -> str:
        """In one line: the ranges of the first inputs that are more than one number, or of the first inputs where none
        is; the first disjuncts."""
        varies = np.flatnonzero(self.low != self.high)
        count = len(varies) or len(self.low)
        order = (varies if len(varies) else np.arange(count))[:SHOWN]
        ranges = zip(order.tolist(), self.low[order], self.high[order], strict=True)
        ends = [f"x_{i} in [{brief(low)}, {brief(high)}]" for i, low, high in ranges]
        ends += [f"and {count - SHOWN} more inputs"] if count > SHOWN else []
        ends += [f"and {len(self.low) - count} fixed inputs"] if count < len(self.low) else []
        rows = [f"never {disjunct}" for disjunct in self.disjuncts[:SHOWN]]
        rows += [f"and {len(self.disjuncts) - SHOWN} more"] if len(self.disjuncts) > SHOWN else []
        images = "every image of the 8-bit grid, x_i = k/255 with whole k"
        if self.levels is not None:
            which = images if self.levels == 255 else f"every x_i = k/{self.levels} with whole k"
            ends[0] = f"{which}, {ends[0]}"
        return f"for {', '.join(ends)}: {', '.join(rows)}"


def brief(number: Fraction, most: int = 12) -> str:
    """The fraction itself if its text is no longer than `most`, else six digits of it after a tilde."""
    return text if len(text := str(number)) <= most else f"~{float(number):.6g}"


def read_cases(value: Any, inputs: int, outputs: int, levels: int | None = None) -> tuple[Case, ...]:
    """The cases of a header, of a grid if there are levels. Rejects empty boxes, boxes that do not end on the grid, and
    disjuncts without rows, which nothing could refute."""
    cases, size = [], 0
    for i, entry in enumerate(items(value, "cases")):
        fields = keys(entry, f"case {i}", {"low", "high", "disjuncts"})
        low, high = (_vector(fields[end], f"{end} of case {i}", inputs) for end in ("low", "high"))
        ends = zip(low.tolist(), high.tolist(), strict=True)
        if any(a.numerator * b.denominator > b.numerator * a.denominator for a, b in ends):
            raise Rejected(f"case {i} has an empty box")
        if levels is not None:
            on_grid(np.concatenate([low, high]), levels, f"case {i}")
        given = items(fields["disjuncts"], f"case {i}")
        size += (inputs + outputs) * sum(len(items(rows, f"a disjunct of case {i}")) for rows in given)
        if size > LARGEST:
            raise Rejected(f"the rows of the claim have more than {LARGEST} coefficients together")
        disjuncts = [_rows(rows, f"case {i}", inputs, outputs) for rows in given]
        if not disjuncts:
            raise Rejected(f"case {i} says nothing")
        cases.append(Case(low, high, tuple(disjuncts), levels))
    return tuple(cases)


def _rows(value: Any, what: str, inputs: int, outputs: int) -> Rows:
    given = items(value, f"a disjunct of {what}")
    rows = [keys(row, f"a row of {what}", {"output", "input", "offset"}) for row in given]
    if not rows:
        raise Rejected(f"{what} has a disjunct without rows")
    offset = np.array([rational(row["offset"], "offset") for row in rows], dtype=object)
    mixed = any(items(row["input"], f"a row of {what}") for row in rows)
    return Rows(_sparse([row["output"] for row in rows], what, outputs),
                _sparse([row["input"] for row in rows], what, inputs) if mixed else None, offset)


def _sparse(rows: list[Any], what: str, width: int) -> np.ndarray:
    out = np.full((len(rows), width), Fraction(0), dtype=object)
    for r, row in enumerate(rows):
        seen = set()
        for term in items(row, f"a row of {what}"):
            pair = items(term, f"a term of {what}")
            if len(pair) != 2 or integer(pair[0], f"an index of {what}") >= width or pair[0] in seen:
                raise Rejected(f"{what} has a term that is no index, once, and a coefficient")
            seen.add(pair[0])
            out[r, pair[0]] = rational(pair[1], f"a coefficient of {what}")
    return out


def _vector(value: Any, what: str, length: int) -> np.ndarray:
    numbers = items(value, what)
    if len(numbers) != length:
        raise Rejected(f"{what} has {len(numbers)} numbers for {length} inputs")
    out = np.empty(length, dtype=object)
    out[:] = [rational(number, what) for number in numbers]
    return out
