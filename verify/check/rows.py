"""Rows on their way back to the input.

A row is a linear functional of a value. An affine node pulls it back by its adjoint; a nonlinear one takes the upper
line of a neuron for a coefficient >= 0 and the lower line for one < 0, so the row's value never shrinks. `bounds` says
what rounding may lose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from verify.check.curve_lines import touching_lines, within_domain
from verify.check.curves import Curve
from verify.check.lines import piecewise_lines
from verify.check.network import Node
from verify.check.numbers import INFLATION, MOST_TERMS
from verify.check.ops import Affine, Linear, Max, Piecewise
from verify.check.product import Planes, Product, lost

if TYPE_CHECKING:
    from verify.check.bounds import Relaxation


@dataclass(frozen=True)
class Duals:
    """What rows (rows, columns) bring along instead of the lines of the boxes.

    Args:
        columns: of each nonlinear node, (flat entries of its arguments end to end, places among the columns).
        low, high: boxes of the columns over which their lines hold; they may be wider than those of the relaxation.
        share: 0 to 1, see `piecewise_lines` and `touching_lines`; of the first factor of a product, (t + 1) / 2.
        multiplier: added to the coefficient of the neuron's input; positive of low <= z, negative of z <= high.
    """

    columns: dict[str, tuple[np.ndarray, slice]]
    low: np.ndarray
    high: np.ndarray
    share: np.ndarray
    multiplier: np.ndarray | None = None

    def take(self, part: slice | np.ndarray) -> Duals:
        """Some of the rows."""
        multiplier = None if self.multiplier is None else self.multiplier[part]
        return Duals(self.columns, self.low[part], self.high[part], self.share[part], multiplier)


class Row:
    """Rows on their way to the input: coefficients of the values that they have reached, value and error so far."""

    def __init__(self, relaxation: Relaxation, rows: int, owner: np.ndarray, duals: Duals | None):
        self.r, self.number, self.owner, self.duals = relaxation, relaxation.number, owner, duals
        self.pending: dict[str, np.ndarray] = {}
        self.value, self.slack = self.number.zeros((rows,)), self.number.zeros((rows,))

    def start(self, name: str, rows: np.ndarray, direct: np.ndarray | None) -> np.ndarray:
        """Bounds of rows over a value, and over the input; coefficients that are rounded once."""
        self._reach(name, rows)
        self._lose(rows, self.number.relative(rows.shape[1]) * self.r.most[name])
        if direct is not None:
            source = self.r.network.input
            self._reach(source, direct)
            self._lose(direct, self.number.relative(direct.shape[1]) * self.r.most[source])
        return self._pull(name)

    def entries(self, name: str, index: np.ndarray, sign: np.ndarray) -> np.ndarray:
        """Bounds of sign * value at single entries."""
        node = self.r.network.before(name)[-1]
        if isinstance(node.op, Linear) and len(node.shape) == 1:
            self._reach(node.inputs[0], node.op.weight[index] * sign[:, None])
            if node.op.bias is not None:
                self.value = self.value + sign * node.op.bias[index]
            error = self.r.error[name]
            self.slack = self.slack + (error[0, index] if len(error) == 1 else error[self.owner, index])
        else:
            rows = self.number.zeros((len(index), node.entries))
            rows[np.arange(len(index)), index] = sign
            self._reach(name, rows)
        return self._pull(name)

    def _pull(self, name: str) -> np.ndarray:
        network = self.r.network
        for node in reversed(network.before(name)):
            a = self.pending.pop(node.name, None)
            if a is None:
                continue
            self._lose(a, self.r.error[node.name])
            if isinstance(node.op, Affine):
                self._affine(node, node.op, a)
            elif isinstance(node.op, Piecewise | Curve):
                self._elementwise(node, node.op, a)
            elif isinstance(node.op, Product):
                self._product(node, node.op, a)
            else:
                self._max(node, node.op, a)
        last = self.pending.get(network.input)
        if last is not None:
            ends = self.r.low[network.input], self.r.high[network.input]
            low, high = (end if len(end) == 1 else end[self.owner] for end in ends)  # few rows come of many boxes
            middle = (low + high) / 2
            self._add(self._sum(last, middle))
            self._add(self._sum(np.abs(last), np.maximum(high - middle, middle - low)))
            self._lose(last, self.number.relative(last.shape[1]) * self.r.most[network.input])
        return self._bound()

    def _bound(self) -> np.ndarray:
        """Value and error together, rounded up; infinite where something overflowed."""
        if self.number.exact:
            return self.value + self.slack
        slack = self.slack * INFLATION
        bound = self.value + slack
        bound = bound + 2.0**-51 * (np.abs(self.value) + slack) + self.number.absolute(MOST_TERMS)
        return np.where(np.isfinite(bound), bound, np.inf)

    def _affine(self, node: Node, op: Affine, a: np.ndarray) -> None:
        if op.bias is not None:
            self._add(a @ op.bias)
        for k, source in enumerate(node.inputs):
            self._reach(source, op.adjoint(k, a))

    def _crossed(
        self, a: np.ndarray, upper: np.ndarray, above: np.ndarray, lower: np.ndarray, below: np.ndarray
    ) -> np.ndarray:
        """Coefficients of an elementwise node's argument, by lines; their intercepts are added."""
        positive = np.maximum(a, 0)
        negative = a - positive
        self._add(self._sum(positive, above))
        self._add(self._sum(negative, below))
        return positive * upper + negative * lower

    def _elementwise(self, node: Node, op: Piecewise | Curve, a: np.ndarray) -> None:
        lines, multiplier, given = self._lines(node, op)
        rows = self._crossed(a, *lines)
        if given is not None:
            entries, low, high = given
            most = np.maximum(np.maximum(np.abs(low), np.abs(high)), self.r.most[node.inputs[0]][:, entries])
            # lines over boxes wider than the proved ones are larger than the node's error takes into account
            sizes = [np.abs(part[:, entries]) for part in lines]
            size = np.maximum(sizes[0], sizes[2]) * most + np.maximum(sizes[1], sizes[3])
            self._lose_each(a[:, entries], self.number.relative(a.shape[1]) * 2 * size)
            if multiplier is not None:
                rows[:, entries] += multiplier
                self._pressed(multiplier, low, high, most)
        self._reach(node.inputs[0], rows)

    def _lines(self, node: Node, op: Piecewise | Curve):
        """The four arrays of the lines as rows meet them, the multipliers, and (entries, low, high) of the columns."""
        lines = self._own_lines(node)
        if self.duals is None or node.name not in self.duals.columns:
            return lines, None, None
        entries, span = self.duals.columns[node.name]
        low, high = self.duals.low[:, span], self.duals.high[:, span]
        share = self.duals.share[:, span]
        if isinstance(op, Curve):
            within_domain(op, low, high, node.name)
            own = touching_lines(self.number, op, low, high, share)
            self.number.finite(f"a line of {node.name!r}", *own[:4])
        else:
            own = piecewise_lines(self.number, op, low, high, "adaptive", share)
        for k, part in enumerate(own[:4]):
            lines[k] = np.repeat(lines[k], len(low), 0) if len(lines[k]) == 1 else lines[k]
            lines[k][:, entries] = part
        multiplier = None if self.duals.multiplier is None else self.duals.multiplier[:, span]
        return lines, multiplier, (entries, low, high)

    def _own_lines(self, node: Node) -> list[np.ndarray]:
        """The four arrays of the lines over the boxes that own the rows."""
        return [part if len(part) == 1 else part[self.owner] for part in self.r.lines[node.name][:4]]

    def _pressed(self, multiplier: np.ndarray, low: np.ndarray, high: np.ndarray, most: np.ndarray) -> None:
        """The least that multipliers of columns in these ranges add, taken off."""
        up = np.maximum(multiplier, 0)
        self._add(-(up * low).sum(1) - ((multiplier - up) * high).sum(1))
        self._lose_each(multiplier, self.number.relative(multiplier.shape[1]) * most)

    def _product(self, node: Node, op: Product, a: np.ndarray) -> None:
        given = None if self.duals is None else self.duals.columns.get(node.name)
        planes = self.r.planes[node.name].of(self.owner) if given is None else self._stated_planes(node, op, a, *given)
        t, c, e, s, turned, turned_c, base, spread = planes
        size, met = np.abs(a), op.to_left(a, s)
        self._add(self._sum(size, spread))
        self._add(-self._sum(a, base))
        self._add(self._sum(met, turned_c))
        parts = [op.to_left(a, e) - t * met, op.to_right(a, c) + op.to_right(size, turned)]
        if given is not None and self.duals is not None and self.duals.multiplier is not None:
            rows = np.concatenate(parts, 1)
            rows[:, given[0]] += self.duals.multiplier[:, given[1]]
            parts = np.split(rows, [parts[0].shape[1]], 1)
        for name, rows in zip(node.inputs, parts, strict=True):
            self._reach(name, rows)

    def _stated_planes(
        self, node: Node, op: Product, a: np.ndarray, entries: np.ndarray, span: slice
    ) -> tuple[np.ndarray, ...]:
        """The parts of planes of the shares that rows bring, over the ranges of their columns; notes what these lose,
        and what multipliers add."""
        duals = self.duals
        assert duals is not None
        low, high = (self._joined(node, sides, len(a)) for sides in (self.r.low, self.r.high))
        low[:, entries], high[:, entries] = duals.low[:, span], duals.high[:, span]
        most = np.maximum(np.maximum(np.abs(low), np.abs(high)), self._joined(node, self.r.most, len(a)))
        if duals.multiplier is not None:
            columns = low[:, entries], high[:, entries], most[:, entries]
            self._pressed(duals.multiplier[:, span], *columns)
        first = self.r.network.entries(node.inputs[0])
        # as for lines: planes over boxes wider than the proved ones are larger than the node's error says
        self._lose_each(a, 4 * lost(self.number, op, most[:, :first], most[:, first:]))
        tilt, is_left = self.number.zeros((len(a), first)), np.flatnonzero(entries < first)
        tilt[:, entries[is_left]] = 2 * duals.share[:, span][:, is_left] - 1
        x, y = ((low[:, part], high[:, part]) for part in (slice(first), slice(first, None)))
        return Planes(op, x, y, tilt).parts

    def _joined(self, node: Node, values: dict[str, np.ndarray], rows: int) -> np.ndarray:
        """Arguments of a node end to end, of the boxes that own the rows; (rows, entries)."""
        joined = np.concatenate([values[name] for name in node.inputs], 1)
        return np.repeat(joined, rows, 0) if len(joined) == 1 else joined[self.owner]

    def _max(self, node: Node, op: Max, a: np.ndarray) -> None:
        upper, above, _, _, high_at, low_at = (
            part if part is None or len(part) == 1 else part[self.owner] for part in self.r.lines[node.name]
        )
        assert above is not None
        positive = np.maximum(a, 0)
        negative = a - positive
        self._add(self._sum(positive, above))
        rows = self.number.zeros((len(a), self.r.network.entries(node.inputs[0])))
        every = np.arange(len(a))[:, None]
        np.add.at(rows, (every, np.asarray(high_at)), positive * upper)
        np.add.at(rows, (every, np.asarray(low_at)), negative)
        self._reach(node.inputs[0], rows)

    def _reach(self, name: str, rows: np.ndarray) -> None:
        """Adds coefficients of a value."""
        if name in self.pending:
            rows = self.pending[name] + rows
            self._lose(rows, self.number.relative(1) * self.r.most[name])
        self.pending[name] = rows

    def _add(self, term: np.ndarray) -> None:
        self.value = self.value + term
        self.slack = self.slack + self.number.relative(1) * np.abs(self.value)

    def _lose(self, rows: np.ndarray, error: np.ndarray) -> None:
        """Adds |rows| . error to what is lost, error (batch, entries) of the boxes; and what underflow may cost, since
        rows may be large where values are tiny."""
        self.slack = self.slack + self._dot(np.abs(rows), error + self.number.absolute(1))

    def _lose_each(self, rows: np.ndarray, error: np.ndarray) -> None:
        """The same with an error (rows, entries) for each row."""
        self.slack = self.slack + self._sum(np.abs(rows), error + self.number.absolute(1))

    def _dot(self, rows: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Each row with the field (batch, entries) of its box; (rows,)."""
        return rows @ field[0] if len(field) == 1 else self._sum(rows, field[self.owner])

    def _sum(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if len(b) == 1:
            return a @ b[0]
        return (a * b).sum(1) if self.number.exact else np.einsum("rn,rn->r", a, b)
