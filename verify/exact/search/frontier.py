"""What branch and bound searches: the open domains of a batch of cases, whatever it is that they split."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import NamedTuple, Self

import torch
from torch import Tensor

from verify.exact.search.limits import Limits
from verify.exact.search.open_domains import OpenDomains
from verify.exact.search.tasks import Tasks

TOGETHER = 256  # domains bounded for certain before the clock is looked at
SHARE = 0.5  # of the memory, beyond which the pool should not grow


class Proposals(NamedTuple):
    """Points worth a look, such as those at which the relaxation attains its bounds: cases (n,) long and points
    (n, *input shape)."""

    cases: Tensor
    points: Tensor


class Explored(NamedTuple):
    """What became of some domains elsewhere: those that are open, with bounds (n,) and the parts of a pool; the bounds
    (cases,) of those that are closed; how many were bounded, with how much work."""

    bounds: Tensor
    parts: list[Tensor]
    closed: Tensor
    domains: int
    work: float


class Frontier(ABC):
    """The open domains of a batch of cases, a domain being a part of a case's set together with one of its tasks.

    A domain is closed once its bound lies below the case's cutoff: 0 decides a case, the best known point plus the
    gap finds the maximum. Splitting a domain covers it: the largest bound over all domains of a case, open or closed,
    bounds the case.
    """

    def __init__(self, tasks: Tasks, cases: int, parts: Sequence[Tensor]):
        """An empty pool for domains whose parts are like these, the first being their tasks."""
        self.tasks = tasks
        self.pool = OpenDomains(parts)
        self.closed = torch.full((cases,), -torch.inf, dtype=torch.float64, device=parts[0].device)
        self.domains = 0  # bounded so far
        self.work = 0.0  # since the last start, in rows pulled through the network, where the frontier counts it
        self.edition = 0  # of what the domains rest on

    @abstractmethod
    def step(self, cutoff: Tensor, limits: Limits) -> Proposals:
        """Takes a batch of open domains, splits and bounds them; cutoff (cases,), inf for a case that is settled."""

    def prepare(self, cutoff: Tensor, limits: Limits) -> None:
        """Called before a batch of domains is taken: closes those that the cutoff (cases,), which may have risen,
        decides; a subclass may also improve what all domains share."""
        self.settle(cutoff)

    def apart(self) -> Self:
        """The same frontier without its domains, to go on with some of them elsewhere (`load`, `found`)."""
        other = copy(self)
        other.load(self.pool.bounds[:0], [part[:0] for part in self.pool.parts])
        return other

    def load(self, bounds: Tensor, parts: Sequence[Tensor]) -> None:
        """Begins anew with these open domains: bounds (n,), parts (n, ...) each."""
        self.pool = OpenDomains(parts)
        self.pool.put(bounds, parts)
        self.closed = torch.full_like(self.closed, -torch.inf)
        self.domains, self.work = 0, 0.0

    def found(self) -> Explored:
        """What became of the domains of the last `load`."""
        here = self.pool.filled()
        parts = [part[here] for part in self.pool.parts]
        return Explored(self.pool.bounds[here], parts, self.closed, self.domains, self.work)

    def absorb(self, places: Tensor, found: Explored) -> None:
        """Puts what became of the domains at these places elsewhere in their place."""
        self.pool.put(found.bounds, found.parts)
        self.closed = self.closed.maximum(found.closed)
        self.pool.take(places)
        self.domains += found.domains
        self.work += found.work

    def climb(self, case: int, point: Tensor) -> Tensor | None:
        """A better point of a case near this one (1, *input shape), where the frontier knows a way; or None."""
        return None

    def is_open(self) -> Tensor:
        """Which cases have open domains; bool (cases,)."""
        out = torch.zeros_like(self.closed, dtype=torch.bool)
        out[self.cases_of(self.pool.filled())] = True
        return out

    @abstractmethod
    def certain(self, places: Tensor) -> Tensor:
        """Bounds of the domains at these places of the pool (n,) that hold in real arithmetic, float64 (n,)."""

    def certified(self, seconds: float) -> Tensor:
        """The bound of every case so far, float64 (cases,): the largest over its domains, open or closed. Infinite
        where a case has more open domains than can be bounded for certain in that time.

        Sound because the domains cover the sets, and the bounds of closed ones, and `certain`, are.
        """
        here, deadline = self.pool.filled(), time.perf_counter() + seconds
        bounds = torch.full_like(self.pool.bounds[here], torch.inf)
        for part in torch.arange(len(here), device=here.device).split(TOGETHER) if len(here) else ():
            if time.perf_counter() > deadline:
                break
            bounds[part] = self.certain(here[part])
        return self.closed.scatter_reduce(0, self.cases_of(here), bounds, "amax")

    def cases_of(self, places: Tensor) -> Tensor:
        """The cases of the domains at these places of the pool."""
        return self.tasks.case[self.pool.parts[0][places]]

    def settle(self, cutoff: Tensor) -> None:
        """Closes the domains whose bounds lie below the cutoffs of their cases, which may have risen."""
        here = self.pool.filled()
        cases, bounds = self.cases_of(here), self.pool.bounds[here]
        gone = bounds < cutoff[cases]
        self.close(cases[gone], bounds[gone])
        self.pool.take(here[gone])

    def close(self, cases: Tensor, bounds: Tensor) -> None:
        """Notes the bounds (n,) of domains that are closed."""
        self.closed.scatter_reduce_(0, cases, bounds, "amax")

    def next_places(self, count: int, limits: Limits) -> Tensor:
        """The places of the domains to split: the worst, or, where memory is short, those that are nearest to being
        closed, so that the pool hardly grows."""
        short = limits.memory is not None and self.pool.bytes > SHARE * limits.memory
        return self.pool.best(count) if short else self.pool.worst(count)

