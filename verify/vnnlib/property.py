"""What a VNN-LIB file says, in exact rationals, and its translation into an input set and a specification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.rationals import Number, rational, round_down
from verify.sets import Box, InputSet, Polytope
from verify.spec import Specification

Terms = tuple[tuple[int, Fraction], ...]  # (index, coefficient), ascending in the index


@dataclass(frozen=True, slots=True)
class Row:
    """The condition output . y + input . x - offset >= 0, sparse.

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


def violation(
    disjuncts: Sequence[Sequence[Row]], x: Sequence[Fraction], low: Sequence[Fraction], high: Sequence[Fraction]
) -> tuple[Fraction, Fraction]:
    """(least, largest) max over disjuncts of min over their rows, at x and outputs between `low` and `high`; exact
    where these are equal. There must be a disjunct, and a row in each."""
    ends = [
        [min(row.reach(x, low, high)[end] for row in disjunct) for disjunct in disjuncts]
        for end in (0, 1)
    ]
    return max(ends[0]), max(ends[1])


@dataclass(frozen=True, eq=False)
class Case:
    """One convex set of inputs and what must not happen on it.

    Args:
        low, high: object arrays of rationals (inputs,), low <= high.
        input_rows, input_bounds: object arrays (count, inputs) and (count,): the set is also cut by rows x <= bounds.
        disjuncts: the case is satisfied where all rows of some disjunct are >= 0; never empty. A disjunct that asks
            nothing of the outputs is the constant row 0 >= 0.
    """

    low: np.ndarray
    high: np.ndarray
    input_rows: np.ndarray
    input_bounds: np.ndarray
    disjuncts: tuple[tuple[Row, ...], ...]

    def contains(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        """Whether x lies in the set and (x, y) satisfies a disjunct, exactly."""
        return self.allows(x) and any(all(row.value(x, y) >= 0 for row in disjunct) for disjunct in self.disjuncts)

    def allows(self, x: Sequence[Fraction]) -> bool:
        """Whether x lies in the set, exactly."""
        if not all(low <= v <= high for low, v, high in zip(self.low, x, self.high, strict=True)):
            return False
        return all(
            sum(c * v for c, v in zip(row, x, strict=True) if c) <= bound
            for row, bound in zip(self.input_rows, self.input_bounds, strict=True)
        )


@dataclass(frozen=True)
class Property:
    """A VNN-LIB file: satisfiable iff some case has an x in its set with (x, h(x)) satisfying one of its disjuncts.

    Args:
        source: the file, for messages.
        inputs, outputs: numbers of variables X_0 .. and Y_0 .., row-major over the network's tensors without the batch.
        cases: disjuncts with the same input set share a case. Empty boxes are dropped; with no case left the file is
            unsatisfiable whatever the network does.
    """

    source: str
    inputs: int
    outputs: int
    cases: tuple[Case, ...]

    def contains(self, x: np.ndarray | Tensor, y: np.ndarray | Tensor) -> bool:
        """Whether (x, y) satisfies the file, in rationals with no tolerance; x and y of any shape, floats or rationals.

        A point with a NaN or an infinity satisfies nothing. Raises InputError for a wrong number of values.
        """
        point, image = np.asarray(x).reshape(-1).tolist(), np.asarray(y).reshape(-1).tolist()
        self._check(len(point), len(image))
        if not all(map(math.isfinite, (*point, *image))):
            return False
        point, image = [Fraction(v) for v in point], [Fraction(v) for v in image]
        return any(case.contains(point, image) for case in self.cases)

    def loosened(self, tolerance: Number) -> Property:
        """The same file with every bound and every row loosened by a tolerance >= 0."""
        slack = rational(tolerance, "tolerance")
        return replace(self, cases=tuple(
            Case(
                case.low - slack, case.high + slack, case.input_rows, case.input_bounds + slack,
                tuple(tuple(replace(row, offset=row.offset - slack) for row in rows) for rows in case.disjuncts),
            )
            for case in self.cases
        ))

    def problem_parts(
        self, input_shape: tuple[int, ...], dtype: torch.dtype, outputs: int | None = None
    ) -> tuple[InputSet, Specification]:
        """The cases as a batch: their input sets (cases, *input_shape) and the specification (cases, rows).

        The sets keep the rationals. Row coefficients are rounded to the nearest float and offsets downward, so that
        rows with representable coefficients are never smaller than those of the file; `contains` decides on the
        exact ones. Raises InputError where the numbers of variables do not fit (`outputs` is checked if given).
        """
        self._check(math.prod(input_shape), self.outputs if outputs is None else outputs)
        return self._input_set(input_shape, dtype), self._specification(dtype)

    def _check(self, inputs: int, outputs: int) -> None:
        for name, declared, found in (("X", self.inputs, inputs), ("Y", self.outputs, outputs)):
            if declared != found:
                raise InputError(
                    f"{self.source}: declares {declared} variables {name}_i but the network has {found} "
                    f"{'inputs' if name == 'X' else 'outputs'}; use the property that was written for this network"
                )

    def _input_set(self, shape: tuple[int, ...], dtype: torch.dtype) -> InputSet:
        full = (len(self.cases), *shape)
        low = np.array([case.low for case in self.cases], dtype=object).reshape(full)
        high = np.array([case.high for case in self.cases], dtype=object).reshape(full)
        box = Box(low, high, dtype)
        most = max((len(case.input_bounds) for case in self.cases), default=0)
        if most == 0:
            return box
        rows = np.full((len(self.cases), most, self.inputs), Fraction(0), dtype=object)
        bounds = np.full((len(self.cases), most), Fraction(0), dtype=object)  # the padding says 0 . x <= 0
        for c, case in enumerate(self.cases):
            count = len(case.input_bounds)
            rows[c, :count], bounds[c, :count] = case.input_rows, case.input_bounds
        return Polytope(box, rows, bounds)

    def _specification(self, dtype: torch.dtype) -> Specification:
        rows = [
            [(d, row) for d, disjunct in enumerate(case.disjuncts) for row in disjunct] for case in self.cases
        ]
        shape = (len(rows), max(map(len, rows), default=0))
        offset = np.full(shape, Fraction(0), dtype=object)
        disjunct = torch.zeros(shape, dtype=torch.long)
        mask = torch.zeros(shape, dtype=torch.bool)
        for c, listed in enumerate(rows):
            offset[c, : len(listed)] = [row.offset for _, row in listed]
            disjunct[c, : len(listed)] = torch.tensor([d for d, _ in listed])
            mask[c, : len(listed)] = True
        indexed = [(c, r, row) for c, listed in enumerate(rows) for r, (_, row) in enumerate(listed)]
        output = _dense([(c, r, i, v) for c, r, row in indexed for i, v in row.output], (*shape, self.outputs), dtype)
        mixed = [(c, r, i, v) for c, r, row in indexed for i, v in row.input]
        given = _dense(mixed, (*shape, self.inputs), dtype) if mixed else None
        return Specification(output, round_down(offset, dtype), disjunct, mask, given)


def _dense(entries: list[tuple[int, int, int, Fraction]], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The tensor with these (case, row, index, value) entries and zeros elsewhere."""
    dense = torch.zeros(shape, dtype=dtype)
    if entries:
        cases, rows, indices, values = zip(*entries, strict=True)
        dense[list(cases), list(rows), list(indices)] = torch.tensor([float(v) for v in values], dtype=dtype)
    return dense
