"""The disjuncts of a problem's cases, each a task of its own: is the least of its rows anywhere above the cutoff?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from verify.problem import Problem
from verify.upper.duals.domains import Domains, Objective
from verify.upper.linear_bounds.rounding import Rounding, gamma

HASTE = 0.5  # of the shares' multiplicative updates


class Batch(NamedTuple):
    """Domains with their tasks, the shares of the rows of the task's disjunct, and the numbers that a record gives
    them; one row a domain."""

    task: Tensor  # (n,) long
    share: Tensor  # (n, width), on the simplex
    domains: Domains
    node: Tensor  # (n,) long

    def take(self, index: Tensor) -> Batch:
        """The domains at these positions."""
        return Batch(self.task[index], self.share[index], self.domains.take(index), self.node[index])


class Tasks:
    """One entry for each disjunct of each case, its rows padded to the longest.

    A disjunct is bounded by any convex combination of its rows; the combination is a dual variable, the *share*.
    """

    def __init__(self, problem: Problem):
        self.spec, self.in_float64, self.network = problem.spec, problem.in_float64.spec, problem.network
        spec = problem.spec
        owner, row = spec.mask.nonzero(as_tuple=True)
        key = owner * max(spec.disjuncts, 1) + spec.disjunct[owner, row]
        keys, task = key.unique(return_inverse=True)
        self.case = keys // max(spec.disjuncts, 1)  # (tasks,) long
        self.disjunct = keys % max(spec.disjuncts, 1)  # (tasks,) long
        counts = torch.bincount(task, minlength=len(keys))
        order = task.argsort(stable=True)
        place = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[task[order]]
        width = int(counts.max()) if len(keys) else 1
        self.rows = torch.zeros((len(keys), width), dtype=torch.long, device=owner.device)
        self.rows[task[order], place] = row[order]
        self.mask = torch.arange(width, device=owner.device) < counts[:, None]

    def equal_shares(self) -> Tensor:
        """The uniform combination of every task, (tasks, width)."""
        return self.mask.to(self.spec.offset) / self.mask.sum(1, keepdim=True)

    def objective(self, task: Tensor, share: Tensor) -> tuple[Objective, Tensor]:
        """(rows to bound, what is subtracted from their bounds), in the precision of the shares: task (n,) long, share
        (n, width)."""
        case, rows = self.case[task][:, None], self.rows[task]
        spec = self.in_float64 if share.dtype == torch.float64 else self.spec
        a = torch.einsum("nt,nto->no", share, spec.output[case, rows]).reshape(-1, *self.network.output_shape)
        direct = None
        if spec.input is not None:
            direct = torch.einsum("nt,nti->ni", share, spec.input[case, rows]).reshape(-1, *self.network.input_shape)
        return Objective(self.network.graph.output, a, direct), (share * spec.offset[case, rows]).sum(1)

    def cost(self, task: Tensor, share: Tensor, rounding: Rounding | None, owner: Tensor) -> Tensor | float:
        """What forming `objective` and taking its shares for a convex combination costs bounds of rows; (n,).

        Args:
            rounding: of the network's values, of which `owner` (n,) says the sample.
        """
        if share.shape[1] == 1 or rounding is None:
            return 0.0
        case, rows, graph = self.case[task][:, None], self.rows[task], self.network.graph
        sizes = [(self.in_float64.output, rounding.sizes[graph.output])]
        sizes += [] if self.in_float64.input is None else [(self.in_float64.input, rounding.sizes[graph.input])]
        total = (share * self.in_float64.offset[case, rows].abs()).sum(1)
        for part, size in sizes:
            total = total + torch.einsum("nt,nto,no->n", share, part[case, rows].abs(), size.flatten(1)[owner])
        return total * gamma(share.shape[1])

    def terms(self, task: int) -> tuple[Objective, Tensor]:
        """The rows of one task and what is subtracted from each, in float64."""
        case, rows = int(self.case[task]), self.rows[task][self.mask[task]]
        a = self.in_float64.output[case, rows].reshape(-1, *self.network.output_shape)
        direct = None
        if self.in_float64.input is not None:
            direct = self.in_float64.input[case, rows].reshape(-1, *self.network.input_shape)
        return Objective(self.network.graph.output, a, direct), self.in_float64.offset[case, rows]

    def shifted(self, task: Tensor, share: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Shares moved toward the rows that are least at these points x and outputs y of the relaxation.

        A step of the multiplicative weights method: the gradient of the bound in the share is the row's value there.
        """
        if share.shape[1] == 1:
            return share
        case, rows, spec = self.case[task][:, None], self.rows[task], self.spec
        value = torch.einsum("nto,no->nt", spec.output[case, rows], y.flatten(1)) - spec.offset[case, rows]
        if spec.input is not None:
            value = value + torch.einsum("nti,ni->nt", spec.input[case, rows], x.flatten(1))
        mask = self.mask[task]
        scale = value.abs().masked_fill(~mask, 0).amax(1, keepdim=True) + torch.finfo(value.dtype).tiny
        new = share.clamp(min=1e-4) * torch.exp(-HASTE * value / scale) * mask
        return new / new.sum(1, keepdim=True)
