"""The linear relaxation of sub-boxes of a problem's cases: bounds of rows, better ones, and what they are due to."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from verify.exact.search.clipping import Planes
from verify.exact.search.tasks import Tasks
from verify.ops.base import IntervalBounds
from verify.problem import Problem
from verify.sets import Box
from verify.upper.crown import sweep
from verify.upper.duals.descent import Descent
from verify.upper.duals.dual import Dual, RelaxedDomains
from verify.upper.linear_bounds.forward import Forward

STEPS = 5  # descents of a domain's slopes and shares
FADE = 0.1  # share of the first step's length that is left at the last
SHARP = 4.0  # the first shares fall by exp(-SHARP) from the least row of a disjunct to the largest


class BoxDomains(NamedTuple):
    """Sub-boxes of the input with their tasks (see `Tasks`) and what is known of them.

    Args:
        task: (n,) long.
        low, high: (n, inputs) float64.
        above: (n,) bounds of the parents.
        node: (n,) long, the numbers that a record gives them.
    """

    task: Tensor
    low: Tensor
    high: Tensor
    above: Tensor
    node: Tensor

    def take(self, index: Tensor) -> BoxDomains:
        """The domains at these positions."""
        return BoxDomains(*(part[index] for part in self))


class BestCombinations(NamedTuple):
    """Bounds (n,) of the best combinations of rows, no larger than the parents', with the combinations' own bounds
    (n,), their coefficients of the input (n, inputs), the last points (n, *input shape) that attained a bound, and the
    combinations (n, width)."""

    bound: Tensor
    reached: Tensor
    slope: Tensor
    point: Tensor
    share: Tensor


class Relaxed:
    """Domains relaxed by forward and backward linear bounds, all layers bounded by themselves; `bounds` (n,).

    Sound because some row of a disjunct bounds it and `Backward.maximum` bounds rows; trusts float rounding.
    """

    def __init__(self, problem: Problem, tasks: Tasks, domains: BoxDomains):
        self.problem, self.tasks, self.domains = problem, tasks, domains
        network = problem.network
        shape = network.input_shape
        self.inputs = Box(domains.low.reshape(-1, *shape), domains.high.reshape(-1, *shape))
        first, self.swept = self._distinct()  # domains of several disjuncts often have the same box
        once = self.inputs.select(first)
        self.forward = Forward(network, IntervalBounds(once.low, once.high), problem.inputs.varies.any(0))
        backward, self.swept_boxes = sweep(network, once, self.forward)
        self.rounding = backward.rounding
        self.owner, self.place = tasks.mask[domains.task].nonzero(as_tuple=True)
        unit = torch.eye(tasks.mask.shape[1], dtype=torch.float64, device=self.owner.device)
        (name, a, direct), offset = tasks.objective(domains.task[self.owner], unit[self.place])
        found, self.trail = backward.maximum(name, a, self.swept[self.owner], direct)
        self.rows = found.new_full((len(domains.task), len(unit)), torch.inf)  # (n, width), inf on padding
        self.rows[self.owner, self.place] = torch.where(found.isnan(), torch.inf, found - offset)
        self.bounds = self.rows.amin(1).minimum(domains.above)

    def optimised(self, index: Tensor) -> BestCombinations:
        """Descends slopes (Xu et al. 2021, alpha-CROWN) and shares of rows of the domains at these positions together.

        Sound because any slopes and any convex combination of a disjunct's rows bound it; trusts float rounding.
        """
        task, share = self.domains.task[index], self._first_shares(index)
        swept = self.swept[index]
        boxes = {name: IntervalBounds(box.low[swept], box.high[swept]) for name, box in self.swept_boxes.items()}
        rounding = None if self.rounding is None else self.rounding.select(swept)
        dual = Dual(self.problem.network, self.inputs.select(index), boxes, rounding=rounding)
        whole = dual.whole(torch.arange(len(index), device=index.device))
        relaxed = RelaxedDomains(dual, whole)
        owner = whole.owner
        objective, offset = self.tasks.objective(task, share)
        descent = Descent(relaxed, objective, whole, None)
        parts = (self.bounds, torch.full_like(self.bounds, torch.inf), self.domains.low, self.inputs.low)
        bound, reached, slope, point = (part[index] for part in parts)
        best = BestCombinations(bound, reached, slope, point, share)
        for k in range(STEPS + 1):
            pulled = relaxed.pull(objective, descent.slope, None)
            primal = relaxed.primal(objective, pulled)
            bound = pulled.bound + self.tasks.cost(task, share, rounding, owner) - offset
            better = bound < best.reached  # never where it is NaN
            slope = torch.where(better[:, None], pulled.input.flatten(1), best.slope)
            kept = torch.where(better[:, None], share, best.share)
            best = BestCombinations(best.bound, torch.where(better, bound, best.reached), slope, primal.x, kept)
            if k < STEPS:
                descent.step(pulled, primal, k, 1 - (1 - FADE) * k / STEPS)
                share = self.tasks.shifted(task, share, primal.x, primal.value)
                objective, offset = self.tasks.objective(task, share)
        return best._replace(bound=best.bound.minimum(best.reached))

    def best_rows(self) -> Tensor:
        """The row of least bound of each domain, as weights (n, width) of the rows of its disjunct: one 1, else 0."""
        return torch.zeros_like(self.rows).scatter(1, self.rows.argmin(1, keepdim=True), 1.0)

    def planes(self, index: Tensor, best: BestCombinations, cutoff: Tensor) -> Planes:
        """The linear bounds of the rows of these domains and of their best combinations, minus the cutoffs (m,)."""
        radius = ((self.domains.high - self.domains.low) / 2)[index, None]
        slope = self.rows.new_zeros((*self.rows.shape, radius.shape[2]))
        slope[self.owner, self.place] = self.trail[self.problem.network.graph.input].flatten(1)
        slope = torch.cat([slope[index], best.slope[:, None]], 1)
        top = torch.cat([self.rows[index], best.reached[:, None]], 1) - cutoff[:, None]
        return Planes(slope, top - (slope.abs() * radius).sum(2))

    def input_scores(self, index: Tensor) -> Tensor:
        """How much of the gaps that the rows meet is due to each input's range in these domains; (m, inputs)."""
        weights = {}
        for name, rows in self.trail.items():
            if name in self.forward.gaps:
                weight = rows.new_zeros((len(self.domains.task), *rows.shape[1:]))
                weights[name] = weight.index_add(0, self.owner, rows.abs())
        if not weights:  # no row meets a gap
            return torch.zeros_like(self.domains.low[index])
        return self.forward.input_scores(weights, self.swept)[index]

    def _distinct(self) -> tuple[Tensor, Tensor]:
        """(a domain of each box, which of these boxes each domain has), (boxes,) and (n,) long."""
        domains, every = self.domains, torch.arange(len(self.domains.task), device=self.domains.task.device)
        varies = self.problem.inputs.varies.flatten(1).any(0)  # all else is fixed by the case
        parts = self.tasks.case[domains.task, None].to(domains.low), domains.low[:, varies], domains.high[:, varies]
        boxes, which = torch.unique(torch.cat(parts, 1), dim=0, return_inverse=True)
        if len(boxes) == len(every):
            return every, every
        first = torch.full((len(boxes),), len(every), device=every.device)
        return first.scatter_reduce(0, which, every, "amin"), which

    def _first_shares(self, index: Tensor) -> Tensor:
        """Shares that favour the rows with the least bounds, (m, width)."""
        rows, least = self.rows[index], self.rows[index].amin(1, keepdim=True)
        largest = torch.where(rows.isinf(), least, rows).amax(1, keepdim=True)
        spread = (largest - least).clamp(min=torch.finfo(rows.dtype).tiny)
        share = torch.softmax(SHARP * ((least - rows) / spread), 1)
        return torch.where(share.isnan(), self.tasks.equal_shares()[self.domains.task[index]], share)
