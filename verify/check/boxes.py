"""Trees over inputs: every leaf is a box that is bounded anew by the layers' rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.check.bounds import Level, sweep
from verify.check.claim import Case, Rows
from verify.check.grid import inward
from verify.check.network import LARGEST, Network
from verify.check.numbers import Rejected
from verify.check.strict import keys
from verify.check.tree import Forest
from verify.check.weighted import Weighted, all_negative, pick

if TYPE_CHECKING:
    from verify.check.proof import Layers, Proof

BATCH = 256  # boxes that are bounded together


def input_trees_margin(proof: Proof, level: Level, value: Any, proved: set[tuple[int, int]]) -> float:
    """Checks trees over inputs; notes their tasks."""
    fields = keys(value, "input trees", {"tasks", "variable", "point", "weight"})
    tasks = proof.array(fields["tasks"], None, "i")
    if tasks.ndim != 2 or tasks.shape[1] != 2 or len(np.unique(tasks, axis=0)) < len(tasks):
        raise Rejected("the tasks of the input trees are no pairs, or one stands twice")
    cases = [pick(proof.cases, i, "case") for i in tasks[:, 0].tolist()]
    rows = [pick(case.disjuncts, k, "disjunct") for case, k in zip(cases, tasks[:, 1].tolist(), strict=True)]
    proved.update(map(tuple, tasks.tolist()))
    forest, margin = proof.forest(fields, len(tasks), proof.network.entries(proof.network.input)), -np.inf
    width = max((len(part.offset) for part in rows), default=0)
    weight = proof.array(fields["weight"], (len(forest.leaves), width), "u").astype(np.int64)
    leaves = input_leaves(proof.network, level, proof.layers, cases, rows, forest, forest.leaves, weight)
    for nodes, root, bounds in leaves:
        all_negative(bounds, lambda j, n=nodes, r=root: f"leaf {n[j]} of the input tree of task {tasks[r[j]].tolist()}")
        margin = max(margin, bounds.max())
    return margin


def input_leaves(
    network: Network, level: Level, layers: Layers, cases: list[Case], rows: list[Rows], forest: Forest,
    nodes: np.ndarray, weight: np.ndarray,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Bounds of nodes of trees over inputs whose roots are these tasks: (nodes, their roots, bounds), some at a time,
    without nodes whose boxes are empty. Of a grid they are the boxes of the points that lie in them.

    A bound is that of the rows of the task's disjunct, weighted (nodes, width), over the boxes that the layers' rules
    give. Sound because `sweep` and `Weighted.bounds` are.
    """
    if not len(nodes):
        return
    distinct = {id(case): case for case in cases}
    order = {key: n for n, key in enumerate(distinct)}
    number = np.array([order[id(case)] for case in cases])
    levels = cases[0].levels  # one for all cases of a claim
    boxes = (case.box(level.number, level.single and levels is None) for case in distinct.values())
    lows, highs = (np.concatenate(ends) for ends in zip(*boxes, strict=True))
    parts = [Weighted(level, part) for part in rows]
    batch = max(1, min(BATCH, LARGEST // network.held))
    for start in range(0, len(nodes), batch):
        part = nodes[start : start + batch]
        root, low, high = forest.boxes(level.number, part, lows, highs, number)
        if levels is not None:
            low, high = inward(level, levels, low, high)
        filled = np.flatnonzero((low <= high).all(1))
        if not len(filled):
            continue
        root, part = root[filled], part[filled]
        low, high = low[filled], high[filled]
        first, owner = _distinct(low, high)  # trees of several disjuncts often split one case alike
        relaxation = sweep(network, level, low[first], high[first], layers)
        bounds = level.number.zeros((len(part),))
        for task in np.unique(root):
            mine = np.flatnonzero(root == task)
            bounds[mine] = parts[task].bounds(relaxation, owner[mine], weight[start + filled[mine]])
        yield part, root, bounds


def _distinct(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of boxes (boxes, inputs) that differ, and which of these each box is; (distinct,), (boxes,)."""
    differ = np.flatnonzero(((low != low[:1]) | (high != high[:1])).any(0))
    known: dict[tuple, int] = {}
    ends = np.concatenate([low[:, differ], high[:, differ]], 1).tolist()
    owner = np.array([known.setdefault(tuple(row), len(known)) for row in ends])
    return np.unique(owner, return_index=True)[1], owner
