"""What is bounded through the dual, and what comes of it: domains, objectives, rows at the input, primal points."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from verify.upper.duals.crossing import State, taken


class Domains(NamedTuple):
    """Domains with their duals, one a row; U tracked entries.

    Args:
        owner: (rows,) long, the sample whose set the row's inputs lie in.
        low, high: (rows, U) ranges of the tracked entries' inputs.
        slope: (rows, U) what is free of the relaxation: of a hinge the slope of one line, of another curve where in its
            range lines touch, of a product the share between planes, the latter two from 0 to 1.
        multiplier: (rows, U) of low <= z <= high: what is added to z's coefficient; positive presses z up to low.
    """

    owner: Tensor
    low: Tensor
    high: Tensor
    slope: Tensor
    multiplier: Tensor

    def take(self, index: Tensor) -> Domains:
        """The rows at these positions."""
        return Domains(*(part[index] for part in self))


class Objective(NamedTuple):
    """What the rows are: a value of the graph, and coefficients a (rows, *its shape) and direct (rows, *input shape)
    or None, over it and over the input."""

    name: str
    a: Tensor
    direct: Tensor | None = None

    def take(self, index: Tensor) -> Objective:
        """The rows at these positions."""
        return Objective(self.name, self.a[index], None if self.direct is None else self.direct[index])


class Pulled(NamedTuple):
    """Rows that have reached the input: bounds (rows,); (rows, U) coefficients of f at the tracked entries, their parts
    that meet free lines, and the slopes and gaps of these; what crossings know of the rows, coefficients of other
    nonlinear nodes and of the input."""

    bound: Tensor
    a: Tensor
    free: Tensor
    slope: Tensor
    gap: Tensor
    states: dict[str, State]
    mixing: dict[str, Tensor]
    input: Tensor

    def take(self, index: Tensor) -> Pulled:
        """The rows at these positions."""
        mixing = {name: rows[index] for name, rows in self.mixing.items()}
        states = {name: taken(state, index) for name, state in self.states.items()}
        bound, a, free, slope, gap = (part[index] for part in self[:5])
        return Pulled(bound, a, free, slope, gap, states, mixing, self.input[index])


class Primal(NamedTuple):
    """Where a bound is attained in the relaxed network: the tracked entries' inputs relative to the reference (rows,
    U), and the network's input and the objective's value themselves, (rows, *shape)."""

    z: Tensor
    x: Tensor
    value: Tensor

    def take(self, index: Tensor) -> Primal:
        """The rows at these positions."""
        return Primal(*(part[index] for part in self))
