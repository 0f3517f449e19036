"""What a search writes down so that its result can be proved again: splits, closed parts with their duals, lemmas.

Duals are rounded to short dyadic numbers before they close anything: slopes to 128ths of the range of the free line,
the points where lines of other curves touch to 128ths of their ranges, shares of rows to 2^-15, multipliers to float32.
What is written is then exactly what was bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from verify.upper.duals.domains import Domains
from verify.upper.duals.dual import Dual

SLOPES, SHARES = 128, 1 << 15  # units


class Branches:
    """Splits of nodes, numbered as they come: the parts of a split have two numbers in a row, first the lower part."""

    def __init__(self, roots: int):
        self.nodes = roots  # so far
        self.splits: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []  # node, variable, point, its lower part

    def add(self, count: int, device: torch.device) -> Tensor:
        """More roots; their numbers, (count,) long."""
        self.nodes += count
        return torch.arange(self.nodes - count, self.nodes, device=device)

    def split(self, node: Tensor, variable: Tensor, point: Tensor) -> Tensor:
        """Notes splits (n,) of nodes; the numbers of the lower parts, then of the upper parts, (2 n,) long."""
        lower = self.nodes + 2 * torch.arange(len(node), device=node.device)
        self.nodes += 2 * len(node)
        self.splits.append((node, variable, point.double(), lower))
        return torch.cat([lower, lower + 1])


class Leaves(NamedTuple):
    """Closed nodes (n,) long with their duals: the ranges of the record over which they were bounded, (n,) long; slopes
    (n, U) uint8 in units; the multipliers that are not zero, so many of each node, with their tracked entries, node by
    node; and shares (n, width) of the rows in units, long, or None."""

    node: Tensor
    ranges: Tensor
    slope: Tensor
    counts: Tensor
    entry: Tensor
    multiplier: Tensor
    share: Tensor | None


class Lemma(NamedTuple):
    """Upper bounds of sign * input of single tracked entries (n,): node i of `branches` is the root of the i-th one's
    tree; owner (n,) the case, bound (n,) what was proved."""

    owner: Tensor
    entry: Tensor
    sign: Tensor
    bound: Tensor
    branches: Branches
    leaves: Leaves


@dataclass
class SearchRecord:
    """The search of some cases of a problem.

    Args:
        cases: (n,) long, their numbers in the problem.
        case, disjunct: (tasks,) long, the place in `cases` and the disjunct of every task.
        root: (tasks,) long, the node at which the tree of a task starts.
        weights: of a search that splits inputs, nodes (n,) long and the combinations (n, width) of rows that bound.
        tracked: of a search that splits neurons, by nonlinear node, its flat entries (n,) that are tracked.
        low, high: (cases, U) ranges of the tracked entries at the end.
        ranges: (low, high) of the tracked entries, (cases, U) each, over which something was bounded, with slopes for
            these.
    """

    cases: Tensor
    case: Tensor = field(init=False)
    disjunct: Tensor = field(init=False)
    root: Tensor = field(init=False)
    branches: Branches = field(init=False)
    leaves: list[Leaves] = field(default_factory=list)
    lemmas: list[Lemma] = field(default_factory=list)
    weights: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    tracked: dict[str, Tensor] | None = None
    low: Tensor | None = None
    high: Tensor | None = None
    ranges: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def begin(self, case: Tensor, disjunct: Tensor) -> Tensor:
        """Starts with one tree for each task (n,); their nodes."""
        self.case, self.disjunct, self.branches = case, disjunct, Branches(len(case))
        self.root = torch.arange(len(case), device=case.device)
        return self.root

    def again(self, task: Tensor) -> Tensor:
        """Starts the trees of these tasks (n,) again; their new nodes."""
        nodes = self.branches.add(len(task), task.device)
        self.root = self.root.clone()
        self.root[task] = nodes
        return nodes


@dataclass
class ProofLog:
    """Everything that a search was asked to write down.

    Args:
        margin: how far below 0 the bounds of closed parts must lie.
    """

    margin: float = 0.0
    records: list[SearchRecord] = field(default_factory=list)

    def open(self, cases: Tensor) -> SearchRecord:
        """A record for the search of these cases (n,) long."""
        self.records.append(SearchRecord(cases))
        return self.records[-1]


def slope_units(dual: Dual, slope: Tensor) -> Tensor:
    """Slopes (rows, U) of the free lines in units of 1/128 of their range, uint8; 0 where no line is free."""
    out = torch.zeros(slope.shape, dtype=torch.uint8, device=slope.device)
    for layer in dual.layers.values():
        if layer.free is not None:
            left, right = layer.free
            share = (slope[:, layer.span].double() - left) / (right - left)
            out[:, layer.span] = (share * SLOPES).round().clamp(0, SLOPES).to(torch.uint8)
    return out


def rounded(dual: Dual, duals: Domains) -> Domains:
    """The duals as a proof log holds them."""
    slope, units = duals.slope.clone(), slope_units(dual, duals.slope)
    for layer in dual.layers.values():
        if layer.free is not None:
            left, right = layer.free
            slope[:, layer.span] = (left + units[:, layer.span].double() / SLOPES * (right - left)).to(slope)
    return duals._replace(slope=slope, multiplier=duals.multiplier.float().to(duals.multiplier))


def share_units(share: Tensor) -> Tensor:
    """Shares (n, width) on the simplex in units of 2^-15 that add up to 1, long."""
    units = (share.double() * SHARES).floor().clamp(0, SHARES).long()
    first = units.argmax(1, keepdim=True)
    return units.scatter_add(1, first, SHARES - units.sum(1, keepdim=True))


def closed(dual: Dual, node: Tensor, duals: Domains, ranges: int, share: Tensor | None = None) -> Leaves:
    """Leaves with these duals, on the CPU; ranges is the place of theirs in the record."""
    units, multiplier = None if share is None else share_units(share).cpu(), duals.multiplier.float().cpu()
    row, entry = multiplier.nonzero(as_tuple=True)
    counts = torch.bincount(row, minlength=len(node))
    slope, ranges_of = slope_units(dual, duals.slope).cpu(), torch.full((len(node),), ranges)
    return Leaves(node.cpu(), ranges_of, slope, counts, entry, multiplier[row, entry], units)
