"""The best points that an attack has met."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from verify.errors import LATE, OutOfTime
from verify.lower.rules.base import spread
from verify.method import Answer


def met(points: Tensor, search: Callable[[], None]) -> Answer:
    """The answer of a search that moves these points (cases, *shape) where they are; where time runs out, with what it
    has met by then."""
    try:
        search()
    except OutOfTime:
        return Answer(points=points, notes={"stopped": LATE})
    return Answer(points=points)


class Keeper(ABC):
    """What is told of the points of an attack and keeps some of them: `values` (cases,) are their violations."""

    values: Tensor

    @abstractmethod
    def offer(self, cases: Tensor, values: Tensor, x: Tensor) -> None:
        """Is told of points x (n, *shape) of these cases (n,), all different, with their violations (n,)."""


class Nowhere(Keeper):
    """Keeps nothing, for climbs beyond the sets."""

    def __init__(self) -> None:
        self.values = torch.empty(0)

    def offer(self, cases: Tensor, values: Tensor, x: Tensor) -> None:
        """Points outside count only once they are projected."""


class BestPoints(Keeper):
    """The best point of every case so far: values (cases,), -inf at first, and points (cases, *shape).

    `all` are all cases in order: offers to these very ones need no look for whose points they are.
    """

    def __init__(self, points: Tensor):
        self.values = points.new_full((len(points),), -torch.inf)
        self.points = points.clone()
        self.all = torch.arange(len(points), device=points.device)

    def offer(self, cases: Tensor, values: Tensor, x: Tensor) -> None:
        """Keeps the points where they are better; NaN is not."""
        if cases is self.all:
            better = values > self.values
            torch.where(better, values, self.values, out=self.values)
            torch.where(spread(better, x), x, self.points, out=self.points)
            return
        better = (values > self.values[cases]).nonzero().flatten()
        chosen = cases[better]
        self.values[chosen] = values[better]
        self.points[chosen] = x[better]

    def offer_several(self, cases: Tensor, values: Tensor, x: Tensor) -> None:
        """The same of cases that may repeat."""
        values = torch.where(values.isnan(), -torch.inf, values)
        top = self.values.scatter_reduce(0, cases, values, "amax")
        better = ((values == top[cases]) & (values > self.values[cases])).nonzero().flatten()
        first = torch.full_like(top, len(cases), dtype=torch.long).scatter_reduce(0, cases[better], better, "amin")
        better = better[first[cases[better]] == better]
        self.offer(cases[better], values[better], x[better])
