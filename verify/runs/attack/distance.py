"""`distance`: how far the nearest points are that fool a model, as minimum-norm attacks find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from time import perf_counter

import torch
from torch import Tensor

from verify.deadline import Deadline, within
from verify.errors import InputError
from verify.given import given
from verify.goals import Aim
from verify.ir.graph import Network
from verify.ir.opaque.entry import Model
from verify.lower.engine.nearest import MinimumNorm
from verify.lower.engine.replay import nearest_replayed, widened
from verify.lower.fmn import FMN
from verify.method import full_float32
from verify.problem import Problem, robustness
from verify.rationals import Number, rational
from verify.sets import Ball
from verify.sets.norms import Norm, norm_of


@dataclass(frozen=True, repr=False)
class DistanceResult:
    """The nearest points that a minimum-norm attack found.

    Args:
        distance: (batch,) float64, of the points from their samples, rounded up; the minimal distortion is at most
            this. 0 of a sample that is wrong as it is, inf where no point was found.
        points: (batch, *shape), the samples themselves where none was found. Each was given to the model again.
        seconds: wall time.
    """

    distance: Tensor
    points: Tensor
    seconds: float

    @property
    def found(self) -> Tensor:
        """bool (batch,), where there is a point."""
        return self.distance.isfinite()

    @property
    def median(self) -> float:
        """The median over all samples; inf where fewer than half have a point."""
        return float(self.distance.sort().values[len(self.distance) // 2])

    def __repr__(self) -> str:
        return (f"DistanceResult of {len(self.distance)} samples: {int(self.found.sum())} with a point, median "
                f"distance {self.median:.5g}, {self.seconds:.1f} s")


def distance(
    model: Network | Model,
    x: Tensor,
    y: Tensor | Sequence[int],
    *,
    norm: str | Norm = "linf",
    clip: tuple[Number, Number] | None = (0, 1),
    method: MinimumNorm | None = None,
    most: Number | None = None,
    target: Aim | None = None,
    wins: bool = False,
    threshold: Number | None = None,
    time_limit: float | None = None,
) -> DistanceResult:
    """Looks for the nearest point to each sample that fools the model, in any norm.

    Args:
        model, x, y, norm, clip, target, wins, threshold: see `verify.attack`.
        method: a minimum-norm attack such as `verify.FMN()`, the default, `verify.DDN()`, `verify.CarliniWagner()` or,
            without gradients, `verify.HopSkipJump()`.
        most: the largest distance that is looked at; by default one that reaches the whole clip.
        time_limit: seconds for all samples together, or None; what was found by then is kept.

    Raises InputError as `verify.attack` does, for a method that is no minimum-norm attack, and where neither clip nor
    `most` ends the search.
    """
    method = FMN() if method is None else method
    if not isinstance(method, MinimumNorm):
        raise InputError(f"distance takes a minimum-norm attack, not {method!r:.60}; write for example verify.FMN()")
    if clip is None and most is None:
        raise InputError("without a clip every distance is possible; give the largest one to look at with most")
    network, x = given(model, x)
    if most is None:
        low, high = (rational(end, "clip") for end in clip or ())
        most = norm_of(norm).across(high - low, prod(network.input_shape))
    start = perf_counter()
    problem = robustness(network, x, y, most, norm, clip, target, wins=wins, threshold=threshold)
    with torch.no_grad(), full_float32():
        with within(Deadline.after(time_limit)):
            points, _ = method.near(widened(problem.merged))
        points, found = nearest_replayed(problem, points)
    return DistanceResult(torch.where(found, distances(problem, points), torch.inf), points, perf_counter() - start)


def distances(problem: Problem, points: Tensor) -> Tensor:
    """How far points are from the centers of balls, float64 (cases,), rounded up."""
    inputs = problem.inputs
    assert isinstance(inputs, Ball)
    delta = (points.double() - inputs.center.double()).flatten(1)
    error = 0.0 if inputs.norm.counts else (delta.shape[1] + 8) * torch.finfo(torch.float64).eps
    return inputs.norm.measure(delta) * (1 + error)
