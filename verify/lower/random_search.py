"""Lower bounds by random search: values of the network alone, for those without a gradient and for flat ones."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor

from verify.deadline import check_time
from verify.lower.engine.best import met
from verify.lower.engine.settings import check_settings
from verify.lower.engine.windows import window
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry

TOGETHER = 8  # points near the best one that are tried before one takes its place
FRESH = 0.25  # of all points: drawn anew, not near the best one
FINEST = 10.0  # steps are as short as 2^-10 of a range


@Entry(
    name="random", family="lower", place=16, batched=True, black_box=True,
    help="random search, for networks without a gradient (as Square Attack)",
    defaults={"opaque": 2},
    patient={"evaluations": 1_000_000_000},
)
@dataclass(frozen=True)
class RandomSearch:
    """Random search with a memory of one point, in the manner of the Square Attack (Andriushchenko et al. 2020).

    The first point is the nominal one. A quarter of the others are drawn anew, from the whole set or from the corners
    of its hull. The rest change the best point so far: in random coordinates, from one of them to all, or in a window
    of an image; there it goes to an end of its range, anywhere in it, or a step of random length. A point that is no
    worse takes the place of the best, so that plateaus are crossed. Coordinates that are one number are left alone.

    Args:
        evaluations: points of each case, at least 1.
        seed: of the random numbers.
        stop_when_falsified: leave a case at its first point with violation >= 0.

    Raises InputError for settings out of range.
    """

    evaluations: int = 2000
    seed: int = 0
    stop_when_falsified: bool = True

    def __post_init__(self) -> None:
        check_settings(self, ("evaluations", "seed"))

    @property
    def name(self) -> str:
        return f"Random-{self.evaluations}"

    def answer(self, problem: Problem) -> Answer:
        """Points (cases, *shape): the best that was met, the nominal point included."""
        points = problem.inputs.nominal().clone()
        return met(points, lambda: self._search(problem, points))

    def _search(self, problem: Problem, points: Tensor) -> None:
        """Moves the points, the best ones so far."""
        noise, left = torch.Generator().manual_seed(self.seed), self.evaluations - 1
        cases = torch.arange(problem.cases, device=points.device)
        values, part = problem.violation(points).nan_to_num(-torch.inf), problem.select(cases.repeat(TOGETHER))
        while left > 0:
            open_ = (values < 0).nonzero().flatten()
            if self.stop_when_falsified and len(open_) < len(cases):
                cases, values = cases[open_], values[open_]
                part = problem.select(cases.repeat(TOGETHER))
            if not len(cases):
                return
            check_time()
            tried = self._proposed(part, points[cases], noise).unflatten(0, (TOGETHER, len(cases)))
            found = part.violation(tried.flatten(0, 1)).unflatten(0, (TOGETHER, len(cases)))
            top, place = found[:left].nan_to_num(-torch.inf).max(0)
            better = (top >= values).nonzero().flatten()
            points[cases[better]] = tried[place[better], better]
            values, left = values.maximum(top), left - TOGETHER

    def _proposed(self, problem: Problem, best: Tensor, noise: torch.Generator) -> Tensor:
        """TOGETHER other points of every case, (TOGETHER * cases, *shape), with the same random numbers for all; best:
        (cases, *shape)."""
        inputs, shape, cases = problem.inputs, best.shape[1:], len(best)
        kinds = torch.rand((4, TOGETHER), generator=noise).to(best)
        draw, kind, length, level = (part.repeat_interleave(cases).reshape(-1, *[1] * len(shape)) for part in kinds)
        share = torch.rand((TOGETHER, *shape), generator=noise).to(best).repeat_interleave(cases, 0)
        share = torch.where(kind < 1 / 3, share.round(), share)  # ends of the ranges
        width, x = inputs.high - inputs.low, best.repeat(TOGETHER, *[1] * len(shape))
        near = x + 2.0 ** (-FINEST * length) * (2 * share - 1) * width
        goal = torch.where((kind > 2 / 3) & (draw >= FRESH), near, inputs.low + share * width)
        places = self._places(inputs.varies, level, noise, cases)
        return inputs.project(torch.where((draw < FRESH) | places, goal, x))

    def _places(self, varies: Tensor, level: Tensor, noise: torch.Generator, cases: int) -> Tensor:
        """The coordinates that change, at least one of those that vary; bool (TOGETHER * cases, *shape)."""
        shape, ones = varies.shape[1:], [1] * (varies.ndim - 1)
        rank = torch.rand((TOGETHER, *shape), generator=noise).to(level).repeat_interleave(cases, 0)
        if len(shape) == 3:
            for k in range(0, TOGETHER, 2):  # every second one is a window of an image
                part = slice(k * cases, (k + 1) * cases)
                rank[part] = (~_window(shape, float(level[k * cases]), noise)).to(rank)
        rank = torch.where(varies, rank, 2.0)
        least, most = rank.flatten(1).amin(1), varies.flatten(1).sum(1).clamp(min=1).to(rank)
        return varies & ((rank <= most.reshape(-1, *ones) ** -level) & (rank < 1) | (rank == least.reshape(-1, *ones)))


def _window(shape: torch.Size, level: float, noise: torch.Generator) -> Tensor:
    """A window of an image (channels, height, width), bool: all channels, of sides from one place to all of them."""
    sides = [max(1, round(n * 2.0 ** (-level * log2(max(2, n))))) for n in shape[1:]]
    return window(shape, sides, noise)
