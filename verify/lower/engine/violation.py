"""What attacks on a problem climb: an objective of its specification, at many (case, start) pairs in one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph
from verify.lower.engine.best import BestPoints, Keeper
from verify.lower.engine.climb import Look, Surface, climb
from verify.lower.objectives.base import AttackObjective
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
        """Climbs and offers every point on the way to `best`."""
        inputs, spec = problem.inputs.select(tries.cases), problem.spec.select(tries.cases)
        surface = ViolationSurface(
            problem.network, inputs, spec, self.objective, tries.cases, tries.aims, best, self.stop_when_falsified
        )
        climb(surface, self.rule, self.steps, tries.x, tries.length)


@dataclass(frozen=True)
class ViolationSurface(Surface):
    """An objective of the rows of n cases (n,), which may repeat, with what each aims at (n,); every point is offered
    to `best`."""

    network: BoundGraph
    inputs: InputSet
    spec: Specification
    objective: AttackObjective
    cases: Tensor
    aims: Tensor
    best: Keeper
    stop_when_falsified: bool

    def look(self, x: Tensor, rest: float) -> Look | None:
        """An entry of the gradient that is not finite is 0, so that one sample cannot spoil its own step or the batch.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self.network(x)
        rows = self.spec.values(x.detach(), y.detach())
        value, weights = self.objective.slopes(self.spec, rows, self.aims, rest)
        self.best.offer(self.cases, self.spec.aggregate(rows), x.detach())
        direction = torch.einsum("cr,cro->co", weights, self.spec.output)
        if self.spec.input is None and bool((even := ~direction.any(1)).any()):
            # at the middle of a range both sides weigh alike and cancel: there the first of them is climbed
            one = self.objective.slopes(self.spec, rows, self.aims.where(~even, 0), rest).weights
            direction = torch.einsum("cr,cro->co", weights.where(~even[:, None], one), self.spec.output)
        direction = direction.reshape(y.shape)
        with torch.enable_grad():
            along = (y * direction).sum()  # of a scalar: with grad_outputs, autograd spends 0.4 s on importing sympy
        gradient = torch.autograd.grad(along, x, allow_unused=True)[0] if along.requires_grad else None
        if gradient is None:
            return None
        if self.spec.input is not None:
            gradient = gradient + torch.einsum("cr,cri->ci", weights, self.spec.input).reshape(x.shape)
        return Look(value, torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0))

    def end(self, x: Tensor) -> None:
        self.best.offer(self.cases, self.spec.violation(x, self.network(x)), x)

    def narrowed(self) -> tuple[ViolationSurface, Tensor] | None:
        if not self.stop_when_falsified:
            return None
        going = (self.best.values[self.cases] < 0).nonzero().flatten()
        if len(going) == len(self.cases):
            return None
        inputs, spec = self.inputs.select(going), self.spec.select(going)
        return replace(self, inputs=inputs, spec=spec, cases=self.cases[going], aims=self.aims[going]), going


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
