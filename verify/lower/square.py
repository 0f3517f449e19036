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
from verify.lower.engine.violation import batch_size
from verify.lower.engine.windows import window
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry

AHEAD, FEW = 32, 2  # changes that are tried together, at most; twice as many after so few calls, else half
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
        """Tries the nominal point, the stripes, and squares on the best of both and of what they led to: more at a time
        while few help."""
        noise, size, ahead, done = torch.Generator().manual_seed(self.seed), batch_size(problem), 1, 1
        cases = torch.arange(problem.cases, device=best.points.device)
        best.offer(cases, problem.violation(best.points), best.points)
        block = Block.starting(problem, cases, 1, self.stop_when_falsified)
        while done < self.evaluations:
            if self.stop_when_falsified:
                cases = cases[best.values[cases] < 0]
            if not len(cases):
                return
            count = min(ahead, self.evaluations - done, max(1, min(AHEAD, size // len(cases))))
            block = block.of(problem, cases, count)
            changes = [self._change(problem.inputs.shape, done + k, noise) for k in range(count)]
            looks = block.tried(best, *(torch.stack(part).to(cases.device) for part in zip(*changes, strict=True)))
            done, ahead = done + count, 2 * count if looks <= FEW else max(1, count // 2)

    def _change(self, shape: tuple[int, ...], query: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """The coordinates that a query changes, and which of them go to the low end; bool (*shape) each."""
        is_first, is_image = query == 1, len(shape) == 3
        places = torch.ones(shape, dtype=torch.bool) if is_first else square(shape, self._share(query), noise)
        ends = torch.rand((shape[0], 1, *shape[2:]) if is_first and is_image else shape, generator=noise)
        if is_image and not is_first:
            ends = ends[:, :1, :1]  # one colour a square
        return places, (ends < 0.5).expand(shape)

    def _share(self, query: int) -> float:
        """The share of the coordinates that this query changes."""
        return self.share / 2 ** sum(10_000 * query > self.evaluations * at for at in HALVINGS)


@dataclass(frozen=True)
class Block:
    """Cases that try so many changes at a time, each on the best point that those before it led to.

    Args:
        whole: the problem of all cases (n,), once for each change.
        stops: leaves a case at its first point with a violation >= 0.
    """

    whole: Problem
    cases: Tensor
    count: int
    stops: bool

    @classmethod
    def starting(cls, problem: Problem, cases: Tensor, count: int, stops: bool) -> Block:
        return cls(problem.select(cases.repeat(count)), cases, count, stops)

    def of(self, problem: Problem, cases: Tensor, count: int) -> Block:
        """The block of other cases, or of another count; itself where both are the same."""
        is_same = count == self.count and len(cases) == len(self.cases)  # since cases only leave
        return self if is_same else Block.starting(problem, cases, count, self.stops)

    def tried(self, best: BestPoints, changes: Tensor, ends: Tensor) -> int:
        """Offers what becomes of the best points where `changes` (count, *shape) go to the low `ends`, else the high
        ones; how often the network was called.

        All changes are looked at together, as if none helped; where one does, those after it are looked at again.
        """
        check_time()
        n, looks = len(self.cases), 0
        rows = torch.arange(self.count * n, device=self.cases.device)  # change by change
        while len(rows):
            part = self.whole if len(rows) == self.count * n else self.whole.select(rows)
            change, place = rows // n, rows % n
            case, inputs = self.cases[place], part.inputs
            corner = torch.where(ends[change], inputs.low, inputs.high)
            x = inputs.project(torch.where(changes[change], corner, best.points[case]))
            values = part.violation(x)
            better = (values > best.values[case]).nonzero().flatten()
            first = torch.full_like(self.cases, self.count).scatter_reduce(0, place[better], change[better], "amin")
            better = better[change[better] == first[place[better]]]
            best.offer(case[better], values[better], x[better])
            left = (first < self.count) & ((best.values[self.cases] < 0) | (not self.stops))
            rows, looks = rows[(change > first[place]) & left[place]], looks + 1
        return looks


def square(shape: tuple[int, ...], share: float, noise: torch.Generator) -> Tensor:
    """A square of an image (channels, height, width), or random coordinates of another input; bool (*shape)."""
    if len(shape) != 3:
        mask = torch.zeros(shape, dtype=torch.bool)
        count = max(1, ceil(share * mask.numel()))
        mask.view(-1)[torch.randperm(mask.numel(), generator=noise)[:count]] = True
        return mask
    return window(shape, [max(1, round(sqrt(share * shape[1] * shape[2])))] * 2, noise)
