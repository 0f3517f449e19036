"""A linear model in bulk arrays: what `encode` writes to and what a solver reads.

    columns  low <= x <= high, some of them integer
    rows     low <= A x <= high

All columns are boxed, which is what makes every LP bound repairable from its row duals (see verify.solvers.repair).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from verify.errors import SolverError
from verify.ops.base import Encoder


class Arrays(NamedTuple):
    """A whole model as float64 arrays: columns (n,), a CSR matrix (m, n), its row sides (m,), and how far these may be
    from what they stand for (m,), or None where they are that themselves."""

    low: np.ndarray
    high: np.ndarray
    integer: np.ndarray
    matrix: sp.csr_matrix
    row_low: np.ndarray
    row_high: np.ndarray
    row_error: np.ndarray | None = None


class LinearModel(Encoder):
    """Collects columns and two-sided sparse rows block by block; `arrays` joins the blocks."""

    def __init__(self) -> None:
        self.columns = 0
        self.rows = 0
        self._low: list[np.ndarray] = []
        self._high: list[np.ndarray] = []
        self._integer: list[np.ndarray] = []
        self._entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # row, column, value
        self._sides: list[tuple[np.ndarray, np.ndarray]] = []
        self._errors: list[tuple[int, np.ndarray]] = []
        self._cuts: list[tuple[bool, np.ndarray, np.ndarray, np.ndarray]] = []

    def add_columns(self, low: np.ndarray, high: np.ndarray, integer: bool = False) -> np.ndarray:
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise SolverError("a linear model needs finite bounds for every column; bound the network's values first")
        start = self.columns
        self.columns += low.size
        self._low.append(low.ravel())
        self._high.append(high.ravel())
        self._integer.append(np.full(low.size, integer))
        return np.arange(start, self.columns).reshape(low.shape)

    def add_rows(self, terms: Sequence[tuple[object, np.ndarray]], low: np.ndarray, high: np.ndarray) -> None:
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        for values, columns in terms:
            if sp.issparse(values):
                block = sp.coo_matrix(values)
                rows, places, data = block.row, np.asarray(columns)[block.col], block.data
            else:
                rows, places, data = np.arange(low.size), np.asarray(columns), np.asarray(values, dtype=np.float64)
            self._entries.append((rows + self.rows, places, data))
        self._sides.append((low, high))
        self.rows += low.size

    def tighten(self, columns: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Cuts the bounds of columns to their intersection with [low, high]; an empty one keeps the old bounds."""
        self._cuts.append((False, columns.ravel(), low.ravel(), high.ravel()))

    def bound(self, columns: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Replaces the lower and upper bounds of these columns."""
        self._cuts.append((True, columns.ravel(), low.ravel(), high.ravel()))

    def doubt(self, start: int, error: np.ndarray) -> None:
        """States how far the sides of the rows from this number on may be from what they stand for."""
        self._errors.append((start, error))

    def arrays(self) -> Arrays:
        """The model as arrays; repeated entries of a row are summed, zeros dropped, columns ascending."""
        low, high = _join(self._low), _join(self._high)
        for is_new, columns, cut_low, cut_high in self._cuts:
            new_low, new_high = np.maximum(low[columns], cut_low), np.minimum(high[columns], cut_high)
            new_low, new_high = (cut_low, cut_high) if is_new else (new_low, new_high)
            valid = new_low <= new_high
            low[columns[valid]], high[columns[valid]] = new_low[valid], new_high[valid]
        rows, places, data = (_join([entry[i] for entry in self._entries]) for i in range(3))
        where = (rows.astype(np.int64), places.astype(np.int64))
        matrix = sp.csr_matrix((data, where), shape=(self.rows, self.columns))
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        row_low, row_high = (_join([side[i] for side in self._sides]) for i in range(2))
        row_error = np.zeros(self.rows)
        for start, error in self._errors:
            row_error[start : start + len(error)] = error
        return Arrays(low, high, _join(self._integer).astype(bool), matrix, row_low, row_high, row_error)

    def to_text(self) -> str:
        """A readable form, the same for the same model: rows first, then columns, numbers as Python prints them."""
        a = self.arrays()
        lines = ["rows"]
        for i in range(self.rows):
            span = slice(a.matrix.indptr[i], a.matrix.indptr[i + 1])
            pairs = zip(a.matrix.data[span].tolist(), a.matrix.indices[span].tolist(), strict=True)
            terms = " ".join(f"{_number(value, True)} x{c}" for value, c in pairs)
            lines.append("  " + _between(a.row_low[i], terms, a.row_high[i]))
        lines.append("columns")
        for c in range(self.columns):
            kind = " integer" if a.integer[c] else ""
            lines.append(f"  {_number(a.low[c])} <= x{c} <= {_number(a.high[c])}{kind}")
        return "\n".join(lines) + "\n"


def _join(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def _between(low: float, text: str, high: float) -> str:
    if low == high:
        return f"{text} = {_number(low)}"
    left = "" if np.isneginf(low) else f"{_number(low)} <= "
    right = "" if np.isposinf(high) else f" <= {_number(high)}"
    return left + text + right


def _number(value: float, signed: bool = False) -> str:
    text = repr(float(value) + 0.0).removesuffix(".0")
    return f"+{text}" if signed and not text.startswith("-") else text
