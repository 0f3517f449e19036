"""What a VNN-LIB file says, in exact rationals, and its translation into an input set and a specification."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError
from verify.rationals import Number, rational
from verify.rows import Row
from verify.sets import Box, InputSet, Polytope
from verify.spec import Specification, from_rows


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
        warnings: what its author may not have meant, a sentence each.
    """

    source: str
    inputs: int
    outputs: int
    cases: tuple[Case, ...]
    warnings: tuple[str, ...] = ()

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

        The sets keep the rationals, and the specification is that of `from_rows`. Raises InputError where the numbers
        of variables do not fit (`outputs` is checked if given).
        """
        self._check(math.prod(input_shape), self.outputs if outputs is None else outputs)
        spec = from_rows([case.disjuncts for case in self.cases], self.outputs, self.inputs, dtype)
        return self._input_set(input_shape, dtype), spec

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
