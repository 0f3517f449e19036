"""Rows of a specification in rationals, as a property states them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

Terms = tuple[tuple[int, Fraction], ...]  # (index, coefficient), ascending in the index


@dataclass(frozen=True, slots=True)
class Row:
    """The condition output . y + input . x - offset >= 0, sparse and in rationals.

    `bound` is (index, is it a lower bound, value) where the row bounds a single input, else None.
    """

    output: Terms
    input: Terms
    offset: Fraction
    bound: tuple[int, bool, Fraction] | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        bound = None
        if not self.output and len(self.input) == 1:
            ((index, c),) = self.input
            value = self.offset if c == 1 else -self.offset if c == -1 else self.offset / c
            bound = index, c.numerator > 0, value
        object.__setattr__(self, "bound", bound)

    @property
    def is_comparison(self) -> bool:
        """Whether it says no more than which of two outputs is the larger: a (y_i - y_j), a > 0."""
        coefficients = [c for _, c in self.output if c]
        return len(coefficients) == 2 and not sum(coefficients) and not self.input and not self.offset

    def value(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction:
        """output . y + input . x - offset."""
        return self.reach(x, y, y)[0]

    def reach(
        self, x: Sequence[Fraction], low: Sequence[Fraction], high: Sequence[Fraction]
    ) -> tuple[Fraction, Fraction]:
        """(least, largest) value at x and outputs between `low` and `high`."""
        start = sum((c * x[i] for i, c in self.input), -self.offset)
        least = sum((c * (low if c > 0 else high)[i] for i, c in self.output), start)
        return least, sum((c * (high if c > 0 else low)[i] for i, c in self.output), start)


Disjuncts = Sequence[Sequence[Row]]


def violation(
    disjuncts: Disjuncts, x: Sequence[Fraction], low: Sequence[Fraction], high: Sequence[Fraction]
) -> tuple[Fraction, Fraction]:
    """(least, largest) max over disjuncts of min over their rows, at x and outputs between `low` and `high`; exact
    where these are equal. There must be a disjunct, and a row in each."""
    ends = [
        [min(row.reach(x, low, high)[end] for row in disjunct) for disjunct in disjuncts]
        for end in (0, 1)
    ]
    return max(ends[0]), max(ends[1])


def float_errors(cases: Iterable[Disjuncts]) -> Iterator[tuple[int, int, bool, int, float]]:
    """(case, row, whether of an output, index, error) for every coefficient that is no float64, errors rounded up."""
    for c, disjuncts in enumerate(cases):
        for r, row in enumerate(row for disjunct in disjuncts for row in disjunct):
            for is_output, terms in ((True, row.output), (False, row.input)):
                for index, value in terms:
                    if not is_float(value):
                        error = abs(value - Fraction(float(value)))
                        yield c, r, is_output, index, math.nextafter(float(error), math.inf)


def is_float(value: Fraction) -> bool:
    """Whether float64 holds the number."""
    return (value.denominator == 1 and abs(value.numerator) <= 1 << 53) or Fraction(float(value)) == value
