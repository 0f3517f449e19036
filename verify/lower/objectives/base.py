"""What an objective is: a function of the row values of a specification, with its slopes in the rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from verify.spec import Specification


class RowWeights(NamedTuple):
    """The value of an objective (n,) and what it weighs the rows with in its gradient (n, rows), up to a factor."""

    value: Tensor
    weights: Tensor


class AttackObjective(ABC):
    """What an attack climbs in place of the violation itself: larger is nearer to a violation.

    Objectives need no scale, since steps are by the direction of the gradient alone. Only the violation decides which
    point is kept.
    """

    @abstractmethod
    def slopes(self, spec: Specification, rows: Tensor, aims: Tensor, rest: float) -> RowWeights:
        """At row values (n, rows) of n cases.

        Args:
            aims: (n,) long, the disjunct to climb; -1, or one that the case lacks, for all of them.
            rest: the share of the climb that is left, from 1 to 0.
        """


def aimed(spec: Specification, aims: Tensor) -> Tensor:
    """The rows that are climbed: those of the disjunct aimed at, else all; bool (n, rows)."""
    chosen = spec.mask & (spec.disjunct == aims[:, None])
    return torch.where(chosen.any(1, keepdim=True), chosen, spec.mask)


class OfDisjuncts(AttackObjective):
    """An objective of the values of the disjuncts alone, each the least of its rows; ties share the slope."""

    @abstractmethod
    def value(self, least: Tensor, wanted: Tensor) -> Tensor:
        """Differentiable, of the values of all disjuncts (n, disjuncts), -inf where a case lacks one, of which those in
        `wanted`, bool (n, disjuncts), are climbed; (n,)."""

    def slopes(self, spec: Specification, rows: Tensor, aims: Tensor, rest: float) -> RowWeights:
        mask = aimed(spec, aims)
        wanted = torch.zeros((len(rows), max(spec.disjuncts, 1)), dtype=torch.bool, device=rows.device)
        wanted = wanted.scatter_reduce(1, spec.disjunct, mask, "amax", include_self=True)
        with torch.enable_grad():
            least = spec.by_disjunct(rows).requires_grad_()
            value = self.value(least, wanted)
            by_disjunct = torch.autograd.grad(value.sum(), least)[0]
        at = spec.mask & (rows == least.detach().gather(1, spec.disjunct))
        ties = torch.zeros_like(least).scatter_add(1, spec.disjunct, at.to(rows)).clamp(min=1)
        return RowWeights(value.detach(), torch.where(at, (by_disjunct / ties).gather(1, spec.disjunct), 0))
