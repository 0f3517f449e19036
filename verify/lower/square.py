"""Lower bounds by random squares: values of the network alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import torch
from torch import Tensor

from verify.deadline import check_time
from verify.errors import InputError
from verify.lower.engine.best import BestPoints, met
from verify.lower.engine.settings import check_settings
from verify.lower.engine.windows import window
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of the share that changes, in queries out of 10,000


@Entry(
    name="square", family="lower", place=17, batched=True, black_box=True,
    help="random squares, without gradients (Andriushchenko et al.)",
    value={"stop_when_falsified": False},
    patient={"evaluations": 1_000_000_000},
)
@dataclass(frozen=True)
class Square:
    """Square Attack (Andriushchenko et al. 2020, algorithms 1 and 2): squares of an image go to ends of their ranges,
    and stay there where the violation grows.

    The first point has stripes from top to bottom, each at an end of its range. The squares become smaller as in the
    paper. Of an input that is no image, random coordinates take the place of squares. What is proposed is projected,
    so that any set will do; of a ball in another norm than Linf, a square then takes its share from the rest. Random
    numbers are the same in all cases, so that none depends on another.

    Args:
        evaluations: points of each case, at least 1.
        share: of the coordinates that the first squares change, in (0, 1].
        seed: of the random numbers.
        stop_when_falsified: leave a case at its first point with violation >= 0.

    Raises InputError for settings out of range.
    """

    evaluations: int = 5000
    share: float = 0.8
    seed: int = 0
    stop_when_falsified: bool = True

    def __post_init__(self) -> None:
        check_settings(self, ("evaluations", "seed"), ("share",))
        if self.share > 1:
            raise InputError(f"Square has share={self.share}; it must be at most 1")

    @property
    def name(self) -> str:
        return f"Square-{self.evaluations}"

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the best that was met, the nominal point included."""
        best = BestPoints(problem.inputs.nominal())
        return met(best.points, lambda: self._search(problem, best))

    def _search(self, problem: Problem, best: BestPoints) -> None:
        """Tries the nominal point, the stripes, and squares on the best of both and of what they led to."""
        noise, inputs = torch.Generator().manual_seed(self.seed), problem.inputs
        cases, part, shape = torch.arange(problem.cases, device=best.points.device), problem, inputs.shape
        best.offer(cases, problem.violation(best.points), best.points)
        for k in range(1, self.evaluations):
            if self.stop_when_falsified and bool((best.values[cases] >= 0).any()):
                cases = cases[best.values[cases] < 0]
                part = problem.select(cases)
            if not len(cases):
                return
            check_time()
            changes = torch.ones(shape, dtype=torch.bool) if k == 1 else square(shape, self._share(k), noise)
            ends = torch.rand((shape[0], 1, *shape[2:]) if k == 1 and len(shape) == 3 else shape, generator=noise)
            if k > 1 and len(shape) == 3:
                ends = ends[:, :1, :1]  # one colour a square
            ends = (ends < 0.5).expand(shape).to(cases.device)
            corner = torch.where(ends, part.inputs.low, part.inputs.high)
            x = part.inputs.project(torch.where(changes.to(cases.device), corner, best.points[cases]))
            best.offer(cases, part.violation(x), x)

    def _share(self, query: int) -> float:
        """The share of the coordinates that this query changes."""
        return self.share / 2 ** sum(10_000 * query > self.evaluations * at for at in HALVINGS)


def square(shape: tuple[int, ...], share: float, noise: torch.Generator) -> Tensor:
    """A square of an image (channels, height, width), or random coordinates of another input; bool (*shape)."""
    if len(shape) != 3:
        mask = torch.zeros(shape, dtype=torch.bool)
        count = max(1, ceil(share * mask.numel()))
        mask.view(-1)[torch.randperm(mask.numel(), generator=noise)[:count]] = True
        return mask
    return window(shape, [max(1, round(sqrt(share * shape[1] * shape[2])))] * 2, noise)
