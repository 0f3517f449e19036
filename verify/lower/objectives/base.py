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
    def slopes(self, spec: Specification, rows: Tensor, wanted: Tensor | None, rest: float) -> RowWeights:
        """At row values (n, rows) of n cases.

        Args:
            wanted: the rows that are climbed, bool (n, rows), some of each case, see `aimed`; None for all.
            rest: the share of the climb that is left, from 1 to 0.
        """


def aimed(spec: Specification, aims: Tensor) -> Tensor | None:
    """The rows that are climbed where cases aim at one disjunct each, aims (n,) long, or, by -1 or one that the case
    lacks, at all of them: bool (n, rows), None where it is all rows of all cases."""
    chosen = spec.mask & (spec.disjunct == aims[:, None])
    some = chosen.any(1, keepdim=True)
    return None if spec.are_alternatives and not bool(some.any()) else torch.where(some, chosen, spec.mask)


class OfDisjuncts(AttackObjective):
    """An objective of the values of the disjuncts alone, each the least of its rows; ties share the slope."""

    @abstractmethod
    def graded(self, least: Tensor, climbed: Tensor) -> RowWeights:
        """The value (n,), and its slopes (n, disjuncts), at the values of all disjuncts (n, disjuncts), -inf where a
        case lacks one; `climbed` are the same values, -inf where a disjunct is not climbed."""

    def slopes(self, spec: Specification, rows: Tensor, wanted: Tensor | None, rest: float) -> RowWeights:
        least = spec.by_disjunct(rows)
        if spec.are_alternatives:
            return self.graded(least, least if wanted is None else torch.where(wanted, least, -torch.inf))
        wanted = spec.mask if wanted is None else wanted
        some = torch.zeros_like(least, dtype=torch.bool).scatter_reduce(1, spec.disjunct, wanted, "amax")
        value, by_disjunct = self.graded(least, torch.where(some, least, -torch.inf))
        at = spec.mask & (rows == least.gather(1, spec.disjunct))
        ties = torch.zeros_like(least).scatter_add(1, spec.disjunct, at.to(rows)).clamp(min=1)
        return RowWeights(value, torch.where(at, (by_disjunct / ties).gather(1, spec.disjunct), 0))


def largest(values: Tensor) -> RowWeights:
    """The largest of values (n, k), and its slopes in them, which ties share."""
    top = values.amax(1, keepdim=True)
    at = (values == top).to(values)
    return RowWeights(top[:, 0], at / at.sum(1, keepdim=True))
