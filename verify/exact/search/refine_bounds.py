"""Narrows the ranges of undecided neurons by a small branch and bound of each, layer by layer.

A range from one relaxation is loose where many neurons before it are open, and each layer multiplies the looseness of
the one before. A few splits for every bound of every undecided neuron, all in one batch, cost seconds and bring
ranges that no choice of slopes can reach; the search for the output then starts from a far better place. Others
solve a small MILP for each neuron to the same end (Cheng et al. 2017; Tjeng et al. 2019, section 4.2).
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from verify.exact.search.branching import candidates, split_points
from verify.exact.search.limits import Limits
from verify.ops.base import IntervalBounds
from verify.upper.crown import exact_values
from verify.upper.duals.activation import ActivationLayer
from verify.upper.duals.descent import Optimised, optimise
from verify.upper.duals.domains import Domains, Objective
from verify.upper.duals.dual import Dual
from verify.upper.duals.float64 import outward, replayed
from verify.upper.duals.proof_log import Branches, Lemma, SearchRecord, closed, rounded
from verify.upper.duals.root_bounds import Root

STEPS = 6  # bounds of a part, its first included
FIRST_STEPS = 10  # of a whole
FLOATS = 1 << 24  # of the parts of the neurons that are narrowed together


def narrowed(root: Root, splits: int, limits: Limits, record: SearchRecord | None = None) -> Root:
    """The root with ranges tightened layer by layer, each bound by so many splits; what a deadline allows of it. A
    record gets every bound as a lemma.

    Sound because the parts of a domain cover it, `replayed` bounds each, and a range is the intersection of two that
    hold; trusts float64 rounding.
    """
    ranges = IntervalBounds(root.low.clone(), root.high.clone())
    exact = exact_values(root.dual.network) if root.dual.inputs.is_box else set()
    for layer in root.dual.layers.values():
        if layer.source in exact or layer.breakpoint is None or not len(layer.tracked):
            continue
        dual, wide = root.dual.first(layer.span.start), root.in_float64.first(layer.span.start)
        here = layer.unstable(IntervalBounds(ranges.low[:, layer.span], ranges.high[:, layer.span]))
        owner, index = here.nonzero(as_tuple=True)
        together = max(1, FLOATS // max(1, (splits + 1) * max(dual.tracked, dual.widest(layer.source))))
        for part in torch.arange(len(owner), device=owner.device).split(together):
            if limits.left <= 0:
                return replace(root, low=ranges.low, high=ranges.high)
            _narrow(dual, wide, layer, owner[part], index[part], ranges, splits, limits, record)
    return replace(root, low=ranges.low, high=ranges.high)


def narrowing_work(root: Root, splits: int) -> float:
    """About how many rows pulled through the whole network it costs to narrow all ranges by so many splits each."""
    nodes, total, work = root.dual.network.graph.nodes, 0, 0.0
    before = {}
    for node in nodes:
        total += prod(node.shape)
        before[node.name] = total
    for layer in root.dual.layers.values():
        here = layer.unstable(IntervalBounds(root.low[:, layer.span], root.high[:, layer.span]))
        work += 2 * int(here.sum()) * before.get(layer.source, 0)
    return work / total * (FIRST_STEPS + 2 * STEPS * splits)


def _narrow(
    dual: Dual, wide: Dual, layer: ActivationLayer, owner: Tensor, index: Tensor, ranges: IntervalBounds, splits: int,
    limits: Limits,
    record: SearchRecord | None,
) -> None:
    """Tightens the ranges in place at these tracked entries (n,) of a layer, first where the neuron may become
    linear."""
    entry, breakpoint = layer.span.start + index, layer.breakpoint
    assert breakpoint is not None
    middle = (ranges.low[owner, entry] + ranges.high[owner, entry]) / 2
    side = torch.where(middle < breakpoint, 1.0, -1.0).to(dual.low)
    for sign in (side, -side):
        left = layer.unstable(IntervalBounds(ranges.low[owner, entry], ranges.high[owner, entry])).nonzero().flatten()
        if not len(left) or limits.left <= 0:
            return
        o, c, s = owner[left], entry[left], sign[left]
        a = torch.zeros((len(left), *dual.network.graph.shape_of(layer.source)), dtype=s.dtype, device=s.device)
        a.flatten(1)[torch.arange(len(left), device=a.device), layer.tracked[index[left]]] = s
        exact = IntervalBounds(ranges.low[o, : dual.tracked], ranges.high[o, : dual.tracked])
        tree = Trees(dual, Objective(layer.source, a), o, outward(exact, dual.low.dtype), s * breakpoint, splits)
        tree.grow(limits)
        rows, duals = tree.leaves(record)
        bound = tree.replayed(wide, rows, duals)
        if record is not None:  # its next ranges are those of this pass
            written = closed(dual, tree.nodes(), duals, len(record.ranges))
            record.lemmas.append(Lemma(o, c, s, bound, tree.branches, written))
        up = s > 0
        infinity = torch.full_like(bound, torch.inf)
        old = IntervalBounds(ranges.low[o, c], ranges.high[o, c])
        new = old.meet(IntervalBounds(torch.where(up, -infinity, -bound), torch.where(up, bound, infinity)))
        ranges.low[o, c], ranges.high[o, c] = new


class Trees:
    """One search tree for each row (n,) of an objective, grown leaf by leaf: always the leaf with the largest bound."""

    def __init__(
        self, dual: Dual, objective: Objective, owner: Tensor, ranges: IntervalBounds, cutoff: Tensor, splits: int
    ):
        self.dual, self.objective, self.owner, self.ranges, self.cutoff = dual, objective, owner, ranges, cutoff
        room = (len(owner), splits + 1)
        self.bounds = ranges.low.new_full(room, -torch.inf)
        self.choice = torch.full(room, -1, dtype=torch.long, device=owner.device)  # where a leaf may be split, or -1
        self.parts = [ranges.low.new_empty((*room, dual.tracked)) for _ in range(4)]
        whole = Domains(owner, *ranges, dual.usual_slopes(*ranges), torch.zeros_like(ranges.low))
        rows = torch.arange(len(owner), device=owner.device)
        self.branches = Branches(len(owner))
        self.node = rows[:, None].repeat(1, splits + 1)  # of the leaf in each place
        self._put(rows, torch.zeros_like(rows), optimise(dual, objective, whole, FIRST_STEPS, cutoff))

    def grow(self, limits: Limits) -> None:
        """Splits until all rows are decided, the room is full or the deadline has come."""
        for place in range(1, self.bounds.shape[1]):
            if limits.left <= 0 or not self._grow(place):
                break

    def leaves(self, record: SearchRecord | None) -> tuple[Tensor, Domains]:
        """The rows whose trees they belong to, and the leaves with their duals; for a record as it holds them."""
        rows, place = (self.bounds > -torch.inf).nonzero(as_tuple=True)
        duals = Domains(self.owner[rows], *(part[rows, place] for part in self.parts))
        return rows, duals if record is None else rounded(self.dual, duals)

    def nodes(self) -> Tensor:
        """The numbers of the leaves, in the same order."""
        return self.node[self.bounds > -torch.inf]

    def replayed(self, wide: Dual, rows: Tensor, duals: Domains) -> Tensor:
        """The largest bound over these leaves of each tree, in float64, (n,)."""
        ranges = IntervalBounds(duals.low.double(), duals.high.double())
        bounds = replayed(wide, self.objective.take(rows), ranges, duals)
        bounds = torch.where(bounds.isnan(), torch.inf, bounds)
        start = torch.full(self.owner.shape, -torch.inf, dtype=bounds.dtype, device=bounds.device)
        return start.scatter_reduce(0, rows, bounds, "amax")

    def _grow(self, place: int) -> bool:
        """Splits the worst leaf of each tree that is not decided; whether there was any."""
        rows = torch.arange(len(self.owner), device=self.owner.device)
        worst, leaf = self.bounds.max(1)
        rows = ((worst >= self.cutoff) & (self.choice[rows, leaf] >= 0)).nonzero().flatten()
        if not len(rows):
            return False
        leaf, above = leaf[rows], worst[rows].repeat(2)
        entry, n = self.choice[rows, leaf], len(rows)
        both, first = rows.repeat(2), torch.arange(n, device=rows.device)
        low, high, slope, multiplier = (part[rows, leaf].repeat(2, 1) for part in self.parts)
        point = split_points(self.dual, entry, low[first, entry], high[first, entry])
        high[first, entry] = low[first + n, entry] = point
        nodes = self.branches.split(self.node[rows, leaf], entry, point)
        self.node[rows, leaf], self.node[rows, place] = nodes[:n], nodes[n:]
        split = (low > self.ranges.low[both]) | (high < self.ranges.high[both])
        domains = Domains(self.owner[both], low, high, slope, multiplier)
        optimised = optimise(self.dual, self.objective.take(both), domains, STEPS, self.cutoff[both], split)
        optimised = optimised._replace(bound=optimised.bound.minimum(above))
        self._put(rows, leaf, optimised.take(first))
        self._put(rows, torch.full_like(leaf, place), optimised.take(first + n))
        return True

    def _put(self, rows: Tensor, place: Tensor, optimised: Optimised) -> None:
        for mine, part in zip(self.parts, optimised.domains[1:], strict=True):
            mine[rows, place] = part
        self.bounds[rows, place] = torch.where(optimised.bound.isnan(), torch.inf, optimised.bound)
        self.choice[rows, place] = candidates(self.dual, optimised, 1)[:, 0]
