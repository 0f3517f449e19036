"""Which disjunct (which wrong class) each try of a case aims at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Targeting(ABC):
    """The disjuncts that tries aim at, by their number and the rank of the disjuncts at the nominal point."""

    @property
    def ranks(self) -> bool:
        """Whether the disjuncts have to be ranked."""
        return True

    @abstractmethod
    def aims(self, order: Tensor | None, numbers: Tensor) -> Tensor:
        """(n,) long, -1 for all disjuncts; `order` (n, disjuncts) long ranks those of each case, None where it is not
        asked for, and numbers (n,) are those of the tries."""


@dataclass(frozen=True)
class Everything(Targeting):
    """Every try aims at all disjuncts."""

    @property
    def ranks(self) -> bool:
        return False

    def aims(self, order: Tensor | None, numbers: Tensor) -> Tensor:
        return torch.full_like(numbers, -1)


@dataclass(frozen=True)
class EachAndEverything(Targeting):
    """Tries 1, 2, ... aim at one disjunct each, the highest first; after the last comes a try at all of them, and so
    on."""

    def aims(self, order: Tensor | None, numbers: Tensor) -> Tensor:
        assert order is not None
        place = numbers % (order.shape[1] + 1) - 1
        aims = order.gather(1, place.clamp(min=0)[:, None])[:, 0]
        return torch.where((place < 0) | (order.shape[1] == 1), -1, aims)


@dataclass(frozen=True)
class EachInTurn(Targeting):
    """Tries 0, 1, ... aim at one of the highest disjuncts each, and so on from the highest again.

    Args:
        count: how many take turns, at least 1 and at most as many as there are.
    """

    count: int

    def aims(self, order: Tensor | None, numbers: Tensor) -> Tensor:
        assert order is not None
        return order.gather(1, (numbers % self.count)[:, None])[:, 0]
