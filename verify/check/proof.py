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
    fields = keys(value, "input trees", {"tasks", "variable", "point", "weight"})
    tasks = proof.array(fields["tasks"], None, "i")
    if tasks.ndim != 2 or tasks.shape[1] != 2:
        raise Rejected("the tasks of the input trees are no pairs")
    cases = [_at(proof.cases, i, "case") for i in tasks[:, 0].tolist()]
    rows = [_at(case.disjuncts, k, "disjunct") for case, k in zip(cases, tasks[:, 1].tolist(), strict=True)]
    proved.update(map(tuple, tasks.tolist()))
    forest, margin = proof.forest(fields, len(tasks), proof.network.entries(proof.network.input)), -np.inf
    width = max((len(part.offset) for part in rows), default=0)
    weight = proof.array(fields["weight"], (len(forest.leaves), width), "u").astype(np.int64)
    leaves = input_leaves(proof.network, level, proof.layers, cases, rows, forest, forest.leaves, weight)
    for nodes, root, bounds in leaves:
        _all_negative(bounds, lambda j, n=nodes, r=root: f"leaf {n[j]} of the input tree of task {tasks[r[j]].tolist()}")
        margin = max(margin, bounds.max())
    return margin


def input_leaves(
    network: Network, level: Level, layers: Layers, cases: list[Case], rows: list[Rows], forest: Forest,
    nodes: np.ndarray, weight: np.ndarray,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Bounds of nodes of trees over inputs whose roots are these tasks: (nodes, their roots, bounds), some at a time,
    without nodes whose boxes are empty.

    A bound is that of the rows of the task's disjunct, weighted (nodes, width), over the boxes that the layers' rules
    give. Sound because `sweep` and `_Weighted.bounds` are.
    """
    if not len(nodes):
        return
    sides = [np.concatenate(ends) for ends in zip(*(case.box(level.number, level.single) for case in cases), strict=True)]
    parts = [_Weighted(level, part) for part in rows]
    for start in range(0, len(nodes), BATCH):
        part = nodes[start : start + BATCH]
        root, low, high = forest.boxes(level.number, part, *sides)
        filled = np.flatnonzero((low <= high).all(1))
        if not len(filled):
            continue
        root, part = root[filled], part[filled]
        relaxation = sweep(network, level, low[filled], high[filled], layers)
        bounds = level.number.zeros((len(part),))
        for task in np.unique(root):
            mine = np.flatnonzero(root == task)
            bounds[mine] = parts[task].bounds(relaxation, mine, weight[start + filled[mine]])
        yield part, root, bounds


class _Weighted:
    """The rows of one disjunct, to be combined."""

    def __init__(self, level: Level, rows: Rows):
        number = level.number
        self.number, self.output, self.offset = number, number.nearest(rows.output), number.nearest(rows.offset)
        self.direct = None if rows.input is None else number.nearest(rows.input)

    def bounds(self, relaxation: Relaxation, owner: np.ndarray, weight: np.ndarray, duals: Duals | None = None) -> np.ndarray:
        """Upper bounds of combinations (leaves,) of the rows on the boxes that own them; weight (leaves, width) in units.

        Sound because some row is at most any combination whose weights add up to 1, and where they are all 0 a negative
        bound says that the leaf is empty; rounding of the weighting is relative to the magnitudes of the rows. Rejects
        other weights.
        """
        count, network, number = len(self.offset), relaxation.network, self.number
        if not bool(np.isin(weight[:, :count].sum(1), (0, WEIGHTS)).all()) or bool(weight[:, count:].any()):
            raise Rejected("the row weights of a leaf do not add up to 1, or to 0")
        share = number.of(weight[:, :count].astype(np.float64)) / WEIGHTS
        direct = None if self.direct is None else share @ self.direct
        bound = relaxation.row_bounds(network.output, share @ self.output, owner, direct, duals)
        most = relaxation.most[network.output]
        at = owner if len(most) > 1 else np.zeros_like(owner)
        size = (share @ np.abs(self.output) * most[at]).sum(1) + share @ np.abs(self.offset)
        if self.direct is not None:
            size = size + (share @ np.abs(self.direct) * relaxation.most[network.input][at]).sum(1)
        offset = share @ self.offset
        return bound - offset + number.relative(count) * (size + np.abs(bound) + np.abs(offset))


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
        leaves, weighted = _Leaves(self, fields, 1, self.count, self.relaxation), _Weighted(self.level, rows)
        weight = self.proof.array(fields["weight"], (len(leaves.nodes), len(rows.offset)), "u").astype(np.int64)
        margin = -np.inf
        for place, _, duals in leaves.parts():
            bounds = weighted.bounds(self.relaxation, np.zeros(len(place), int), weight[place], duals)
            _all_negative(bounds, lambda j, p=place: f"leaf {leaves.nodes[p[j]]} of disjunct {k} of case {self.index}")
            filled = weight[place].any(1)
            margin = max(margin, bounds[filled].max()) if filled.any() else margin
        return margin

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
        self, search: _Search, fields: dict[str, Any], roots: int, count: int, relaxation: Relaxation
    ):
        proof, self.search, self.count, self.relaxation = search.proof, search, count, relaxation
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
