"""Follows a certificate's proof: are all parts of all cases bounded strictly below zero?

Two kinds of trees cover the tasks, a task being one disjunct of one case. The leaves of an input tree are boxes that
are bounded anew by the layers' rules. A search has trees over the *columns* of one case, neurons whose boxes are proved
first, by lemmas: bounds of single entries, each by a tree over the columns before it. The leaves of both bring their own
slopes and multipliers; those of a task also the weights of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.check.bounds import Duals, Level, Relaxation, sweep
from verify.check.claim import Case, Rows
from verify.check.lines import RULES
from verify.check.network import Arrays, Network, integer, items, keys, text
from verify.check.numbers import Rejected
from verify.check.ops import Affine, Piecewise
from verify.check.tree import Forest

BATCH, LEAVES = 256, 512  # boxes that are bounded together; leaves with their duals
SHARES, WEIGHTS = 128, 1 << 15  # units of slopes and of row weights
Layers = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Proof:
    """The parts of a certificate that prove its cases."""

    network: Network
    cases: tuple[Case, ...]
    layers: Layers
    arrays: Arrays
    boxes: Any
    searches: Any

    def margin(self, level: Level) -> float:
        """The largest upper bound over all leaves, negative. Rejects a task that no tree covers, and a leaf whose bound
        is not negative.

        Sound because the leaves of a tree cover its root, some row of a disjunct is below each of their combinations,
        and `Relaxation` bounds rows; trusts NumPy's float64 arithmetic and the reading of this code.
        """
        proved: set[tuple[int, int]] = set()
        margin = -np.inf
        for trees in items(self.boxes, "boxes"):
            margin = max(margin, _input_trees(self, level, trees, proved))
        for search in items(self.searches, "searches"):
            margin = max(margin, _Search(self, level, search).margin(proved))
        for i, case in enumerate(self.cases):
            for k in range(len(case.disjuncts)):
                if (i, k) not in proved:
                    raise Rejected(f"nothing proves disjunct {k} of case {i}")
        return float(margin)

    def array(self, name: Any, shape: tuple[int, ...] | None, kinds: str) -> np.ndarray:
        """An array that the proof names, of this shape and of one of these kinds of type."""
        values = self.arrays.get(name) if isinstance(name, str) else None
        if values is None or values.dtype.kind not in kinds or (shape is not None and values.shape != shape):
            raise Rejected(f"the proof's array {name!r} is missing or not of the shape {shape}")
        return values

    def forest(self, fields: dict[str, Any], roots: int, variables: int) -> Forest:
        variable = self.array(fields["variable"], None, "i").astype(np.int64)
        return Forest(roots, variable, self.array(fields["point"], None, "f").astype(np.float64), variables)


def read_layers(value: Any, network: Network) -> Layers:
    """Of every nonlinear node: "interval" or "backward", and the rule of its slopes."""
    layers = {}
    for entry in items(value, "layers"):
        fields = keys(entry, "a layer", {"node", "box", "slope"})
        if fields["box"] not in ("interval", "backward") or fields["slope"] not in RULES:
            raise Rejected(f"layer {fields['node']!r} has no known justification or slope rule")
        layers[text(fields["node"], "a layer's node")] = fields["box"], fields["slope"]
    if set(layers) != {node.name for node in network.nodes if not isinstance(node.op, Affine)}:
        raise Rejected("the layers are not the nonlinear nodes of the network")
    return layers


def _input_trees(proof: Proof, level: Level, value: Any, proved: set[tuple[int, int]]) -> float:
    """Checks trees over inputs; notes their tasks."""
    fields = keys(value, "input trees", {"tasks", "variable", "point"})
    tasks = proof.array(fields["tasks"], None, "i")
    if tasks.ndim != 2 or tasks.shape[1] != 2:
        raise Rejected("the tasks of the input trees are no pairs")
    cases = [_at(proof.cases, i, "case") for i in tasks[:, 0].tolist()]
    rows = [_at(case.disjuncts, k, "disjunct") for case, k in zip(cases, tasks[:, 1].tolist(), strict=True)]
    proved.update(map(tuple, tasks.tolist()))
    forest, margin = proof.forest(fields, len(tasks), proof.network.entries(proof.network.input)), -np.inf
    for nodes, root, bounds in input_leaves(proof.network, level, proof.layers, cases, rows, forest, forest.leaves):
        _all_negative(bounds, lambda j, n=nodes, r=root: f"leaf {n[j]} of the input tree of task {tasks[r[j]].tolist()}")
        margin = max(margin, bounds.max())
    return margin


def input_leaves(
    network: Network, level: Level, layers: Layers, cases: list[Case], rows: list[Rows], forest: Forest, nodes: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Bounds of nodes of trees over inputs whose roots are these tasks: (nodes, their roots, bounds), some at a time,
    without nodes whose boxes are empty.

    A bound is the least over the rows of the task's disjunct, over the boxes that the layers' rules give. Sound because
    `sweep` and `Relaxation.row_bounds` are.
    """
    if not len(nodes):
        return
    sides = [np.concatenate(ends) for ends in zip(*(case.box(level.number, level.single) for case in cases), strict=True)]
    for start in range(0, len(nodes), BATCH):
        part = nodes[start : start + BATCH]
        root, low, high = forest.boxes(level.number, part, *sides)
        filled = (low <= high).all(1)
        root, part = root[filled], part[filled]
        if len(root):
            relaxation = sweep(network, level, low[filled], high[filled], layers)
            yield part, root, _least_rows(relaxation, [rows[r] for r in root.tolist()])


def _least_rows(relaxation: Relaxation, rows: list[Rows]) -> np.ndarray:
    """The least bound of the rows of each box's disjunct, (batch,)."""
    number = relaxation.number
    counts = [len(part.offset) for part in rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    bounds = _values(relaxation, rows, owner)
    return np.minimum.reduceat(bounds, np.cumsum([0, *counts[:-1]])) if not number.exact else np.array(
        [min(bounds[owner == i]) for i in range(len(rows))], dtype=object)


def _values(relaxation: Relaxation, rows: list[Rows], owner: np.ndarray) -> np.ndarray:
    """Upper bounds of all rows, flat."""
    number, network = relaxation.number, relaxation.network
    output = number.nearest(np.concatenate([part.output for part in rows]))
    mixed = [part.input for part in rows]
    direct = None
    if any(part is not None for part in mixed):
        zero = [number.zeros((len(part.offset), network.entries(network.input))) for part in rows]
        direct = np.concatenate([z if part is None else number.nearest(part) for z, part in zip(zero, mixed, strict=True)])
    bounds = relaxation.row_bounds(network.output, output, owner, direct)
    return _less(relaxation, bounds, number.nearest(np.concatenate([part.offset for part in rows])))


def _less(relaxation: Relaxation, bounds: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """bounds - offset, rounded up."""
    return bounds - offset + relaxation.number.relative(1) * (np.abs(bounds) + np.abs(offset))


class _Search:
    """One case with its columns, lemmas and trees."""

    def __init__(self, proof: Proof, level: Level, value: Any):
        fields = keys(value, "a search", {"case", "columns", "lemmas", "tasks"})
        self.proof, self.level, self.number = proof, level, level.number
        self.index = integer(fields["case"], "a search's case")
        self.case = _at(proof.cases, self.index, "case")
        self.lemmas, self.tasks = items(fields["lemmas"], "lemmas"), items(fields["tasks"], "a search's tasks")
        self.columns, self.count = self._columns(fields["columns"])
        low, high = self.case.box(self.number, level.single)
        self.relaxation = sweep(proof.network, level, low, high, proof.layers, self._prove_lemmas)

    def margin(self, proved: set[tuple[int, int]]) -> float:
        """The largest bound over the leaves of all tasks."""
        margin = -np.inf
        for value in self.tasks:
            fields = keys(value, "a task", {"disjunct", "weight", *_TREE})
            k = integer(fields["disjunct"], "a task's disjunct")
            rows = _at(self.case.disjuncts, k, "disjunct")
            margin = max(margin, self._task(fields, rows, k))
            proved.add((self.index, k))
        return margin

    def _task(self, fields: dict[str, Any], rows: Rows, k: int) -> float:
        number, relaxation = self.number, self.relaxation
        output, offset = number.nearest(rows.output), number.nearest(rows.offset)
        direct = None if rows.input is None else number.nearest(rows.input)
        leaves = _Leaves(self, fields, 1, self.count)
        weights = self.proof.array(fields["weight"], (len(leaves.nodes), len(offset)), "u").astype(np.int64)
        if not bool(np.isin(weights.sum(1), (0, WEIGHTS)).all()):
            raise Rejected(f"the row weights of disjunct {k} of case {self.index} do not add up to 1, or to 0")
        margin = -np.inf
        for place, _, duals in leaves.parts():
            weight = number.of(weights[place]) / WEIGHTS
            owner = np.zeros(len(place), int)
            bounds = relaxation.row_bounds(
                self.proof.network.output, weight @ output, owner, None if direct is None else weight @ direct, duals
            )
            lost = number.relative(len(offset)) * self._sizes(weight, rows)
            bounds = _less(relaxation, bounds, weight @ offset) + lost
            _all_negative(bounds, lambda j: f"leaf {leaves.nodes[place[j]]} of disjunct {k} of case {self.index}")
            filled = weights[place].any(1)
            margin = max(margin, bounds[filled].max()) if filled.any() else margin
        return margin

    def _sizes(self, weight: np.ndarray, rows: Rows) -> np.ndarray:
        """Magnitudes of what weighted rows are made of, (leaves,): rounding of the weighting is relative to them."""
        number, network, most = self.number, self.proof.network, self.relaxation.most
        size = np.abs(number.nearest(rows.output)) @ most[network.output][0] + np.abs(number.nearest(rows.offset))
        if rows.input is not None:
            size = size + np.abs(number.nearest(rows.input)) @ most[network.input][0]
        return weight @ size

    def _prove_lemmas(self, relaxation: Relaxation, name: str) -> None:
        """Tightens the argument of a nonlinear node by the lemmas that speak of it, in their order."""
        source = next(node.inputs[0] for node in self.proof.network.nodes if node.name == name)
        before = next((span.start for node, (_, span) in self.columns.items() if node == name), None)
        for value in self.lemmas:
            fields = keys(value, "a lemma", {"node", "entry", "sign", *_TREE})
            if fields["node"] != name:
                continue
            if before is None or source == self.proof.network.input:
                raise Rejected(f"a lemma speaks of {name!r}, which has no columns")
            entry = self.proof.array(fields["entry"], None, "i").astype(np.int64)
            sign = self.proof.array(fields["sign"], entry.shape, "i").astype(np.int64)
            if entry.ndim != 1 or not bool(np.isin(sign, (-1, 1)).all()) or not bool(
                ((entry >= 0) & (entry < self.proof.network.entries(source))).all()
            ):
                raise Rejected(f"a lemma of {name!r} speaks of entries that there are not")
            self._prove(relaxation, _Leaves(self, fields, len(entry), before, relaxation), source, entry, sign)

    def _prove(
        self, relaxation: Relaxation, leaves: _Leaves, source: str, entry: np.ndarray, sign: np.ndarray
    ) -> None:
        """The largest bound over the leaves of each entry's tree becomes an end of its box."""
        number = self.number
        low, high = relaxation.low[source].copy(), relaxation.high[source].copy()
        ends = number.of(np.full(len(entry), -(2.0**300)))
        for place, root, duals in leaves.parts():
            owner = np.zeros(len(place), int)
            found = relaxation.entry_bounds(source, owner, entry[root], number.of(sign[root]), duals)
            np.maximum.at(ends, root, found)
        ends = np.maximum(ends, np.where(sign > 0, low[0, entry], -high[0, entry]))  # all leaves empty says nothing
        up = sign > 0
        np.minimum.at(high[0], entry[up], ends[up])
        np.maximum.at(low[0], entry[~up], -ends[~up])
        relaxation.tighten(source, low, high)

    def _columns(self, value: Any) -> tuple[dict[str, tuple[np.ndarray, slice]], int]:
        """Flat entries and places of the columns of each node, in the order of the network, and their number."""
        given, start, columns = {}, 0, {}
        for entry in items(value, "columns"):
            fields = keys(entry, "columns of a node", {"node", "entries"})
            given[text(fields["node"], "a column's node")] = self.proof.array(fields["entries"], None, "i").astype(np.int64)
        for node in self.proof.network.nodes:
            entries = given.pop(node.name, None)
            if entries is None:
                continue
            if not isinstance(node.op, Piecewise) or entries.ndim != 1 or len(np.unique(entries)) != len(entries) or (
                len(entries) and (entries.min() < 0 or entries.max() >= node.entries)
            ):
                raise Rejected(f"the columns of {node.name!r} are no entries of a piecewise node, each once")
            columns[node.name] = entries, slice(start, start + len(entries))
            start += len(entries)
        if given:
            raise Rejected("columns belong to a node that there is not")
        return columns, start


_TREE = {"variable", "point", "share", "counts", "column", "multiplier"}


class _Leaves:
    """The leaves of a forest over the first `count` columns, with their slopes and multipliers."""

    def __init__(
        self, search: _Search, fields: dict[str, Any], roots: int, count: int, relaxation: Relaxation | None = None
    ):
        proof, self.search, self.count = search.proof, search, count
        self.relaxation = search.relaxation if relaxation is None else relaxation
        self.forest = proof.forest(fields, roots, count)
        self.nodes = self.forest.leaves
        self.share = proof.array(fields["share"], (len(self.nodes), count), "u")
        counts = proof.array(fields["counts"], self.nodes.shape, "i").astype(np.int64)
        self.column = proof.array(fields["column"], None, "i").astype(np.int64)
        self.multiplier = proof.array(fields["multiplier"], self.column.shape, "f").astype(np.float64)
        if counts.size and counts.min() < 0 or counts.sum() != len(self.column) or self.column.ndim != 1:
            raise Rejected("a tree has another number of multipliers than it counts")
        if self.column.size and (self.column.min() < 0 or self.column.max() >= count):
            raise Rejected("a multiplier belongs to a column that there is not")
        if self.share.size and self.share.max() > SHARES:
            raise Rejected("a slope lies outside of the range of its line")
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def parts(self):
        """(places among the leaves, their roots, their duals), some at a time, without leaves whose boxes are empty."""
        number = self.search.number
        low, high = (self._gathered(side) for side in (self.relaxation.low, self.relaxation.high))
        for start in range(0, len(self.nodes), LEAVES):
            place = np.arange(start, min(start + LEAVES, len(self.nodes)))
            root, lows, highs = self.forest.boxes(number, self.nodes[place], low, high)
            filled = (lows <= highs).all(1)
            place, root, lows, highs = place[filled], root[filled], lows[filled], highs[filled]
            if len(place):
                share = number.of(self.share[place].astype(np.float64)) / SHARES
                yield place, root, Duals(self.search.columns, lows, highs, share, self._multipliers(place))

    def _multipliers(self, place: np.ndarray) -> np.ndarray | None:
        lengths = self.starts[place + 1] - self.starts[place]
        if not lengths.any():
            return None
        number = self.search.number
        row = np.repeat(np.arange(len(place)), lengths)
        at = np.repeat(self.starts[place] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths) + np.arange(len(row))
        out = np.zeros((len(place), self.count))
        np.add.at(out, (row, self.column[at]), self.multiplier[at])
        return number.of(out)

    def _gathered(self, sides: dict[str, np.ndarray]) -> np.ndarray:
        """The boxes of the columns' inputs, (1, count)."""
        parts = [self.search.number.zeros((1, 0))]
        for node in self.search.proof.network.nodes:
            entries, span = self.search.columns.get(node.name, (None, slice(0, 0)))
            if entries is not None and span.stop <= self.count:
                parts.append(sides[node.inputs[0]][:, entries])
        return np.concatenate(parts, 1)


def _all_negative(bounds: np.ndarray, name: Callable[[int], str]) -> None:
    """Rejects the first bound that is not negative, NaN included."""
    bad = np.flatnonzero(~(bounds < 0).astype(bool))
    if len(bad):
        raise Rejected(f"{name(bad[0])} is bounded by {float(bounds[bad[0]]):.6g}, which is not negative")


def _at(values: tuple, index: int, what: str):
    if not 0 <= index < len(values):
        raise Rejected(f"the proof speaks of {what} {index}, which there is not")
    return values[index]
