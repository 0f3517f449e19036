"""What attacks on a problem climb: an objective of its specification, at many (case, start) pairs in one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from verify.ir.gradient import with_gradient
from verify.ir.graph import BoundGraph
from verify.lower.engine.best import BestPoints, Keeper
from verify.lower.engine.climb import Look, Surface, climb
from verify.lower.objectives.base import AttackObjective, aimed
from verify.lower.rules.base import StepRule
from verify.problem import Problem
from verify.sets.base import InputSet
from verify.spec import Specification

MEMORY = {"cpu": 1 << 24, "cuda": 1 << 28}  # values of all layers together that a batch holds: cache, then memory


class Tries(NamedTuple):
    """What is climbed: rows of a batch, each a case with a start of its own.

    Args:
        cases: (n,) long, may repeat.
        x: (n, *shape) starts, members of the sets of the cases.
        aims: (n,) long, the disjunct to climb; -1, or one that the case lacks, for all of them.
        length: (n,) first step lengths, in half-widths of the set.
    """

    cases: Tensor
    x: Tensor
    aims: Tensor
    length: Tensor

    def select(self, index: Tensor) -> Tries:
        return Tries(*(part[index] for part in self))


@dataclass(frozen=True)
class Ascent:
    """Climbs of an objective over a problem's sets.

    Args:
        steps: number of gradients.
        rule: of the steps.
        objective: what is climbed; the points of largest violation are kept.
        stop_when_falsified: drop a case as soon as one of its points has a violation >= 0.
    """

    steps: int
    rule: StepRule
    objective: AttackObjective
    stop_when_falsified: bool

    def run(self, problem: Problem, best: BestPoints, tries: Tries) -> None:
        """Climbs and offers the best point of every try to `best`."""
        if self.stop_when_falsified:
            tries = tries.select((best.values[tries.cases] < 0).nonzero().flatten())
        if not len(tries.cases):
            return
        inputs, spec, met = problem.inputs.select(tries.cases), problem.spec.select(tries.cases), BestPoints(tries.x)
        owner = tries.cases if self.stop_when_falsified else None
        surface = ViolationSurface(problem.network, inputs, spec, self.objective, tries.aims, met, met.all, owner)
        try:
            climb(surface, self.rule, self.steps, tries.x, tries.length)
        finally:
            best.offer_several(tries.cases, met.values, met.points)


@dataclass(frozen=True)
class ViolationSurface(Surface):
    """An objective of the rows of n points of cases.

    Args:
        aims: (n,) long, what each aims at, as in `Tries`.
        best: is offered every point, under its place (n,), a number of its own.
        owner: (n,) whose points they are: where one has a violation >= 0, all of its owner go; None where none goes.
    """

    network: BoundGraph
    inputs: InputSet
    spec: Specification
    objective: AttackObjective
    aims: Tensor
    best: Keeper
    places: Tensor
    owner: Tensor | None = None

    @cached_property
    def wanted(self) -> Tensor | None:
        """The rows that are climbed, see `aimed`."""
        return aimed(self.spec, self.aims)

    def look(self, x: Tensor, rest: float) -> Look | None:
        """An entry of the gradient that is not finite is 0, so that one sample cannot spoil its own step or the batch.
        Over a grid value and gradient are those at the nearest member (Bengio et al. 2013, straight-through).
        """
        x = self.inputs.settled(x)
        y, pull = with_gradient(self.network, x)
        rows = self.spec.values(x, y)
        value, weights = self.objective.slopes(self.spec, rows, self.wanted, rest)
        self.best.offer(self.places, self.spec.aggregate(rows), x)
        direction = self.spec.mixed(weights)
        if self.spec.input is None and bool((even := ~direction.any(1)).any()):
            # at the middle of a range both sides weigh alike and cancel: there the first of them is climbed
            first = aimed(self.spec, self.aims.where(~even, 0))
            one = self.objective.slopes(self.spec, rows, first, rest).weights
            direction = self.spec.mixed(weights.where(~even[:, None], one))
        gradient = pull(direction.reshape(y.shape))
        if gradient is None:
            return None
        if self.spec.input is not None:
            gradient = gradient + torch.einsum("cr,cri->ci", weights, self.spec.input).reshape(x.shape)
        if not bool(gradient.sum().isfinite()):
            gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        return Look(value, gradient)

    def end(self, x: Tensor) -> None:
        x = self.inputs.settled(x)
        self.best.offer(self.places, self.spec.violation(x, self.network(x)), x)

    def narrowed(self) -> tuple[ViolationSurface, Tensor] | None:
        if self.owner is None or not bool((beyond := self.best.values[self.places] >= 0).any()):
            return None
        going = (~torch.isin(self.owner, self.owner[beyond])).nonzero().flatten()
        inputs, spec, owner = self.inputs.select(going), self.spec.select(going), self.owner[going]
        return replace(
            self, inputs=inputs, spec=spec, aims=self.aims[going], places=self.places[going], owner=owner
        ), going


def batch_size(problem: Problem, memory: int | None = None) -> int:
    """How many points may go through the network at once: their values of all layers fill this memory. One where a
    model that is only executed takes them one by one anyway."""
    graph = problem.network.graph
    held = [node.op.held for node in graph.nodes]
    if None in held:
        return 1
    values = prod(graph.input_shape) + sum(prod(node.shape) for node in graph.nodes) + sum(filter(None, held))
    memory = MEMORY.get(problem.network.device.type, MEMORY["cpu"]) if memory is None else memory
    return max(1, memory // max(1, values))
