"""Branching trees in two arrays, and the boxes of their leaves.

A forest has one root a task. `variable[i]` is the variable that node i splits, -1 for a leaf; nodes stand in
breadth-first order, so the two parts of the j-th node that splits are the nodes roots + 2 j (at most the point) and
roots + 2 j + 1 (at least the point). Both parts together cover their parent whatever the point, so every tree of this
form covers its root.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.check.numbers import Arithmetic, Rejected

DEEPEST = 1000  # levels; real trees have at most some sixty


@dataclass(frozen=True)
class Forest:
    """Trees over `variables` numbered variables.

    Args:
        roots: number of trees; their roots are the first nodes.
        variable: (nodes,) int64, -1 for a leaf.
        point: (splits,) float64, where the j-th node that splits is split.
        variables: how many variables there are.
    """

    roots: int
    variable: np.ndarray
    point: np.ndarray
    variables: int

    def __post_init__(self) -> None:
        splits = np.flatnonzero(self.variable >= 0)
        counts = self.variable.ndim == 1 and len(self.variable) == self.roots + 2 * len(splits)
        if not counts or self.point.shape != splits.shape:
            raise Rejected("a tree has another number of nodes or points than its splits make")
        if self.variable.size and (self.variable.min() < -1 or self.variable.max() >= self.variables):
            raise Rejected("a tree splits a variable that there is not")
        if self._levels() > DEEPEST:
            raise Rejected(f"a tree has more than {DEEPEST} levels")
        if bool((splits >= self.roots + 2 * np.arange(len(splits))).any()):
            raise Rejected("a tree has a node before its parent")

    def _levels(self) -> int:
        """How many there are, at least; stops counting beyond DEEPEST."""
        start, end, levels = 0, self.roots, 0
        while start < end and levels <= DEEPEST:
            inner = int((self.variable[start:end] >= 0).sum())
            start, end, levels = end, end + 2 * inner, levels + 1
        return levels

    @property
    def leaves(self) -> np.ndarray:
        """The nodes that do not split, (leaves,), ascending."""
        return np.flatnonzero(self.variable < 0)

    def boxes(
        self, number: Arithmetic, nodes: np.ndarray, low: np.ndarray, high: np.ndarray, owner: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(root of each node, and its box): the box (low, high)[owner[root]] of the root, met with all splits between.
        low, high (boxes, variables), owner (roots,)."""
        splits, points = np.flatnonzero(self.variable >= 0), number.of(self.point)
        root, steps = nodes.copy(), []
        while bool((inner := root >= self.roots).any()):
            here = np.flatnonzero(inner)
            split, upper = np.divmod(root[here] - self.roots, 2)
            steps.append((here, self.variable[splits[split]], points[split], upper))
            root[here] = splits[split]
        low, high = low[owner[root]], high[owner[root]]
        for here, column, point, upper in steps:
            up, down = upper == 1, upper == 0
            low[here[up], column[up]] = np.maximum(low[here[up], column[up]], point[up])
            high[here[down], column[down]] = np.minimum(high[here[down], column[down]], point[down])
        return root, low, high
