"""Gradient ascent of the violation, for many (case, start) pairs in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph
from verify.problem import Problem
from verify.spec import Specification

MEMORY = {"cpu": 1 << 24, "cuda": 1 << 28}  # values of all layers together that a batch holds: cache, then memory
HEAT = 1 / 6  # first temperature of the smooth maximum, a share of the spread of a case's rows
COLDEST = 1e-9  # last temperature, at which only ties share the weight


class BestPoints:
    """The best point of every case so far: values (cases,), -inf at first, and points (cases, *shape)."""

    def __init__(self, points: Tensor):
        self.values = points.new_full((len(points),), -torch.inf)
        self.points = points.clone()

    def offer(self, cases: Tensor, values: Tensor, x: Tensor) -> None:
        """Keeps the points x (n, *shape) of these cases (n,), which may repeat, where they are better; NaN is not."""
        values = torch.where(values.isnan(), -torch.inf, values)
        top = self.values.scatter_reduce(0, cases, values, "amax")
        better = ((values == top[cases]) & (values > self.values[cases])).nonzero().flatten()
        first = torch.full_like(top, len(cases), dtype=torch.long).scatter_reduce(0, cases[better], better, "amin")
        better = better[first[cases[better]] == better]
        self.points[cases[better]] = x[better]
        self.values = top


class Tries(NamedTuple):
    """What is ascended: rows of a batch, each a case with a start of its own.

    Args:
        cases: (n,) long, may repeat.
        x: (n, *shape) starts, members of the sets of the cases.
        aims: (n,) long, the disjunct to ascend; -1, or one that the case lacks, for the smooth maximum of all.
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
    """Steepest ascent with projection; the step length falls linearly to 0.

    Args:
        steps: number of gradients.
        leap: let the first step go to the maximiser of the gradient, as FGSM does.
        stop_when_falsified: drop a case as soon as one of its points has a violation >= 0.
    """

    steps: int
    leap: bool
    stop_when_falsified: bool

    def run(self, problem: Problem, best: BestPoints, tries: Tries) -> None:
        """Ascends and offers every point on the way to `best`."""
        inputs, spec = problem.inputs.select(tries.cases), problem.spec.select(tries.cases)
        for k in range(self.steps):
            rest = 1 - k / self.steps
            rows, gradient = _evaluate(problem.network, spec, tries, heat=rest**2)
            best.offer(tries.cases, spec.aggregate(rows), tries.x)
            if gradient is None:
                return
            if self.stop_when_falsified:
                keep = (best.values[tries.cases] < 0).nonzero().flatten()
                if len(keep) == 0:
                    return
                if len(keep) < len(tries.cases):
                    inputs, spec = inputs.select(keep), spec.select(keep)
                    tries, gradient = tries.select(keep), gradient[keep]
            if self.leap and k == 0:
                x = inputs.maximiser(gradient)
            else:
                length = (rest * tries.length).reshape(-1, *[1] * len(inputs.shape))
                x = inputs.project(tries.x + length * inputs.steepest(tries.x, gradient))
            tries = tries._replace(x=x)
        best.offer(tries.cases, spec.violation(tries.x, problem.network(tries.x)), tries.x)


def _evaluate(network: BoundGraph, spec: Specification, tries: Tries, heat: float) -> tuple[Tensor, Tensor | None]:
    """Values of all rows at the points, (n, rows), and the gradient of the smooth objective there, (n, *shape); None
    where the network has none.

    An entry of the gradient that is not finite is 0, so that one sample cannot spoil its own step or the batch.
    """
    with torch.enable_grad():
        x = tries.x.detach().requires_grad_()
        y = network(x)
    rows = spec.values(x.detach(), y.detach())
    weights = smooth_weights(spec, rows, tries.aims, heat)
    direction = torch.einsum("cr,cro->co", weights, spec.output).reshape(y.shape)
    with torch.enable_grad():
        along = (y * direction).sum()  # of a scalar: with grad_outputs, autograd spends 0.4 s on importing sympy
    gradient = torch.autograd.grad(along, x, allow_unused=True)[0] if along.requires_grad else None
    if gradient is None:
        return rows, None
    if spec.input is not None:
        gradient = gradient + torch.einsum("cr,cri->ci", weights, spec.input).reshape(x.shape)
    return rows, torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)


def smooth_weights(spec: Specification, rows: Tensor, aims: Tensor, heat: float) -> Tensor:
    """Weights of the rows in the gradient of a smooth maximum over disjuncts of a smooth minimum over rows, (n, rows).

    The temperature is a share of the spread of the rows, so that the units of the output do not matter. For a
    classifier a temperature of 1 is the direction of the cross-entropy; cooling to the plain maximum over the run
    found larger margins than either of the two.
    """
    aimed = spec.mask & (spec.disjunct == aims[:, None])
    mask = torch.where(aimed.any(1, keepdim=True), aimed, spec.mask)
    high, low = torch.where(mask, rows, -torch.inf), torch.where(mask, rows, torch.inf)
    spread = (high.amax(1, keepdim=True) - low.amin(1, keepdim=True)).clamp(min=0)
    temperature = max(HEAT * heat, COLDEST) * spread + torch.finfo(rows.dtype).tiny
    least = spec.by_disjunct(rows)
    within = torch.where(mask, torch.exp((least.gather(1, spec.disjunct) - rows) / temperature), 0)
    total = torch.zeros_like(least).scatter_add(1, spec.disjunct, within)
    least = torch.where(total > 0, least, -torch.inf)
    between = torch.softmax((least - least.amax(1, keepdim=True)) / temperature, 1)
    return torch.where(mask, within * (between / total.clamp(min=1)).gather(1, spec.disjunct), 0)
