"""What minimum-norm attacks share: they look for the violating point that is nearest to the nominal one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from verify.deadline import check_time
from verify.errors import LATE, OutOfTime
from verify.lower.engine.best import Keeper
from verify.lower.engine.gauge import Gauge, gauge_of
from verify.lower.engine.replay import drawn_inside, widened
from verify.lower.engine.violation import ViolationSurface, batch_size
from verify.lower.objectives.base import AttackObjective
from verify.lower.objectives.margin import Margin
from verify.method import Answer
from verify.problem import Problem

ALL = -1  # the aim at all disjuncts


class NearestPoints(Keeper):
    """The violating point of every case that is nearest to the center so far, (cases, *shape), and how far it is, inf
    at first; until there is one, the point of the largest violation."""

    def __init__(self, x: Tensor, gauge: Gauge):
        self.points, self.gauge = x.clone(), gauge
        self.values = x.new_full((len(x),), -torch.inf)
        self.distance = x.new_full((len(x),), torch.inf)
        self.last = self.values

    def offer(self, cases: Tensor, values: Tensor, x: Tensor) -> None:
        """Cases (n,) are all of them in their order, or repeat; NaN violates nothing."""
        values = torch.where(values.isnan(), -torch.inf, values)
        self.last = values
        for start in range(0, len(cases), len(self.points)):
            part = slice(start, start + len(self.points))
            self._offer(cases[part], values[part], x[part])

    def _offer(self, cases: Tensor, values: Tensor, x: Tensor) -> None:
        """Of points of different cases."""
        far = self.gauge.norm.measure((x.flatten(1) - self.gauge.center[cases]) / self.gauge.scale[cases])
        none = self.distance[cases].isinf()
        better = torch.where(values >= 0, far < self.distance[cases], none & (values > self.values[cases]))
        chosen = cases[better]
        self.points[chosen], self.values[chosen] = x[better], values[better]
        self.distance[chosen] = torch.where(values >= 0, far, torch.inf)[better]


class Hunt:
    """A search for near points of n problems of one case each, in flat coordinates: `center`, `low`, `high` (n, size),
    the last two the range in which points are looked for.

    Points that are looked at are kept where they are the nearest of their case that violate.
    """

    def __init__(self, problem: Problem):
        self.problem, self.gauge = problem, gauge_of(problem.inputs)
        self.center, self.low, self.high = self.gauge.center, self.gauge.low, self.gauge.high
        self.found = NearestPoints(problem.inputs.nominal(), self.gauge)
        self.cases = torch.arange(len(self.center), device=self.center.device)

    def look(self, x: Tensor, aims: Tensor | None = None, objective: AttackObjective | None = None
             ) -> tuple[Tensor, Tensor, Tensor] | None:
        """At x (n, size): which violate, bool (n,); the value (n,) of the objective, by default the margin, at all
        disjuncts or those aimed at; its gradient (n, size). None where there is no gradient."""
        check_time()
        aims = torch.full_like(self.cases, ALL) if aims is None else aims
        surface = ViolationSurface(
            self.problem.network, self.problem.inputs, self.problem.spec, objective or Margin(), aims, self.found,
            self.cases,
        )
        look = surface.look(x.reshape(len(x), *self.problem.inputs.shape), 1.0)
        if look is None:
            return None
        return self.found.last >= 0, look.value.nan_to_num(0.0, 0.0, 0.0), look.gradient.flatten(1)

    def violates(self, x: Tensor, times: int = 1) -> Tensor:
        """Whether points x (times * n, size) violate, bool (times * n,), by values alone; so many of each case, one
        after the other for all cases."""
        check_time()
        cases = self.cases.repeat(times)
        problem = self.problem if times == 1 else self.problem.select(cases)
        shaped = problem.inputs.settled(x.reshape(len(x), *problem.inputs.shape))
        self.found.offer(cases, problem.violation(shaped), shaped)
        return self.found.last >= 0

    def narrowed(self, outside: Tensor, halvings: int) -> Tensor:
        """The points nearest to the centers, on the ways to violating points (n, size), that seem to violate: the ways
        are halved so often."""
        d = outside - self.center
        low, high = torch.zeros_like(d[:, :1]), torch.ones_like(d[:, :1])
        for _ in range(halvings):
            middle = (low + high) / 2
            bad = self.violates(self.gauge.clamped(self.center + middle * d))[:, None]
            low, high = torch.where(bad, low, middle), torch.where(bad, middle, high)
        return self.gauge.clamped(self.center + high * d)


class MinimumNorm(ABC):
    """A minimum-norm attack: it looks for the nearest point that violates, by the norm of the ball (else in half-widths
    of the hull), in the whole clip (else in a range a few times as wide as the ball). As a method it answers with those
    points, drawn into the set."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def search(self, hunt: Hunt) -> None:
        """Looks for points; those that the hunt has looked at count."""

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the nearest that violate; where there is none, those of the largest violation."""
        wide = widened(problem)
        found, notes = self.near(wide)
        try:
            return Answer(points=drawn_inside(problem, wide, found), notes=notes)
        except OutOfTime:
            return Answer(points=found, notes={"stopped": LATE})

    def near(self, problem: Problem) -> tuple[Tensor, dict[str, object]]:
        """The same points before they are replayed and drawn into the set; and notes for tables."""
        found, notes = problem.inputs.nominal().clone(), dict[str, object]()
        cases = torch.arange(problem.cases, device=found.device)
        try:
            for part in cases.split(batch_size(problem)):
                hunt = Hunt(problem.select(part))
                try:
                    if not bool(hunt.violates(hunt.center).all()):
                        self.search(hunt)
                finally:
                    found[part] = hunt.found.points
        except OutOfTime:
            notes["stopped"] = LATE
        return found, notes


@dataclass(frozen=True)
class PenaltySearch:
    """The weight of a penalty for each case (n, 1): ten times as large after failures alone, else halved between the
    largest that failed and the least that did not (Carlini and Wagner 2017)."""

    now: Tensor
    failed: Tensor
    met: Tensor

    @classmethod
    def start(cls, like: Tensor, first: float) -> PenaltySearch:
        """With this weight of all cases, of the shape of a tensor (n, 1)."""
        return cls(torch.full_like(like, first), torch.zeros_like(like), torch.full_like(like, torch.inf))

    def after(self, met: Tensor) -> PenaltySearch:
        """The next weights, bool (n, 1) says with which ones a point was met."""
        failed, least = torch.where(met, self.failed, self.now), torch.where(met, self.now, self.met)
        return PenaltySearch(torch.where(least.isinf(), 10 * self.now, (failed + least) / 2), failed, least)


def annealed(first: float, last: float, step: int, steps: int) -> float:
    """The value between these two at a step, along a half wave of the cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2


def unit(a: Tensor) -> Tensor:
    """Rows (n, size) divided by their Euclidean lengths; 0 where that is 0."""
    return a / a.norm(dim=1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
