"""Rigorous bounds of a network's values: boxes forward, rows backward (the only mathematics of a certificate).

`Relaxation` holds, for a batch of input boxes, a box for every value. A row is a linear functional of one value; it is
pulled back to the input through one line for each nonlinear neuron, so its value never shrinks (Zhang et al. 2018,
CROWN, theorem 3.2), and ends at a corner of the input box.

Rounding. The coefficients that float64 computes are taken as they are; what they miss is a multiple of magnitudes: for
v = fl(c W) it is at most gamma_n |c| (|W| m) over the box with magnitudes m. So every node has one vector `error` with
|row| . error bounding all that its step may lose, and the sum is added to the row's value at the end.

Level F, a network run in float32, adds to the same vector: a computed output is within gamma_{k+1} (|W| m + |b|)
+ (2k + 1) 2^-126 (1 + max|W| + max m) of the exact function of the computed inputs, for k products in any order, with or
without fused multiply-add, subnormals flushed or not. Boxes are then of computed values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.check.lines import Lines, interval, max_lines, piecewise_lines, unstable
from verify.check.network import Network, Node
from verify.check.numbers import INFLATION, MOST_TERMS, SINGLE, TINY_SINGLE, Arithmetic, Rejected, gamma
from verify.check.ops import Affine, Entrywise, Gather, Linear, Max, Piecewise

ROWS = 1 << 18  # numbers of one value, in rows that are pulled together


@dataclass(frozen=True)
class Level:
    """R, real arithmetic, or F, execution in float32; and the checker's own arithmetic."""

    number: Arithmetic
    single: bool = False


@dataclass(frozen=True)
class Duals:
    """What rows (rows, columns) bring along instead of the lines of the boxes.

    Args:
        columns: of each nonlinear node, (flat entries, places among the columns).
        low, high: boxes of the columns, inside those of the relaxation.
        share: 0 to 1, see `piecewise_lines`.
        multiplier: added to the coefficient of the neuron's input; positive of low <= z, negative of z <= high.
    """

    columns: dict[str, tuple[np.ndarray, slice]]
    low: np.ndarray
    high: np.ndarray
    share: np.ndarray
    multiplier: np.ndarray | None = None

    def take(self, part: slice) -> Duals:
        """Some of the rows."""
        multiplier = None if self.multiplier is None else self.multiplier[part]
        return Duals(self.columns, self.low[part], self.high[part], self.share[part], multiplier)


class Relaxation:
    """Boxes of the values of a network over input boxes low <= x <= high, (batch, entries).

    `visit` the nodes in order; before a nonlinear node, its argument may be `tighten`ed.
    """

    def __init__(self, network: Network, level: Level, low: np.ndarray, high: np.ndarray, rules: dict[str, str]):
        self.network, self.level, self.number, self.rules = network, level, level.number, rules
        self.low, self.high = {network.input: low}, {network.input: high}
        self.most: dict[str, np.ndarray] = {}  # magnitudes of values
        self.error: dict[str, np.ndarray] = {}  # of nodes: what a unit of a row may lose there
        self.lines: dict[str, Lines] = {}
        self._note(network.input, low, high)

    def visit(self, node: Node) -> None:
        """Bounds a node over the boxes of its arguments."""
        if isinstance(node.op, Affine):
            low, high = self._affine(node, node.op)
        elif isinstance(node.op, Piecewise):
            low, high = self._piecewise(node, node.op)
        else:
            low, high = self._max(node, node.op)
        self._note(node.name, low, high)

    def tighten(self, name: str, low: np.ndarray, high: np.ndarray) -> None:
        """Meets the box of a value with another that holds; where rounding makes them cross, the old one stays."""
        new = np.maximum(self.low[name], low), np.minimum(self.high[name], high)
        crossed = ~(new[0] <= new[1])
        self._note(name, np.where(crossed, self.low[name], new[0]), np.where(crossed, self.high[name], new[1]))

    def unstable(self, node: Node) -> np.ndarray:
        """The entries of a nonlinear node's argument on whose boxes its lines depend; bool (batch, entries)."""
        low, high = self.low[node.inputs[0]], self.high[node.inputs[0]]
        if isinstance(node.op, Piecewise):
            return unstable(node.op, low, high)
        out = np.zeros(low.shape, bool)
        if isinstance(node.op, Max) and node.op.groups.shape[1] > 1:
            out[:, node.op.groups.reshape(-1)] = True
        return out & (low < high)

    def entry_bounds(
        self, name: str, owner: np.ndarray, index: np.ndarray, sign: np.ndarray, duals: Duals | None = None
    ) -> np.ndarray:
        """Upper bounds of sign * value at flat entries; owner, index, sign (rows,), one box of the batch each."""
        step = self._step(name)
        parts = []
        for start in range(0, len(index), step):
            part = slice(start, start + step)
            row = _Row(self, len(index[part]), owner[part], None if duals is None else duals.take(part))
            parts.append(row.entries(name, index[part], sign[part]))
        return np.concatenate(parts) if parts else self.number.zeros((0,))

    def row_bounds(
        self, name: str, rows: np.ndarray, owner: np.ndarray, direct: np.ndarray | None = None, duals: Duals | None = None
    ) -> np.ndarray:
        """Upper bounds of rows . value + direct . input; rows (rows, entries), direct (rows, inputs) or None."""
        step = self._step(name)
        parts = []
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            row = _Row(self, len(rows[part]), owner[part], None if duals is None else duals.take(part))
            parts.append(row.start(name, rows[part], None if direct is None else direct[part]))
        return np.concatenate(parts) if parts else self.number.zeros((0,))

    def _step(self, name: str) -> int:
        widths = [node.entries for node in self.network.before(name)]
        return max(1, ROWS // max(self.network.entries(self.network.input), *widths, 1))

    def _note(self, name: str, low: np.ndarray, high: np.ndarray) -> None:
        self.number.finite(f"a bound of {name!r}", low, high)
        self.low[name], self.high[name] = low, high
        self.most[name] = np.maximum(np.abs(low), np.abs(high))

    def _affine(self, node: Node, op: Affine) -> tuple[np.ndarray, np.ndarray]:
        lows, highs = ([side[name] for name in node.inputs] for side in (self.low, self.high))
        size = _total(op.absolute, [self.most[name] for name in node.inputs])
        if op.is_move:  # nothing is computed forward, and backward only where an entry is used more than once
            self.error[node.name] = (0 if op.terms == 1 else self.number.relative(op.terms)) * size
            return _total(op.linear, lows), _total(op.linear, highs)
        middles = [(low + high) / 2 for low, high in zip(lows, highs, strict=True)]
        radii = [np.maximum(high - mid, mid - low) for low, mid, high in zip(lows, middles, highs, strict=True)]
        center, spread = _total(op.linear, middles), _total(op.absolute, radii)
        if op.bias is not None:
            center, size = center + op.bias, size + op.bias_size
        terms = max(op.terms * len(lows), node.entries) + 2
        error = (self.number.relative(terms) + self.number.factor(op.doubt)) * size + self.number.absolute(terms)
        if self.level.single:
            error = error + self._single(op.steps * len(lows), size, op.largest, *(self.most[n] for n in node.inputs))
        self.error[node.name] = error
        return center - spread - error, center + spread + error

    def _piecewise(self, node: Node, op: Piecewise) -> tuple[np.ndarray, np.ndarray]:
        source, n = node.inputs[0], node.entries
        low, high = self.low[source], self.high[source]
        self.lines[node.name] = piecewise_lines(self.number, op, low, high, self.rules[node.name])
        steep, offset = max(map(abs, op.slopes)), max(map(abs, op.intercepts))
        size = float(3 * steep) * self.most[source] + float(offset) * (1 + 2.0**-50) if not self.number.exact else 0 * low
        error = self.number.relative(n) * size + self.number.absolute(n)
        bottom, top = interval(self.number, op, low, high)
        if self.level.single:
            flushed = op.is_clamp
            noise = self._single(0, 0 * low, 0.0) if flushed else self._single(2, self._size(op, source), float(steep))
            error, bottom, top = error + noise, bottom - noise, top + noise
        self.error[node.name] = error
        return bottom, top

    def _size(self, op: Piecewise, source: str) -> np.ndarray:
        """What float32 multiplies and adds in a piecewise function."""
        steep, offset = max(map(abs, op.slopes)), max(map(abs, op.intercepts))
        return self.number.factor(float(steep) * 1.001) * self.most[source] + self.number.factor(float(offset) * 1.001)

    def _max(self, node: Node, op: Max) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.low[node.inputs[0]], self.high[node.inputs[0]]
        self.lines[node.name] = max_lines(self.number, op, low, high)
        most = self.most[node.inputs[0]][:, op.groups].max(2)
        terms = node.entries + op.groups.size
        self.error[node.name] = self.number.relative(terms) * 3 * most + self.number.absolute(terms)
        return low[:, op.groups].max(2), high[:, op.groups].max(2)

    def _single(self, steps: int, size: np.ndarray, largest: float, *most: np.ndarray) -> np.ndarray:
        """How far a float32 result is from the exact one; (batch, entries)."""
        if size.size and not bool(np.all(size < 2.0**126)):
            raise Rejected("a sum may overflow float32")
        factor = self.number.factor(gamma(steps + 1, SINGLE) * (1 + 2.0**-20))
        top = max([0.0, *(float(np.max(values, initial=0)) for values in most)])
        return factor * size + self.number.factor((2 * steps + 1) * TINY_SINGLE * (1 + largest + top) * (1 + 2.0**-20))


def _total(apply, values: list[np.ndarray]) -> np.ndarray:
    total = apply(0, values[0])
    for k, value in enumerate(values[1:], 1):
        total = total + apply(k, value)
    return total


class _Row:
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
            elif isinstance(node.op, Piecewise):
                self._piecewise(node, a)
            else:
                self._max(node, node.op, a)
        last = self.pending.get(network.input)
        if last is not None:
            low, high = self.r.low[network.input], self.r.high[network.input]
            middle = (low + high) / 2
            self._add(self._dot(last, middle))
            self._add(self._dot(np.abs(last), np.maximum(high - middle, middle - low)))
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

    def _piecewise(self, node: Node, a: np.ndarray) -> None:
        upper, above, lower, below, multiplier, given = self._lines(node)
        positive = np.maximum(a, 0)
        negative = a - positive
        self._add(self._sum(positive, above))
        self._add(self._sum(negative, below))
        rows = positive * upper + negative * lower
        if multiplier is not None and given is not None:
            entries, low, high = given
            rows[:, entries] += multiplier
            up = np.maximum(multiplier, 0)
            self._add(-(up * low).sum(1) - ((multiplier - up) * high).sum(1))
            most = self.r.most[node.inputs[0]][:, entries]
            self._lose(multiplier, self.number.relative(multiplier.shape[1]) * most)
        self._reach(node.inputs[0], rows)

    def _lines(self, node: Node):
        """The four arrays of the lines as rows meet them, the multipliers, and (entries, low, high) of the columns."""
        lines = [part if len(part) == 1 else part[self.owner] for part in self.r.lines[node.name][:4]]
        if self.duals is None or node.name not in self.duals.columns:
            return (*lines, None, None)
        entries, span = self.duals.columns[node.name]
        low, high = self.duals.low[:, span], self.duals.high[:, span]
        own = piecewise_lines(self.number, node.op, low, high, "adaptive", self.duals.share[:, span])
        for k, part in enumerate(own[:4]):
            lines[k] = np.repeat(lines[k], len(low), 0) if len(lines[k]) == 1 else lines[k]
            lines[k][:, entries] = part
        multiplier = None if self.duals.multiplier is None else self.duals.multiplier[:, span]
        return (*lines, multiplier, (entries, low, high))

    def _max(self, node: Node, op: Max, a: np.ndarray) -> None:
        lines = self.r.lines[node.name]
        upper, above, _, below, high_at, low_at = (part if len(part) == 1 else part[self.owner] for part in lines)
        positive = np.maximum(a, 0)
        negative = a - positive
        self._add(self._sum(positive, above))
        rows = self.number.zeros((len(a), self.r.network.entries(node.inputs[0])))
        every = np.arange(len(a))[:, None]
        np.add.at(rows, (every, high_at), positive * upper)
        np.add.at(rows, (every, low_at), negative)
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
        """Adds |rows| . error to what is lost."""
        self.slack = self.slack + self._dot(np.abs(rows), error)

    def _dot(self, rows: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Each row with the field (batch, entries) of its box; (rows,)."""
        return rows @ field[0] if len(field) == 1 else self._sum(rows, field[self.owner])

    def _sum(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if len(b) == 1:
            return a @ b[0]
        return (a * b).sum(1) if self.number.exact else np.einsum("rn,rn->r", a, b)


def sweep(
    network: Network, level: Level, low: np.ndarray, high: np.ndarray, layers: dict[str, tuple[str, str]], lemmas=None
) -> Relaxation:
    """Boxes of all values over input boxes (batch, inputs).

    Args:
        layers: of every nonlinear node, how the box of its argument is justified ("interval", or "backward" for rows
            over the lines of the layers before), and the rule of its own slopes.
        lemmas: called with the relaxation and the node's name, to tighten its argument further.
    """
    rules = {name: rule for name, (_, rule) in layers.items()}
    relaxation = Relaxation(network, level, low, high, rules)
    known = _exact_values(network)
    for node in network.nodes:
        if not isinstance(node.op, Affine):
            source = node.inputs[0]
            if layers[node.name][0] == "backward" and source not in known:
                _backward(relaxation, node)
                known.add(source)
            if lemmas is not None:
                lemmas(relaxation, node.name)
        relaxation.visit(node)
    return relaxation


def _backward(relaxation: Relaxation, node: Node) -> None:
    """Two rows for every undecided entry of a nonlinear node's argument."""
    source = node.inputs[0]
    owner, index = np.nonzero(relaxation.unstable(node))
    low, high = relaxation.low[source].copy(), relaxation.high[source].copy()
    ones = relaxation.number.of(np.ones(len(index)))
    high[owner, index] = relaxation.entry_bounds(source, owner, index, ones)
    low[owner, index] = -relaxation.entry_bounds(source, owner, index, -ones)
    relaxation.tighten(source, low, high)


def _exact_values(network: Network) -> set[str]:
    """Values that a row bounds no better than their interval: one affine map of independent entries."""
    independent, exact = {network.input}, {network.input}
    for node in network.nodes:
        if isinstance(node.op, Affine) and len(node.inputs) == 1 and node.inputs[0] in independent:
            exact.add(node.name)
            once = isinstance(node.op, Gather) and node.op.is_move and node.op.terms == 1
            if once or isinstance(node.op, Entrywise):
                independent.add(node.name)
    return exact
