"""The records of a search as the arrays of a certificate: trees in breadth-first order, leaves with their duals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from verify.proof.certificate import Draft
from verify.upper.duals.proof_log import Branches, Leaves, SearchRecord


class Tree(NamedTuple):
    """A forest in the checker's form, and the numbers of its leaves in the search, in the same order."""

    variable: np.ndarray
    point: np.ndarray
    leaves: np.ndarray


class Splits:
    """The splits of a search by node."""

    def __init__(self, branches: Branches):
        self.variable, self.child = np.full(branches.nodes, -1), np.zeros(branches.nodes, np.int64)
        self.point = np.zeros(branches.nodes)
        for node, variable, point, lower in branches.splits:
            at = node.cpu().numpy()
            self.variable[at], self.point[at] = variable.cpu().numpy(), point.cpu().numpy()
            self.child[at] = lower.cpu().numpy()

    def tree(self, roots: np.ndarray) -> Tree:
        """The forest under these nodes (n,)."""
        level, found = roots, []
        while len(level):
            found.append(level)
            inner = self.child[level[self.variable[level] >= 0]]
            level = np.stack([inner, inner + 1], 1).reshape(-1)
        nodes = np.concatenate(found) if found else roots
        variable = self.variable[nodes]
        return Tree(variable, self.point[nodes[variable >= 0]], nodes[variable < 0])


class _Duals:
    """The leaves of a search, looked up by node; the last row, of zeros, stands for those that it did not bound."""

    def __init__(self, leaves: Sequence[Leaves], nodes: int):
        self.slope, self.range, self.counts, self.entry, self.multiplier = (
            torch.cat(parts).numpy() for parts in
            zip(*((part.slope, part.ranges, part.counts, part.entry, part.multiplier) for part in leaves), strict=True)
        )
        shares = [part.share for part in leaves if part.share is not None]
        width = max((share.shape[1] for share in shares), default=0)  # batches of tasks with fewer rows are narrower
        self.share = np.concatenate([pad(share, (0, width - share.shape[1])).numpy() for share in shares] or [[]])
        self.slope, self.range, self.counts, self.share = (
            np.concatenate([part, np.zeros_like(part, shape=(1, *part.shape[1:]))])
            for part in (self.slope, self.range, self.counts, self.share)
        )
        self.start = np.concatenate([[0], np.cumsum(self.counts)])
        self.place = np.full(nodes, len(self.counts) - 1)
        self.place[torch.cat([part.node for part in leaves]).numpy()] = np.arange(len(self.counts) - 1)

    def put(self, draft: Draft, tree: Tree) -> dict[str, Any]:
        """The fields of a forest with its leaves."""
        place = self.place[tree.leaves]
        counts = self.counts[place]
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        at = np.repeat(self.start[place] - first, counts) + np.arange(counts.sum())
        return {
            "variable": draft.put("variable", tree.variable, "<i4"), "point": draft.put("point", tree.point, "<f8"),
            "range": draft.put("range", self.range[place], "|u1"),
            "share": draft.put("share", self.slope[place], "|u1"), "counts": draft.put("counts", counts, "<i4"),
            "column": draft.put("column", self.entry[at], "<i4"),
            "multiplier": draft.put("multiplier", self.multiplier[at], "<f4"),
        }

    def weights(self, tree: Tree, width: int) -> np.ndarray:
        """Shares of the rows of every leaf, (leaves, width)."""
        return self.share[self.place[tree.leaves]][:, :width]


def searches(draft: Draft, record: SearchRecord, numbers: np.ndarray) -> list[dict[str, Any]]:
    """The searches of a record that splits neurons, one for each of its cases, whose numbers in the header are given.

    Lemmas that narrower ones replaced are left out.
    """
    if record.tracked is None or not record.leaves:
        return []
    splits, duals = Splits(record.branches), _Duals(record.leaves, record.branches.nodes)
    found = []
    for place, case in enumerate(numbers.tolist()):
        tracked = [{"node": name, "entries": draft.put("entries", entries.cpu().numpy(), "<i4")}
                   for name, entries in record.tracked.items()]
        tasks = []
        for task in (record.case == place).nonzero().flatten().tolist():
            disjunct = int(record.disjunct[task])
            width = len(draft.header["cases"][case]["disjuncts"][disjunct])
            tree = splits.tree(np.array([int(record.root[task])]))
            weight = draft.put("weight", duals.weights(tree, width), "<u2")
            tasks.append({"disjunct": disjunct, "weight": weight, **duals.put(draft, tree)})
        ranges = [{"low": draft.put("low", low[place].cpu().numpy(), "<f8"),
                   "high": draft.put("high", high[place].cpu().numpy(), "<f8")} for low, high in record.ranges]
        lemmas = _lemmas(draft, record, place)
        found.append({"case": case, "columns": tracked, "ranges": ranges, "lemmas": lemmas, "tasks": tasks})
    return found


def _lemmas(draft: Draft, record: SearchRecord, place: int) -> list[dict[str, Any]]:
    """The lemmas of one case that its ranges at the end are made of."""
    assert record.low is not None
    assert record.high is not None
    assert record.tracked is not None
    spans, start = {}, 0
    for name, entries in record.tracked.items():
        spans[name] = slice(start, start + len(entries))
        start += len(entries)
    found = []
    for lemma in record.lemmas:
        kept = _active(lemma.owner, lemma.entry, lemma.sign, lemma.bound, record.low, record.high, place)
        if not len(kept):
            continue
        first = int(lemma.entry[kept[0]])
        name = next(name for name, span in spans.items() if span.start <= first < span.stop)
        entry = record.tracked[name][lemma.entry[kept] - spans[name].start]
        tree = Splits(lemma.branches).tree(kept.numpy())
        found.append({
            "node": name, "entry": draft.put("entry", entry.cpu().numpy(), "<i4"),
            "sign": draft.put("sign", lemma.sign[kept].cpu().numpy(), "|i1"),
            **_Duals([lemma.leaves], lemma.branches.nodes).put(draft, tree),
        })
    return found


def _active(
    owner: Tensor, entry: Tensor, sign: Tensor, bound: Tensor, low: Tensor, high: Tensor, place: int
) -> Tensor:
    """The rows of a lemma that are an end of a range of this case, (n,) long."""
    end = torch.where(sign > 0, high[owner, entry], -low[owner, entry])
    return ((owner == place) & (bound <= end)).nonzero().flatten().cpu()

