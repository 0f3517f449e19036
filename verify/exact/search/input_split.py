"""Splits the input box: for few inputs, hundreds of boxes a batch (Wang et al. 2018, ReluVal; Zhou et al. 2025).

A domain is a disjunct of a case with a sub-box of the case's hull. It is bounded anew in float64, all layers included:
in a small box few neurons are not linear. What stays open is cut by its own linear bounds (`clipping`) and halved along
the input to which most of the relaxation's gap is due (`Forward.input_scores`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from verify.exact.programs.relaxed import BoxDomains, Relaxed
from verify.exact.search.clipping import MARGIN, clipped
from verify.exact.search.frontier import Frontier, Proposals
from verify.exact.search.limits import Limits
from verify.exact.search.tasks import Tasks
from verify.problem import Problem
from verify.sets.base import SplitEnds
from verify.upper.duals.proof_log import SearchRecord

BATCH = {"cpu": 512, "cuda": 1 << 14}  # domains bounded together


class InputSplit(Frontier):
    """Domains made by halving the inputs' ranges, for all disjuncts of all cases of a problem.

    The sub-boxes are those of the hull: for a set that is no box the bounds hold, but need not converge. Of a grid they
    are split between two levels and cut to levels, down to single points.
    """

    def __init__(self, problem: Problem, cutoff: Tensor, record: SearchRecord | None = None):
        """cutoff: (cases,) float64. A record gets the splits; the boxes of its nodes are not clipped."""
        self.problem = problem.in_float64.merged
        self.batch = BATCH[problem.network.device.type]
        self.varies = self.problem.inputs.varies.flatten(1)  # (cases, inputs)
        tasks = Tasks(self.problem)
        inputs, case = self.problem.inputs, tasks.case
        task = torch.arange(len(case), device=case.device)
        above = torch.full((len(task),), torch.inf, dtype=torch.float64, device=task.device)
        self.record = record
        node = task if record is None else record.begin(case, tasks.disjunct)
        root = BoxDomains(task, inputs.low[case].flatten(1), inputs.high[case].flatten(1), above, node)
        super().__init__(tasks, problem.cases, [task, root.low, root.high, node, task])  # the last: the axis to halve
        self.proposals: Proposals | None = self._bound(root, cutoff)

    def step(self, cutoff: Tensor, limits: Limits) -> Proposals:
        if self.proposals is not None:  # those of the root
            first, self.proposals = self.proposals, None
            return first
        self.prepare(cutoff, limits)
        places = self.next_places(self.batch // 2, limits)
        above = self.pool.bounds[places]
        task, low, high, node, axis = self.pool.take(places)
        halves = SplitEnds(*(part.gather(1, axis[:, None]) for part in self.problem.inputs.halved(low, high)))
        children = _children(BoxDomains(task, low, high, above, node), axis, halves)
        if self.record is not None:
            children = children._replace(node=self.record.branches.split(node, axis, halves.point[:, 0]))
        return self._bound(children, cutoff)

    def certain(self, places: Tensor) -> Tensor:
        return self.pool.bounds[places]

    def _bound(self, domains: BoxDomains, cutoff: Tensor) -> Proposals:
        """Bounds domains (n,) and puts those that stay open into the pool, cut to where they may reach the cutoff.

        Sound because what is cut off lies at least MARGIN below the cutoff, see `clipped`; trusts float64 rounding.
        """
        if not len(domains.task):
            return Proposals(domains.task, domains.low.reshape(-1, *self.problem.network.input_shape))
        parts = []
        for part in torch.arange(len(domains.task), device=domains.task.device).split(self.batch):
            parts.append(self._bound_some(domains.take(part), cutoff))
        return Proposals(torch.cat([part.cases for part in parts]), torch.cat([part.points for part in parts]))

    def _bound_some(self, domains: BoxDomains, cutoff: Tensor) -> Proposals:
        self.domains += len(domains.task)
        relaxed = Relaxed(self.problem, self.tasks, domains)
        cases = self.tasks.case[domains.task]
        done = relaxed.bounds < cutoff[cases]
        self.close(cases[done], relaxed.bounds[done])
        if self.record is not None:
            self.record.weights.append((domains.node[done], relaxed.best_rows()[done]))
        index = (~done).nonzero().flatten()
        if not len(index):
            return Proposals(cases[:0], relaxed.inputs.low[:0])
        best = relaxed.optimised(index)
        domains, cases, goal = domains.take(index), cases[index], cutoff[cases[index]]
        done = best.bound < goal
        self.close(cases[done], best.bound[done])
        low, high = clipped(domains.low, domains.high, relaxed.planes(index, best, goal))
        low, high = self.problem.inputs.inward(low, high)
        cut = ((low > domains.low) | (high < domains.high)).any(1)
        self.close(cases[cut], goal[cut] - MARGIN)
        left = (~done & (low <= high).all(1)).nonzero().flatten()
        if self.record is not None:  # of those that are left, which are split, they do no harm
            self.record.weights.append((domains.node, best.share))
        width = (domains.high - domains.low).clamp(min=torch.finfo(low.dtype).tiny)
        score = relaxed.input_scores(index) * ((high - low) / width)
        kept = domains._replace(low=low, high=high, above=best.bound)
        self._keep(kept.take(left), score[left])
        return Proposals(cases[left], best.point[left])

    def _keep(self, domains: BoxDomains, score: Tensor) -> None:
        """Puts domains into the pool with the axis to halve: of the inputs that vary, and have a float between their
        ends, that of the largest score (n, inputs), or the widest where none has one. What has no such input is closed
        as it is."""
        width, point = domains.high - domains.low, self.problem.inputs.halved(domains.low, domains.high).point
        can = (point > domains.low) & (point < domains.high) & self.varies[self.tasks.case[domains.task]]
        score = score.masked_fill(~can, 0)
        axis = torch.where(score.amax(1, keepdim=True) > 0, score, width.masked_fill(~can, 0)).argmax(1)
        can = can.gather(1, axis[:, None])[:, 0]
        rest = domains.take((~can).nonzero().flatten())
        self.close(self.tasks.case[rest.task], self._last(rest))
        index = can.nonzero().flatten()
        picked = domains.take(index)
        self.pool.put(picked.above, [picked.task, picked.low, picked.high, picked.node, axis[index]])

    def _last(self, domains: BoxDomains) -> Tensor:
        """Bounds (n,) of boxes that cannot be halved: those of a grid, which hold one point each, are bounded once more
        as they have been cut."""
        if self.problem.inputs.levels is None or not len(domains.task):
            return domains.above
        return Relaxed(self.problem, self.tasks, domains).bounds


def _children(parents: BoxDomains, axis: Tensor, halves: SplitEnds) -> BoxDomains:
    """The lower halves, then the upper halves, of boxes split along these axes (n,) at halves (n, 1)."""
    at = axis[:, None]
    lower = parents._replace(high=parents.high.scatter(1, at, halves.end))
    upper = parents._replace(low=parents.low.scatter(1, at, halves.start))
    return BoxDomains(*(torch.cat(pair) for pair in zip(lower, upper, strict=True)))
