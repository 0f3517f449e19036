"""Input trees that grow until the checker's own bounds close every leaf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from verify.check.tree import Forest
from verify.deadline import check_time
from verify.exact.programs.relaxed import BoxDomains, Relaxed
from verify.exact.search.tasks import Tasks
from verify.proof.certificate import Draft
from verify.proof.trees import Splits, Tree
from verify.upper.duals.proof_log import SearchRecord, share_units

if TYPE_CHECKING:
    from verify.proof.prover import Prover

BOXES = 1 << 20  # beyond which it would not be a certificate that anybody checks


class InputTrees:
    """The input trees of a record; numbers (cases,) are those of its cases in the certificate."""

    def __init__(self, prover: Prover, record: SearchRecord, numbers: np.ndarray):
        self.prover, self.record, self.roots = prover, record, record.root.cpu().numpy()
        self.tasks = list(zip(numbers[record.case.cpu().numpy()].tolist(), record.disjunct.tolist(), strict=True))
        width = max(len(prover.cases[i].disjuncts[k].offset) for i, k in self.tasks)
        self.weight = np.zeros((record.branches.nodes, width), np.int64)  # of rows, in units, by the record's numbers
        for node, share in record.weights:
            self.weight[node.cpu().numpy()] = share_units(share).cpu().numpy()[:, :width]

    def grow(self) -> str:
        """Splits leaves until the checker's bounds close all; why that did not come about, or ""."""
        closed = np.zeros(0, bool)  # by the record's numbers
        while True:
            tree, forest = self._forest()
            closed = np.concatenate([closed, np.zeros(self.record.branches.nodes - len(closed), bool)])
            fresh = forest.leaves[~closed[tree.leaves]]
            closed[tree.leaves] = True
            self._weigh(tree, forest, fresh)
            parts = self.prover.bounds(
                self.prover.kernel, self.tasks, self.weight[self._numbers(tree, forest, fresh)], forest, fresh)
            bad = [nodes[~(bounds < 0)] for nodes, _, bounds in parts]
            nodes = np.concatenate(bad) if bad else fresh[:0]
            if not len(nodes):
                return ""
            if self.record.branches.nodes > BOXES:
                return f"an input tree of more than {BOXES} boxes would be needed"
            check_time()
            if not self._split(tree, forest, nodes):
                return "a box that cannot be split further has no negative bound"

    def put(self, draft: Draft) -> dict[str, Any]:
        """The fields of the trees in a header."""
        tree, _ = self._forest()
        return {
            "tasks": draft.put("tasks", np.array(self.tasks), "<i4"),
            "variable": draft.put("variable", tree.variable, "<i4"), "point": draft.put("point", tree.point, "<f8"),
            "weight": draft.put("weight", self.weight[tree.leaves], "<u2"),
        }

    def _forest(self) -> tuple[Tree, Forest]:
        tree = Splits(self.record.branches).tree(self.roots)
        inputs = self.prover.network.entries(self.prover.network.input)
        return tree, Forest(len(self.tasks), tree.variable, tree.point, inputs)

    def _numbers(self, tree: Tree, forest: Forest, nodes: np.ndarray) -> np.ndarray:
        """The record's numbers of these leaves."""
        return tree.leaves[np.searchsorted(forest.leaves, nodes)]

    def _weigh(self, tree: Tree, forest: Forest, nodes: np.ndarray) -> None:
        """Finds combinations of rows for leaves that have none."""
        grown = np.zeros((self.record.branches.nodes - len(self.weight), self.weight.shape[1]), np.int64)
        self.weight = np.concatenate([self.weight, grown])
        numbers = self._numbers(tree, forest, nodes)
        lacking = ~self.weight[numbers].any(1)
        if not lacking.any():
            return
        relaxed, _, _ = self._relaxed(forest, nodes[lacking])
        share = relaxed.best_rows()
        rest = (~(relaxed.bounds < 0)).nonzero().flatten()
        if share.shape[1] > 1 and len(rest):
            share[rest] = relaxed.optimised(rest).share
        self.weight[numbers[lacking]] = share_units(share).cpu().numpy()[:, : self.weight.shape[1]]

    def _split(self, tree: Tree, forest: Forest, nodes: np.ndarray) -> bool:
        """Halves these leaves along the inputs of the largest scores; whether all could be."""
        relaxed, roots, (low, high) = self._relaxed(forest, nodes)
        scores = relaxed.input_scores(torch.arange(len(nodes), device=relaxed.bounds.device)).cpu().numpy()
        inputs = self.prover.problem.in_float64.inputs.to("cpu")
        point = inputs.halved(torch.from_numpy(low), torch.from_numpy(high)).point.numpy()
        can = (low < point) & (point < high) & inputs.varies.flatten(1).numpy()[[self.tasks[r][0] for r in roots]]
        scores, width = scores * can, (high - low) * can
        axis = np.where(scores.max(1, keepdims=True) > 0, scores, width).argmax(1)
        every = np.arange(len(nodes))
        numbers = self._numbers(tree, forest, nodes)
        self.record.branches.split(*map(torch.from_numpy, (numbers, axis, point[every, axis])))
        return bool(can[every, axis].all())

    def _relaxed(
        self, forest: Forest, nodes: np.ndarray
    ) -> tuple[Relaxed, list[int], tuple[np.ndarray, np.ndarray]]:
        """The relaxation of these nodes' boxes, their roots, and the boxes."""
        problem, number = self.prover.problem.in_float64.merged, self.prover.kernel.number
        tasks = Tasks(problem)
        place = {pair: n for n, pair in enumerate(zip(tasks.case.tolist(), tasks.disjunct.tolist(), strict=True))}
        boxes = [self.prover.cases[i].box(number, False) for i, _ in self.tasks]
        lows, highs = (np.concatenate(ends) for ends in zip(*boxes, strict=True))
        root, low, high = forest.boxes(number, nodes, lows, highs, np.arange(forest.roots))
        ends = problem.inputs.to("cpu").inward(torch.from_numpy(low), torch.from_numpy(high))
        low, high = (end.numpy() for end in ends)
        task = torch.tensor([place[self.tasks[r]] for r in root.tolist()])
        above = torch.full((len(nodes),), torch.inf, dtype=torch.float64)
        parts = (task, torch.from_numpy(low), torch.from_numpy(high), above, torch.from_numpy(nodes))
        domains = BoxDomains(*(part.to(problem.owner.device) for part in parts))
        return Relaxed(problem, tasks, domains), root.tolist(), (low, high)
