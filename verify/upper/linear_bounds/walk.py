"""The backward walk: linear functionals of values, carried back to what these values are made of.

A functional a . v of a value v = op(x) is one of x: for an affine op A x + b exactly, by the adjoint A' a; for a
nonlinear one through its relaxation, where a coefficient >= 0 takes the upper side and another one the lower, so that
the functional never shrinks (Zhang et al. 2018, CROWN, theorem 3.2; Xu et al. 2020, on general graphs). Where several
nodes read a value, what comes of it adds up. At the input a support function ends the walk, and the sum of all that was
left behind on the way is the bound.

All linear bounds of the package are this one loop. They differ in the *carrier* of the functionals, anything that adds
up, and in how a carrier crosses a node:

| who walks | carrier | what it chooses |
|---|---|---|
| CROWN (`backward`) | rows over a value or a window of it | lines of boxes; rows are dropped once decided |
| optimised slopes, branch and bound (`duals.dual`) | a row for each domain | slopes and multipliers of each row |
| training (`crown_ibp`) | rows of a batch | lines of interval boxes, differentiable in the weights |
| the last affine layers (`crown_ibp`) | rows of a batch | nothing: it stops at nonlinear nodes |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from verify.deadline import check_time
from verify.ir.graph import BoundGraph, Node
from verify.ops.affine import Affine
from verify.ops.base import Op, Parameters


class Carrier(Protocol):
    """Functionals of one value that add up."""

    def __add__(self, other: Any, /) -> Any: ...


C = TypeVar("C", bound=Carrier)


class Walk(ABC, Generic[C]):
    """One walk through a graph, with whatever it leaves behind on the way."""

    def __init__(self, network: BoundGraph):
        self.network = network

    def back(self, start: Mapping[str, C]) -> dict[str, C]:
        """Carries functionals of values, by name, back as far as they go: to the input, if no node stops them.

        Raises OutOfTime once the deadline in force has come.
        """
        pending = dict(start)
        for node in reversed(self.network.graph.nodes):
            here = pending.pop(node.name, None)
            if here is None:
                continue
            check_time()
            op, p = node.op, self.network.of(node)
            parts = self.affine(node, op, p, here) if isinstance(op, Affine) else self.cross(node, op, p, here)
            for source, part in parts:
                pending[source] = pending[source] + part if source in pending else part
            pending = pending if isinstance(op, Affine) else self.crossed(pending)
        return pending

    @abstractmethod
    def affine(self, node: Node, op: Affine, p: Parameters, rows: C) -> Iterable[tuple[str, C]]:
        """(argument, functional of it) for each argument of an affine node."""

    @abstractmethod
    def cross(self, node: Node, op: Op, p: Parameters, rows: C) -> Iterable[tuple[str, C]]:
        """(argument, functional of it) through a relaxation of a nonlinear node; nothing stops the walk there."""

    def crossed(self, pending: dict[str, C]) -> dict[str, C]:
        """What is carried on once a nonlinear node is crossed; by default all."""
        return pending
