"""The search of one case over its *columns*, inputs of neurons and factors of products: their boxes are proved first,
by lemmas, and then split.

A lemma bounds single entries of a nonlinear node's argument, each by a tree over the columns before it; its bounds
tighten the boxes of the columns. A task is a tree over all columns. The leaves of both bring their own slopes and
multipliers, those of a task also the weights of its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from verify.check.bounds import Level, Relaxation, sweep
from verify.check.claim import Rows
from verify.check.curves import Curve
from verify.check.network import LARGEST, Node
from verify.check.numbers import Rejected
from verify.check.ops import Piecewise
from verify.check.product import Product
from verify.check.rows import Duals
from verify.check.strict import integer, items, keys, text
from verify.check.weighted import Weighted, all_negative, pick

if TYPE_CHECKING:
    from verify.check.proof import Proof

LEAVES = 512  # that are bounded together
SHARES = 128  # units of slopes
FAR = 2.0**300  # beyond all boxes
_TREE = {"variable", "point", "range", "share", "counts", "column", "multiplier"}


class Search:
    """One case with its columns, lemmas and trees."""

    def __init__(self, proof: Proof, level: Level, value: Any):
        fields = keys(value, "a search", {"case", "columns", "ranges", "lemmas", "tasks"})
        self.proof, self.level, self.number = proof, level, level.number
        self.index = integer(fields["case"], "a search's case")
        self.case = pick(proof.cases, self.index, "case")
        self.lemmas, self.tasks = items(fields["lemmas"], "lemmas"), items(fields["tasks"], "a search's tasks")
        self.columns, self.count = self._columns(fields["columns"])
        stated = [keys(entry, "a range", {"low", "high"}) for entry in items(fields["ranges"], "ranges")]
        sides = ([proof.array(entry[end], (self.count,), "f") for entry in stated] for end in ("low", "high"))
        self.ranges = [self.number.of(np.array(side, np.float64).reshape(len(stated), self.count)) for side in sides]
        low, high = self.case.box(self.number, level.single)
        whole = sweep(proof.network, level, low, high, proof.layers)
        self.relaxation = sweep(proof.network, level, low, high, proof.layers, self._prove_lemmas, whole)

    def margin(self, proved: set[tuple[int, int]]) -> float:
        """The largest bound over the leaves of all tasks."""
        margin = -np.inf
        for value in self.tasks:
            fields = keys(value, "a task", {"disjunct", "weight", *_TREE})
            k = integer(fields["disjunct"], "a task's disjunct")
            rows = pick(self.case.disjuncts, k, "disjunct")
            margin = max(margin, self._task(fields, rows, k))
            proved.add((self.index, k))
        return margin

    def _task(self, fields: dict[str, Any], rows: Rows, k: int) -> float:
        leaves, weighted = Leaves(self, fields, 1, self.count, self.relaxation), Weighted(self.level, rows)
        weight = self.proof.array(fields["weight"], (len(leaves.nodes), len(rows.offset)), "u").astype(np.int64)
        margin = -np.inf
        for place, _, duals in leaves.parts():
            bounds = weighted.bounds(self.relaxation, np.zeros(len(place), int), weight[place], duals)
            all_negative(bounds, lambda j, p=place: f"leaf {leaves.nodes[p[j]]} of disjunct {k} of case {self.index}")
            filled = weight[place].any(1)
            margin = max(margin, bounds[filled].max()) if filled.any() else margin
        return margin

    def _prove_lemmas(self, relaxation: Relaxation, name: str) -> None:
        """Tightens the argument of a nonlinear node by the lemmas that speak of it, in their order."""
        node = next(node for node in self.proof.network.nodes if node.name == name)
        before = next((span.start for node, (_, span) in self.columns.items() if node == name), None)
        for value in self.lemmas:
            fields = keys(value, "a lemma", {"node", "entry", "sign", *_TREE})
            if fields["node"] != name:
                continue
            if before is None or self.proof.network.input in node.inputs:
                raise Rejected(f"a lemma speaks of {name!r}, which has no columns")
            entry = self.proof.array(fields["entry"], None, "i").astype(np.int64)
            sign = self.proof.array(fields["sign"], entry.shape, "i").astype(np.int64)
            if entry.ndim != 1 or not bool(np.isin(sign, (-1, 1)).all()) or not bool(
                ((entry >= 0) & (entry < self._arguments(node))).all()
            ):
                raise Rejected(f"a lemma of {name!r} speaks of entries that there are not")
            self._prove(relaxation, Leaves(self, fields, len(entry), before, relaxation), node, entry, sign)

    def _prove(self, relaxation: Relaxation, leaves: Leaves, node: Node, entry: np.ndarray, sign: np.ndarray) -> None:
        """The largest bound over the leaves of each entry's tree becomes an end of its box."""
        number = self.number
        low, high = (_joined(sides, node).copy() for sides in (relaxation.low, relaxation.high))
        ends = number.of(np.full(len(entry), -(2.0**300)))
        for place, root, duals in leaves.parts():
            owner = np.zeros(len(place), int)
            found = relaxation.argument_bounds(node, owner, entry[root], number.of(sign[root]), duals)
            np.maximum.at(ends, root, found)
        ends = np.maximum(ends, np.where(sign > 0, low[0, entry], -high[0, entry]))  # all leaves empty says nothing
        up = sign > 0
        np.minimum.at(high[0], entry[up], ends[up])
        np.maximum.at(low[0], entry[~up], -ends[~up])
        start = 0
        for name in node.inputs:
            part = slice(start, start + self.proof.network.entries(name))
            relaxation.tighten(name, low[:, part], high[:, part])
            start = part.stop

    def _arguments(self, node: Node) -> int:
        """Entries of a node's arguments."""
        return sum(map(self.proof.network.entries, node.inputs))

    def _columns(self, value: Any) -> tuple[dict[str, tuple[np.ndarray, slice]], int]:
        """Flat entries and places of the columns of each node, in the order of the network, and their number."""
        given, start, columns = {}, 0, {}
        for entry in items(value, "columns"):
            fields = keys(entry, "columns of a node", {"node", "entries"})
            entries = self.proof.array(fields["entries"], None, "i").astype(np.int64)
            given[text(fields["node"], "a column's node")] = entries
        for node in self.proof.network.nodes:
            entries = given.pop(node.name, None)
            if entries is None:
                continue
            once = entries.ndim == 1 and len(np.unique(entries)) == len(entries)
            if not isinstance(node.op, Piecewise | Curve | Product) or not once or (
                len(entries) and (entries.min() < 0 or entries.max() >= self._arguments(node))
            ):
                raise Rejected(f"the columns of {node.name!r} are no entries of its arguments, or it has no columns")
            columns[node.name] = entries, slice(start, start + len(entries))
            start += len(entries)
        if given:
            raise Rejected("columns belong to a node that there is not")
        return columns, start


class Leaves:
    """The leaves of a forest over the first `count` columns, with their slopes and multipliers."""

    def __init__(
        self, search: Search, fields: dict[str, Any], roots: int, count: int, relaxation: Relaxation
    ):
        proof, self.search, self.count, self.relaxation = search.proof, search, count, relaxation
        self.forest = proof.forest(fields, roots, count)
        self.nodes = self.forest.leaves
        self.share = proof.array(fields["share"], (len(self.nodes), count), "u")
        counts = proof.array(fields["counts"], self.nodes.shape, "i").astype(np.int64)
        self.column = proof.array(fields["column"], None, "i").astype(np.int64)
        self.multiplier = proof.array(fields["multiplier"], self.column.shape, "f").astype(np.float64)
        if (counts.size and counts.min() < 0) or counts.sum() != len(self.column) or self.column.ndim != 1:
            raise Rejected("a tree has another number of multipliers than it counts")
        if self.column.size and (self.column.min() < 0 or self.column.max() >= count):
            raise Rejected("a multiplier belongs to a column that there is not")
        if self.share.size and self.share.max() > SHARES:
            raise Rejected("a slope lies outside of the range of its line")
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.range = proof.array(fields["range"], self.nodes.shape, "u")
        if self.range.size and self.range.max() >= len(search.ranges[0]):
            raise Rejected("a leaf is bounded over a range that there is not")

    def parts(self):
        """(places among the leaves, their roots, their duals), some at a time, without leaves whose boxes are empty.

        Lines are those of the hull of the proved box and the stated range, met with the splits: linear bounds over
        smaller boxes are not always smaller, and slopes were chosen for the stated ones.
        """
        number, (lowest, highest) = self.search.number, self.search.ranges
        low, high = (self._gathered(side) for side in (self.relaxation.low, self.relaxation.high))
        everything, home = number.of(np.full((1, self.count), FAR)), np.zeros(self.forest.roots, np.int64)
        step = max(1, min(LEAVES, LARGEST // max(1, self.count)))
        for start in range(0, len(self.nodes), step):
            place = np.arange(start, min(start + step, len(self.nodes)))
            root, above, below = self.forest.boxes(number, self.nodes[place], -everything, everything, home)
            filled = (np.maximum(low, above) <= np.minimum(high, below)).all(1)
            place, root, above, below = place[filled], root[filled], above[filled], below[filled]
            if len(place):
                lows = np.maximum(above, np.minimum(low, lowest[self.range[place], : self.count]))
                highs = np.minimum(below, np.maximum(high, highest[self.range[place], : self.count]))
                number.finite("a stated range", lows, highs)
                share = number.of(self.share[place].astype(np.float64)) / SHARES
                yield place, root, Duals(self.search.columns, lows, highs, share, self._multipliers(place))

    def _multipliers(self, place: np.ndarray) -> np.ndarray | None:
        lengths = self.starts[place + 1] - self.starts[place]
        if not lengths.any():
            return None
        number = self.search.number
        row = np.repeat(np.arange(len(place)), lengths)
        first = self.starts[place] - np.concatenate([[0], np.cumsum(lengths)[:-1]])
        at = np.repeat(first, lengths) + np.arange(len(row))
        out = np.zeros((len(place), self.count))
        np.add.at(out, (row, self.column[at]), self.multiplier[at])
        return number.of(out)

    def _gathered(self, sides: dict[str, np.ndarray]) -> np.ndarray:
        """The boxes of the columns' inputs, (1, count)."""
        parts = [self.search.number.zeros((1, 0))]
        for node in self.search.proof.network.nodes:
            entries, span = self.search.columns.get(node.name, (None, slice(0, 0)))
            if entries is not None and span.stop <= self.count:
                parts.append(_joined(sides, node)[:, entries])
        return np.concatenate(parts, 1)


def _joined(sides: dict[str, np.ndarray], node: Node) -> np.ndarray:
    """The arguments of a node end to end, (1, entries)."""
    return np.concatenate([sides[name] for name in node.inputs], 1)
