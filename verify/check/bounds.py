"""Rigorous bounds of a network's values: boxes forward, rows backward (the only mathematics of a certificate).

`Relaxation` holds, for a batch of input boxes, a box for every value. A row is a linear functional of one value; it is
pulled back to the input through one line for each nonlinear neuron, so its value never shrinks (Zhang et al. 2018,
CROWN, theorem 3.2), and ends at a corner of the input box.

Rounding. The coefficients that float64 computes are taken as they are; what they miss is a multiple of magnitudes:
for v = fl(c W) it is at most gamma_n |c| (|W| m) over the box with magnitudes m. So every node has one vector `error`
with |row| . error bounding all that its step may lose, and the sum is added to the row's value at the end.

Level F, a network run in float32, adds to the same vector: a computed output is within gamma_{k+1} (|W| m + |b|)
+ (2k + 1) 2^-126 (1 + max|W| + max m) of the exact function of the computed inputs, for k products in any order, with
or without fused multiply-add, subnormals flushed or not. Boxes are then of computed values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verify.check.curve_lines import curve_interval, curve_lines, within_domain
from verify.check.curves import Curve
from verify.check.lines import Lines, interval, max_lines, piecewise_lines, unstable
from verify.check.network import Network, Node
from verify.check.numbers import SINGLE, TINY_SINGLE, Arithmetic, Rejected, gamma
from verify.check.ops import Affine, Entrywise, Gather, Max, Piecewise
from verify.check.product import TILTS, Planes, Product, lost
from verify.check.rows import Duals, Row

ROWS = 1 << 18  # numbers of one value, in rows that are pulled together


@dataclass(frozen=True)
class Level:
    """R, real arithmetic, or F, execution in float32; and the checker's own arithmetic.

    `tick` is called now and then during long work; whoever has no time left may raise there.
    """

    number: Arithmetic
    single: bool = False
    tick: Callable[[], None] = lambda: None


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
        self.planes: dict[str, Planes] = {}
        self._note(network.input, low, high)

    def visit(self, node: Node) -> None:
        """Bounds a node over the boxes of its arguments."""
        if isinstance(node.op, Affine):
            low, high = self._affine(node, node.op)
        elif isinstance(node.op, Piecewise):
            low, high = self._piecewise(node, node.op)
        elif isinstance(node.op, Curve):
            low, high = self._curve(node, node.op)
        elif isinstance(node.op, Product):
            low, high = self._product(node, node.op)
        else:
            low, high = self._max(node, node.op)
        self._note(node.name, low, high)

    def tighten(self, name: str, low: np.ndarray, high: np.ndarray) -> None:
        """Meets the box of a value with another that holds; where rounding makes them cross, the old one stays."""
        new = np.maximum(self.low[name], low), np.minimum(self.high[name], high)
        crossed = ~(new[0] <= new[1])
        self._note(name, np.where(crossed, self.low[name], new[0]), np.where(crossed, self.high[name], new[1]))

    def unstable(self, node: Node, source: str) -> np.ndarray:
        """The entries of a nonlinear node's argument on whose boxes its lines depend; bool (batch, entries)."""
        low, high = self.low[source], self.high[source]
        if isinstance(node.op, Piecewise):
            return unstable(node.op, low, high)
        if isinstance(node.op, Curve | Product):
            return (low < high).astype(bool)
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
            self.level.tick()
            part = slice(start, start + step)
            row = Row(self, len(index[part]), owner[part], None if duals is None else duals.take(part))
            parts.append(row.entries(name, index[part], sign[part]))
        return np.concatenate(parts) if parts else self.number.zeros((0,))

    def argument_bounds(
        self, node: Node, owner: np.ndarray, index: np.ndarray, sign: np.ndarray, duals: Duals
    ) -> np.ndarray:
        """The same of entries of a node's arguments, which are laid end to end."""
        out, start = self.number.zeros(index.shape), 0
        for name in node.inputs:
            stop = start + self.network.entries(name)
            here = np.flatnonzero((index >= start) & (index < stop))
            out[here] = self.entry_bounds(name, owner[here], index[here] - start, sign[here], duals.take(here))
            start = stop
        return out

    def row_bounds(
        self, name: str, rows: np.ndarray, owner: np.ndarray, direct: np.ndarray | None = None,
        duals: Duals | None = None,
    ) -> np.ndarray:
        """Upper bounds of rows . value + direct . input; rows (rows, entries), direct (rows, inputs) or None."""
        step = self._step(name)
        parts = []
        for start in range(0, len(rows), step):
            self.level.tick()
            part = slice(start, start + step)
            row = Row(self, len(rows[part]), owner[part], None if duals is None else duals.take(part))
            parts.append(row.start(name, rows[part], None if direct is None else direct[part]))
        return np.concatenate(parts) if parts else self.number.zeros((0,))

    def _step(self, name: str) -> int:
        widths = [node.held for node in self.network.before(name)]
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
            if not op.single:
                raise Rejected(f"level F does not cover batch normalisation (node {node.name!r})")
            most = [self.most[name] for name in node.inputs]
            self._overflows(op.widest(size), op.largest)
            error = error + self._single(op.steps * len(lows), size, op.largest, *most)
        self.error[node.name] = error
        low, high = center - spread - error, center + spread + error
        if op.rises(0) is None or self.level.single or self.number.exact:
            return low, high
        return self._by_ends(op, lows, highs, terms, (low, high))

    def _by_ends(
        self, op: Affine, lows: list[np.ndarray], highs: list[np.ndarray], terms: int,
        known: tuple[np.ndarray, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """The box met with what the ends of the arguments give, of an op that rises or falls with each argument.

        Its rounding is relative to the end itself: a sum of positive terms of very different sizes stays positive.
        """
        totals = [op.bias, op.bias_size] * 2 if op.bias is not None else [0 * known[0]] * 4
        for k, ends in enumerate(zip(lows, highs, strict=True)):
            values, sizes = [op.linear(k, x) for x in ends], [op.absolute(k, np.abs(x)) for x in ends]
            rises = np.asarray(op.rises(k))
            parts = [values[0], sizes[0], values[1], sizes[1]], [values[1], sizes[1], values[0], sizes[0]]
            totals = [total + np.where(rises, a, b) for total, a, b in zip(totals, *parts, strict=True)]
        low, low_size, high, high_size = totals
        error = [self.number.relative(terms) * size + self.number.absolute(terms) for size in (low_size, high_size)]
        return np.maximum(known[0], low - error[0]), np.minimum(known[1], high + error[1])

    def _piecewise(self, node: Node, op: Piecewise) -> tuple[np.ndarray, np.ndarray]:
        source, n = node.inputs[0], node.entries
        low, high = self.low[source], self.high[source]
        self.lines[node.name] = piecewise_lines(self.number, op, low, high, self.rules[node.name])
        steep, offset = max(map(abs, op.slopes)), max(map(abs, op.intercepts))
        size = self.number.factor(float(3 * steep)) * self.most[source] + self.number.factor(float(offset))
        error = self.number.relative(n) * size + self.number.absolute(n)
        bottom, top = interval(self.number, op, low, high)
        if self.level.single:
            sums = 0 if op.is_clamp else 4  # of which at most two are products; constants are rounded too
            size = 0 * low if op.is_clamp else self._size(op, source)
            noise = self._single(sums, size, float(steep), self.most[source])
            error, bottom, top = error + noise, bottom - noise, top + noise
        self.error[node.name] = error
        return bottom, top

    def _size(self, op: Piecewise, source: str) -> np.ndarray:
        """What float32 multiplies and adds in a piecewise function."""
        steep, offset = max(map(abs, op.slopes)), max(map(abs, op.intercepts))
        return self.number.factor(float(steep) * 1.001) * self.most[source] + self.number.factor(float(offset) * 1.001)

    def _curve(self, node: Node, op: Curve) -> tuple[np.ndarray, np.ndarray]:
        if self.level.single:
            raise Rejected(f"level F does not cover the curve {node.name!r}: float32 programs state no error for it, "
                           "or flush what lies beside a jump")
        source, n = node.inputs[0], node.entries
        low, high = self.low[source], self.high[source]
        within_domain(op, low, high, node.name)
        lines = self.lines[node.name] = curve_lines(self.number, op, low, high)
        steep = np.maximum(np.abs(lines.upper_slope), np.abs(lines.lower_slope))
        offset = np.maximum(np.abs(lines.upper_intercept), np.abs(lines.lower_intercept))
        self.error[node.name] = self.number.relative(n) * (steep * self.most[source] + offset) + self.number.absolute(n)
        self.number.finite(f"a line of {node.name!r}", steep, offset)
        return curve_interval(self.number, op, low, high)

    def _product(self, node: Node, op: Product) -> tuple[np.ndarray, np.ndarray]:
        """Boxes of rounded sums, and planes whose share the rule names."""
        x, y = ((self.low[name], self.high[name]) for name in node.inputs)
        most = [self.most[name] for name in node.inputs]
        tilt = self.number.of(np.full((1, x[0].shape[1]), TILTS[self.rules[node.name]]))
        self.planes[node.name] = Planes(op, x, y, tilt)
        loss = lost(self.number, op, *most)
        noise = self._single(op.steps, op.times(*most), 0.0, *most) if self.level.single else 0 * loss
        self.error[node.name] = 4 * loss + noise
        low, high = op.corners(x, y)
        return low - loss - noise, high + loss + noise

    def _max(self, node: Node, op: Max) -> tuple[np.ndarray, np.ndarray]:
        low, high = self.low[node.inputs[0]], self.high[node.inputs[0]]
        self.lines[node.name] = max_lines(self.number, op, low, high)
        most = self.most[node.inputs[0]][:, op.groups].max(2)
        terms = node.entries + op.groups.size
        error = self.number.relative(terms) * 3 * most + self.number.absolute(terms)
        bottom, top = low[:, op.groups].max(2), high[:, op.groups].max(2)
        if self.level.single:  # a maximum rounds nothing, but may flush
            noise = self._single(0, 0 * most, 0.0)
            error, bottom, top = error + noise, bottom - noise, top + noise
        self.error[node.name] = error
        return bottom, top

    def _single(self, steps: int, size: np.ndarray, largest: float, *most: np.ndarray) -> np.ndarray:
        """How far a float32 result is from the exact one; (batch, entries)."""
        self._overflows(size, largest)
        factor = self.number.factor(gamma(steps + 1, SINGLE) * (1 + 2.0**-20))
        top = max([0.0, *(float(np.max(values, initial=0)) for values in most)])
        return factor * size + self.number.factor((2 * steps + 1) * TINY_SINGLE * (1 + largest + top) * (1 + 2.0**-20))

    def _overflows(self, widest: np.ndarray, largest: float) -> None:
        if not bool(np.all(widest < 2.0**126)) or not largest < 2.0**126:
            raise Rejected("a sum or a weight may overflow float32")


def _total(apply, values: list[np.ndarray]) -> np.ndarray:
    total = apply(0, values[0])
    for k, value in enumerate(values[1:], 1):
        total = total + apply(k, value)
    return total


def sweep(
    network: Network, level: Level, low: np.ndarray, high: np.ndarray, layers: dict[str, tuple[str, str]],
    lemmas: Callable[[Relaxation, str], None] | None = None, before: Relaxation | None = None,
) -> Relaxation:
    """Boxes of all values over input boxes (batch, inputs).

    Args:
        layers: of every nonlinear node, how the box of its argument is justified ("interval", or "backward" for rows
            over the lines of the layers before), and the rule of its own slopes.
        lemmas: called with the relaxation and the node's name, to tighten its argument further.
        before: a sweep of the same boxes without lemmas, whose boxes are taken instead of new rows: over tighter lines,
            rows are not always tighter.
    """
    rules = {name: rule for name, (_, rule) in layers.items()}
    relaxation = Relaxation(network, level, low, high, rules)
    known = _exact_values(network)
    for node in network.nodes:
        if not isinstance(node.op, Affine):
            for source in node.inputs:
                if before is not None:
                    relaxation.tighten(source, before.low[source], before.high[source])
                elif layers[node.name][0] == "backward" and source not in known:
                    _backward(relaxation, node, source)
                    known.add(source)
            if lemmas is not None:
                lemmas(relaxation, node.name)
        relaxation.visit(node)
    return relaxation


def _backward(relaxation: Relaxation, node: Node, source: str) -> None:
    """Two rows for every undecided entry of an argument of a nonlinear node."""
    owner, index = np.nonzero(relaxation.unstable(node, source))
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
