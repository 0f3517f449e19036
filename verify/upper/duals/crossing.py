"""How rows of domains cross a nonlinear node with numbers of their own.

`Touching` are curves whose lines touch where a row likes, `Factors` are products whose planes have shares. Hinges,
which are the most, are arrays in `dual`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

State = tuple[Tensor, ...]  # what a crossing needs to know of the rows that came through, one each


class Crossed(NamedTuple):
    """Rows behind a node.

    Args:
        rows: (rows, entries) coefficients of the node's argument, without multipliers.
        added: (rows,) what they left behind.
        weight: (rows, n) what a unit of relaxation at each tracked entry costs them; by its size branching scores.
        state: see `State`.
    """

    rows: Tensor
    added: Tensor
    weight: Tensor
    state: State


class Crossing(ABC):
    """A node over ranges of its tracked entries, one set of n ranges a row. A row brings a free number for each tracked
    entry, between 0 and 1; any is sound."""

    @abstractmethod
    def take(self, index: Tensor) -> Crossing:
        """The rows at these positions."""

    @abstractmethod
    def cross(self, a: Tensor, share: Tensor) -> Crossed:
        """Rows a (rows, *shape) over the node's value, carried to its argument, relative to the reference; share (rows,
        n)."""

    @abstractmethod
    def value(self, state: State, x: Tensor) -> Tensor:
        """The node's value where its argument is x (rows, *argument shape), on the sides that the rows met; both
        relative to the reference, (rows, *shape)."""

    @abstractmethod
    def gradient(self, state: State, z: Tensor) -> Tensor:
        """A direction in which the rows' bounds rise with the free numbers, where the tracked entries are z at the
        point at which the bounds are attained; (rows, n)."""


def at_rows(part: Tensor, index: Tensor, dim: int = 0) -> Tensor:
    """The rows at these positions along an axis; copies of one row are shared."""
    if part.shape[dim] != 1:
        return part.index_select(dim, index)
    return part.expand(*part.shape[:dim], len(index), *part.shape[dim + 1 :])


def taken(state: State, index: Tensor) -> State:
    """The rows at these positions."""
    return tuple(at_rows(part, index) for part in state)
