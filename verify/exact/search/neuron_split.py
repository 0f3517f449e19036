"""Splits the ranges of neurons: a ReLU that is on here and off there (Bunel et al. 2020; Wang et al. 2021, beta-CROWN).

A domain is a disjunct of a case with a range for every tracked entry (see `verify.upper.duals.dual`). Ranges of other
neurons are inherited; what a split says about the row itself enters through the multiplier of the split range. Which
neuron to split is looked up ahead: the most promising ones are bounded once on both sides (filtered smart branching, De
Palma et al. 2021).
"""

from __future__ import annotations

from dataclasses import replace
from math import log2, prod
from typing import Self

import torch
from torch import Tensor

from verify.errors import SolverError
from verify.exact.search.branching import candidates, split_points
from verify.exact.search.frontier import Frontier, Proposals
from verify.exact.search.leaf_lp import solve_leaf
from verify.exact.search.limits import Limits
from verify.exact.search.refine_bounds import narrowed, narrowing_work
from verify.exact.search.region_lp import can_climb, climbed
from verify.exact.search.tasks import Batch, Tasks
from verify.ir.unfold import has_maxima, unfold_maxima
from verify.ops.base import IntervalBounds
from verify.problem import Problem
from verify.upper.duals.descent import Optimised, optimise
from verify.upper.duals.domains import Domains, Objective
from verify.upper.duals.dual import RelaxedDomains
from verify.upper.duals.float64 import outward, replayed
from verify.upper.duals.proof_log import SHARES, SearchRecord, closed, rounded, share_units
from verify.upper.duals.root_bounds import Root

ROOT_STEPS = 20
LEAF_STEPS = 200  # of a linear domain of a set that is no box
STEPS = 6  # bounds of a child, its first included
AHEAD = 4  # candidates that are bounded on both sides before one is split
FLOATS = {"cpu": 1 << 20, "cuda": 1 << 26}  # of the widest layer, in the rows of one batch
PROPOSED = 16  # points proposed in a step
PATIENCE = 0.15  # work of a search before it is judged, as a share of the work of narrowing
NARROWINGS = (7, 31, 127)  # splits for each bound of each undecided neuron, one round after the other


class NeuronSplit(Frontier):
    """Domains made by splitting the ranges of neurons, for all disjuncts of all cases of a problem.

    Where a search is likely to be more work than narrowing the ranges of all neurons, they are narrowed, with more
    splits for every neuron each time; a task whose whole set is then bounded better than its worst domain starts again.
    """

    def __init__(self, problem: Problem, cutoff: Tensor, limits: Limits, record: SearchRecord | None = None):
        if has_maxima(problem.network):
            problem = replace(problem, network=unfold_maxima(problem.network))
        self.record = record
        self.root = Root.of(problem, record=record)
        self._take_ranges()
        problem = self.root.problem
        tasks = Tasks(problem)
        everything = torch.arange(len(tasks.case), device=problem.owner.device)
        node = everything if record is None else record.begin(tasks.case, tasks.disjunct)
        tracked = everything[:, None].expand(-1, AHEAD)
        super().__init__(tasks, problem.cases, [everything, tasks.equal_shares(), *[self.range.low] * 4, tracked, node])
        widest = max([prod(problem.network.input_shape), *(prod(node.shape) for node in problem.network.graph.nodes)])
        self.batch = max(1, FLOATS[problem.network.device.type] // (2 * widest))
        self.narrowings = list(NARROWINGS)
        whole = self._whole(everything, node)
        bounded = self._bounds(whole, cutoff, ROOT_STEPS)
        self.proposals: Proposals | None = self._store(whole, *bounded, cutoff)
        self.start: tuple[int, float] = (self.domains, self._worst(cutoff))

    def prepare(self, cutoff: Tensor, limits: Limits) -> None:
        super().prepare(cutoff, limits)
        if self._is_long(cutoff):
            self._narrow(cutoff, limits)

    def apart(self) -> Self:
        other = super().apart()
        other.narrowings, other.proposals = [], None  # all parts rest on the same ranges
        return other

    def step(self, cutoff: Tensor, limits: Limits) -> Proposals:
        self.prepare(cutoff, limits)
        if self.proposals is not None:  # those of the start
            first, self.proposals = self.proposals, None
            return first
        places = self.next_places(self.batch, limits)
        above = self.pool.bounds[places]
        parts = self.pool.take(places)
        try:
            return self._split_parts(above, parts, cutoff)
        except torch.OutOfMemoryError:
            if self.batch == 1:
                raise
            self.pool.put(above, parts)
            self.batch //= 2
            return self._nothing()

    def is_open(self) -> Tensor:
        """Cases of which the start's points are still to be looked at are open too, if all their domains are closed."""
        out = super().is_open()
        if self.proposals is not None:
            out[self.proposals.cases] = True
        return out

    def certain(self, places: Tensor) -> Tensor:
        task, share, *duals = (part[places] for part in self.pool.parts[:6])
        return self._replayed(task, share, Domains(self.tasks.case[task], *duals))

    def climb(self, case: int, point: Tensor) -> Tensor | None:
        return climbed(self.root, self.tasks, case, point) if can_climb(self.root) else None

    def _nothing(self) -> Proposals:
        return Proposals(self.tasks.case[:0], self.root.dual.radius[:0])

    def _split_parts(self, above: Tensor, parts: list[Tensor], cutoff: Tensor) -> Proposals:
        """Splits domains as the pool holds them."""
        task, share, low, high, slope, multiplier, tracked, node = parts
        owner = self.tasks.case[task]
        # ranges may have been narrowed since; a domain that they leave empty is gone
        low, high = low.maximum(self.range.low[owner]), high.minimum(self.range.high[owner])
        batch = Batch(task, share, Domains(owner, low, high, slope, multiplier), node)
        left = (~(low > high)).all(1).nonzero().flatten()
        if not len(left):
            return self._nothing()
        return self._split(batch.take(left), above[left], tracked[left], cutoff)

    def _whole(self, task: Tensor, node: Tensor) -> Batch:
        """The whole sets of these tasks (n,)."""
        owner = self.tasks.case[task]
        low, high = self.range.low[owner], self.range.high[owner]
        slope = self.root.dual.usual_slopes(low, high)
        domains = Domains(owner, low, high, slope, torch.zeros_like(low))
        return Batch(task, self.tasks.equal_shares()[task], domains, node)

    def _is_long(self, cutoff: Tensor) -> bool:
        """Whether narrowing the ranges is likely to be less work than going on.

        The worst bound falls by about as much with every doubling of the number of domains; where it meets the cutoff
        at that rate, the search ends.
        """
        if not self.narrowings or not len(self.pool):
            return False
        price = narrowing_work(self.root, self.narrowings[0])
        if self.work < PATIENCE * price:
            return False
        doublings = log2(max(2, self.domains - self.start[0]))
        worst = self._worst(cutoff)
        fall = max(self.start[1] - worst, 0.0) / doublings
        return worst > fall * log2(1 + price / self.work)

    def _worst(self, cutoff: Tensor) -> float:
        """How far the worst domain lies above its cutoff; 0 without one."""
        here = self.pool.filled()
        return float((self.pool.bounds[here] - cutoff[self.cases_of(here)]).max()) if len(here) else 0.0

    def _narrow(self, cutoff: Tensor, limits: Limits) -> None:
        """Narrows the ranges; tasks whose whole sets are then bounded better than their worst domain start again."""
        here = self.pool.filled()
        open_tasks, which = self.pool.parts[0][here].unique(return_inverse=True)
        above = torch.full(open_tasks.shape, -torch.inf, dtype=torch.float64, device=here.device)
        above = above.scatter_reduce(0, which, self.pool.bounds[here], "amax")
        self.root = narrowed(self.root, self.narrowings.pop(0), limits, self.record)
        self._take_ranges()
        self.edition += 1
        whole = self._whole(open_tasks, open_tasks)
        optimised, bounds = self._bounds(whole, cutoff, ROOT_STEPS)
        again = bounds < above
        if not bool(again.any()):
            self.narrowings.clear()
            return
        self.pool.take(here[again[which]])
        index = again.nonzero().flatten()
        whole = whole.take(index)
        if self.record is not None:
            whole = whole._replace(node=self.record.again(whole.task))
        self.proposals = self._store(whole, optimised.take(index), bounds[index], cutoff)
        self.start, self.work = (self.domains, self._worst(cutoff)), 0.0

    def _split(self, batch: Batch, above: Tensor, tracked: Tensor, cutoff: Tensor) -> Proposals:
        """Splits every domain (n,) at the best of its candidate tracked entries (n, AHEAD) and bounds both parts."""
        n, ahead = tracked.shape
        parents = torch.arange(n, device=tracked.device)
        choice = tracked[:, 0]
        if ahead > 1:
            tried = self._children(batch, parents.repeat_interleave(ahead), tracked.clamp(min=0).flatten())
            bounds = self._once(tried).reshape(2, n, ahead)
            # the worse side decides, the better one breaks ties; what is below the cutoff anyway counts as there
            bounds = (bounds - cutoff[self.tasks.case[batch.task]][None, :, None]).clamp(min=0)
            cost = (bounds.amax(0) + 0.1 * bounds.amin(0)).masked_fill(tracked < 0, torch.inf)
            choice = tracked.gather(1, cost.argmin(1, keepdim=True))[:, 0]
        children = self._children(batch, parents, choice)
        if self.record is not None:
            point = children.domains.high[parents, choice]
            children = children._replace(node=self.record.branches.split(batch.node, choice, point))
        optimised, bounds = self._bounds(children, cutoff, STEPS)
        return self._store(children, optimised, bounds.minimum(above.repeat(2)), cutoff)

    def _children(self, batch: Batch, parents: Tensor, tracked: Tensor) -> Batch:
        """The lower parts, then the upper parts, of these parents (m,) split at these tracked entries (m,)."""
        children = batch.take(parents.repeat(2))
        low, high = children.domains.low, children.domains.high
        lower = torch.arange(len(parents), device=parents.device)
        upper = lower + len(parents)
        point = split_points(self.root.dual, tracked, low[lower, tracked], high[lower, tracked])
        high[lower, tracked] = point
        low[upper, tracked] = point
        return children

    def _once(self, batch: Batch) -> Tensor:
        """Bounds with the inherited duals, (n,) float64."""
        self.work += len(batch.task)
        objective, offset = self.tasks.objective(batch.task, batch.share)
        relaxed = RelaxedDomains(self.root.dual, batch.domains)
        slope = batch.domains.slope.clamp(relaxed.least, relaxed.most)
        return (relaxed.pull(objective, slope, batch.domains.multiplier).bound - offset).double()

    def _bounds(self, batch: Batch, cutoff: Tensor, steps: int) -> tuple[Optimised, Tensor]:
        """Bounds domains (n,): what the descent found, and the bounds, from float64 where they close a domain."""
        cases = self.tasks.case[batch.task]
        objective, offset = self.tasks.objective(batch.task, batch.share)
        goal = (cutoff[cases] + offset).to(offset)
        optimised = optimise(self.root.dual, objective, batch.domains, steps, goal, self._narrowed(batch.domains))
        self.domains += len(cases)
        self.work += len(cases) * steps
        bounds = (optimised.bound - offset).double()
        closing = (bounds < cutoff[cases]).nonzero().flatten()
        if len(closing):
            duals = self._duals(optimised.domains.take(closing))
            bounds[closing] = self._replayed(batch.task[closing], batch.share[closing], duals)
        return optimised, torch.where(bounds.isnan(), torch.inf, bounds)

    def _replayed(self, task: Tensor, share: Tensor, domains: Domains) -> Tensor:
        """Bounds of domains (n,) with these shares and duals that hold in real arithmetic, float64 (n,)."""
        share, ranges = self._shares(share), IntervalBounds(domains.low.double(), domains.high.double())
        objective, offset = self.tasks.objective(task, share)
        cost = self.tasks.cost(task, share, self.root.in_float64.rounding, domains.owner)
        bounds = replayed(self.root.in_float64, objective, ranges, domains) + cost - offset
        return torch.where(bounds.isnan(), torch.inf, bounds)

    def _store(self, batch: Batch, optimised: Optimised, bounds: Tensor, cutoff: Tensor) -> Proposals:
        """Closes the domains (n,) below their cutoffs and keeps the others; returns points to try."""
        cases = self.tasks.case[batch.task]
        done = bounds < cutoff[cases]
        self.close(cases[done], bounds[done])
        if self.record is not None:
            self._write(batch.node[done], optimised.domains.take(done), batch.share[done])
        left = (~done).nonzero().flatten()
        solved = self._keep(batch.take(left), optimised.take(left), bounds[left])
        best = bounds.topk(min(PROPOSED, len(cases))).indices
        return Proposals(torch.cat([cases[best], solved.cases]), torch.cat([optimised.primal.x[best], solved.points]))

    def _narrowed(self, domains: Domains) -> Tensor:
        """The tracked entries whose ranges in these domains are not those of the whole set; bool (n, U)."""
        return (domains.low > self.range.low[domains.owner]) | (domains.high < self.range.high[domains.owner])

    def _keep(self, batch: Batch, optimised: Optimised, bounds: Tensor) -> Proposals:
        """Puts domains (n,) into the pool with the candidates for their next split. Those that have none are
        linear and solved here; returns where they attain their bounds."""
        tracked = candidates(self.root.dual, optimised, AHEAD)
        index = (tracked[:, 0] >= 0).nonzero().flatten()
        primal, task = optimised.primal, batch.task[index]
        share = self.tasks.shifted(task, batch.share[index], primal.x[index], primal.value[index])
        parts = [task, share, *optimised.domains.take(index)[1:], tracked[index], batch.node[index]]
        self.pool.put(bounds[index], parts)
        linear = batch._replace(domains=optimised.domains)
        rest = (tracked[:, 0] < 0).nonzero()
        found = [self._solve(linear.take(place), bounds[place]) for place in rest]
        cases = [self.tasks.case[batch.task[place]][: len(x)] for place, x in zip(rest, found, strict=True)]
        return Proposals(torch.cat([batch.task[:0], *cases]), torch.cat([primal.x[:0], *found]))

    def _solve(self, leaf: Batch, above: Tensor) -> Tensor:
        """Closes one linear domain for good; returns where its bound is attained, (1, *input shape)."""
        rows, offset = self.tasks.terms(int(leaf.task))
        domain = Domains(leaf.domains.owner, *(part.double() for part in leaf.domains[1:]))
        split = self._narrowed(leaf.domains)
        try:
            best = solve_leaf(self.root.in_float64, rows, offset, domain, split[0])
        except SolverError:  # then what the descent found stands
            self.close(self.tasks.case[leaf.task], above)
            return leaf.domains.low[:0].reshape(0, *self.root.dual.radius.shape[1:])
        share, duals = self._shares(best.share[None])[0], self._duals(domain._replace(multiplier=best.multiplier))
        a = torch.einsum("k,k...->...", share, rows.a)[None]
        direct = None if rows.direct is None else torch.einsum("k,k...->...", share, rows.direct)[None]
        objective, ranges = Objective(rows.name, a, direct), IntervalBounds(domain.low, domain.high)
        bound = replayed(self.root.in_float64, objective, ranges, duals)
        if self.record is not None:
            self._write(leaf.node, duals, share[None])
        if not self.root.in_float64.inputs.is_box:  # the program knows the hull only
            start = domain._replace(multiplier=best.multiplier)
            bound = bound.minimum(optimise(self.root.in_float64, objective, start, LEAF_STEPS, split=split).bound)
        cost = self.tasks.cost(leaf.task, share[None], self.root.in_float64.rounding, domain.owner)
        bound = bound + cost - share @ offset
        self.close(self.tasks.case[leaf.task], torch.where(bound.isnan(), torch.inf, bound).minimum(above))
        return best.x.to(leaf.domains.low)

    def _take_ranges(self) -> None:
        """Takes the ranges of the root for the domains to come, rounded outward."""
        self.range = outward(IntervalBounds(self.root.low, self.root.high), self.root.dual.low.dtype)
        if self.record is not None:
            self.record.ranges.append((self.range.low.double(), self.range.high.double()))

    def _duals(self, domains: Domains) -> Domains:
        """The duals with which domains are closed: where they are written down, as they are written."""
        return domains if self.record is None else rounded(self.root.dual, domains)

    def _shares(self, share: Tensor) -> Tensor:
        """Weights (n, width) of the rows of a disjunct in float64, rounded to what the proof log holds where there is
        one; padded rows have weight 0."""
        return share.double() if self.record is None else share_units(share).double() / SHARES

    def _write(self, node: Tensor, domains: Domains, share: Tensor) -> None:
        """Adds closed domains, at these nodes of the search tree, to the proof log with the duals that closed them."""
        assert self.record is not None
        ranges = len(self.record.ranges) - 1
        self.record.leaves.append(closed(self.root.dual, node, domains, ranges, share))
        self.record.low, self.record.high = self.root.low, self.root.high
