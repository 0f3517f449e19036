"""Lower bounds by gradient ascent: points of the set with a large violation.

Both methods use only what every set offers: its maximiser, its steepest direction and its projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from numbers import Integral, Real

import torch
from torch import Tensor

from verify.errors import LATE, InputError, OutOfTime
from verify.lower.ascent import MEMORY, Ascent, BestPoints, Tries
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry


@Entry(
    name="fgsm", family="lower", place=10, batched=True,
    help="one gradient step to the edge of the set (Goodfellow et al.)",
)
@dataclass(frozen=True)
class FGSM:
    """One step from the nominal point to the point of the set where the linearised violation is largest.

    Goodfellow et al. 2015, eq. 3, for any set; on an affine network and one linear row that point is the maximum.
    """

    @property
    def name(self) -> str:
        return "FGSM"

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the better of the nominal point and the end of the step."""
        return PGD(steps=1, stop_when_falsified=False).answer(problem)


@Entry(
    name="pgd", family="lower", place=20, batched=True,
    help="projected gradient ascent (Madry et al.)",
    value={"stop_when_falsified": False},
    patient={"restarts": 1_000_000},
    defaults={"opaque": 1, "pytest": 1, "radius": 1, "gaps": 1, "certify": 2, "train": 2},
)
@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent (Madry et al. 2018) of a smooth maximum of the violation's rows.

    The first try starts at the nominal point (the data point of a ball) and ascends all disjuncts; its first step is
    FGSM's. Each further one starts at a random point and aims at one disjunct (a wrong class), in the order of their
    values at the nominal point; after the last disjunct comes a try at all of them again, and so on. Tries take turns
    at `step`, a half and a quarter of it: long steps find more in some networks, short ones in others. What a case
    gets does not depend on the other cases of the batch, up to rounding.

    Args:
        steps: gradients in each try, at least 1.
        restarts: number of tries, at least 1.
        step: first step length in half-widths of the set, > 0; it falls linearly to 0 over the steps.
        seed: of the random starts.
        stop_when_falsified: leave a case at its first point with violation >= 0. Its `lower` stays valid, but is not
            as large as it could be; False where the value matters and not only the verdict.

    Raises InputError for settings out of range.
    """

    steps: int = 40
    restarts: int = 1
    step: float = 2.0
    seed: int = 0
    stop_when_falsified: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "seed", "step"):
            value, noun = getattr(self, name), "a number" if name == "step" else "an integer"
            if isinstance(value, bool) or not isinstance(value, Real if name == "step" else Integral):
                raise InputError(f"PGD has {name}={value!r}; it must be {noun}")
        if self.steps < 1 or self.restarts < 1:
            raise InputError(f"PGD has steps={self.steps}, restarts={self.restarts}; both must be at least 1")
        if not 0 < self.step < float("inf"):
            raise InputError(f"PGD has step={self.step}; it must be positive and finite")

    @property
    def name(self) -> str:
        return f"PGD-{self.steps}" if self.restarts == 1 else f"PGD-{self.steps}x{self.restarts}"

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the best that was met, the nominal point included."""
        best = BestPoints(problem.inputs.nominal())
        try:
            self._search(problem, best)
        except OutOfTime:
            return Answer(points=best.points, notes={"stopped": LATE})
        return Answer(points=best.points)

    def _search(self, problem: Problem, best: BestPoints) -> None:
        """Searches and offers every point on the way to `best`."""
        nominal = problem.inputs.nominal()
        size, order = batch_size(problem), None
        cases, first = torch.arange(problem.cases, device=nominal.device), 0
        while first < self.restarts and len(cases):
            # the first try goes alone: it settles most cases, and those need no other
            count = min(max(1, size // len(cases)), self.restarts - first) if first else 1
            numbers = torch.arange(first, first + count, device=cases.device).repeat_interleave(len(cases))
            if first == 1:
                order = _ranked(problem, nominal, size)
            ascent = Ascent(self.steps, leap=first == 0, stop_when_falsified=self.stop_when_falsified)
            for part in torch.arange(len(numbers), device=cases.device).split(size):
                ascent.run(problem, best, self._tries(problem, order, cases.repeat(count)[part], numbers[part]))
            first += count
            if self.stop_when_falsified:
                cases = cases[best.values[cases] < 0]

    def _tries(self, problem: Problem, order: Tensor | None, cases: Tensor, numbers: Tensor) -> Tries:
        """The tries with these numbers (n,) at these cases (n,); `order` ranks the disjuncts, None in the first try."""
        inputs = problem.inputs.select(cases)
        length = self.step * 0.5 ** (numbers % 3).to(inputs.low)
        if order is None:
            return Tries(cases, inputs.nominal(), torch.full_like(cases, -1), length)
        place = numbers % (order.shape[1] + 1) - 1
        aims = order[cases].gather(1, place.clamp(min=0)[:, None])[:, 0]
        aims = torch.where((place < 0) | (order.shape[1] == 1), -1, aims)
        return Tries(cases, inputs.place(self._shares(problem, numbers)), aims, length)

    def _shares(self, problem: Problem, numbers: Tensor) -> Tensor:
        """Where in its hull each try starts, the same for all cases; (n, *shape)."""
        distinct, which = numbers.unique(return_inverse=True)
        shares = []
        for number in distinct.tolist():
            noise = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            shares.append(torch.rand(problem.inputs.shape, generator=noise, dtype=problem.inputs.low.dtype))
        return torch.stack(shares).to(which.device)[which]


def batch_size(problem: Problem, memory: int | None = None) -> int:
    """How many points may go through the network at once: their values of all layers fill this memory. One where the
    network is only executed, which takes them one by one anyway."""
    if problem.network.refusal:
        return 1
    graph = problem.network.graph
    values = prod(graph.input_shape) + sum(prod(node.shape) for node in graph.nodes)
    memory = MEMORY.get(problem.network.device.type, MEMORY["cpu"]) if memory is None else memory
    return max(1, memory // max(1, values))


def _ranked(problem: Problem, x: Tensor, size: int) -> Tensor:
    """The disjuncts of each case by their value at x, the highest first; (cases, disjuncts) long."""
    found = []
    for part in torch.arange(problem.cases, device=x.device).split(size):
        spec = problem.spec.select(part)
        least = spec.by_disjunct(spec.values(x[part], problem.network(x[part])))
        found.append(least.sort(dim=1, descending=True, stable=True).indices)
    return torch.cat(found)

