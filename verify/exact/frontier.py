"""What branch and bound searches: the open domains of a batch of cases, whatever it is that they split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from verify.exact.limits import Limits


class Proposals(NamedTuple):
    """Points at which the relaxation attains its bounds: cases (n,) long and points (n, *input shape)."""

    cases: Tensor
    points: Tensor


class Frontier(ABC):
    """The open domains of a batch of cases, a domain being a part of a case's set.

    A domain is closed once its bound lies below the case's cutoff: 0 decides a case, the best known point plus the
    gap finds the maximum. Splitting a domain covers it: the largest bound over all domains of a case, open or closed,
    bounds the case.
    """

    domains: int = 0  # bounded so far

    @abstractmethod
    def is_open(self) -> Tensor:
        """Which cases have open domains; bool (cases,)."""

    @abstractmethod
    def upper(self) -> Tensor:
        """The bound of every case so far, float64 (cases,): the largest over its domains, open or closed."""

    @abstractmethod
    def step(self, cutoff: Tensor, limits: Limits) -> Proposals:
        """Takes a batch of open domains, the worst first, splits and bounds them; cutoff (cases,).

        Domains of cases with cutoff inf are dropped: these cases are settled.
        """
