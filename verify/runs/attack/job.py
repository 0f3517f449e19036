"""The job of attacking a data set, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.goals import Goal
from verify.method import Method
from verify.problem import Problem
from verify.runs.attack.doubts import flat_places, infinite
from verify.runs.attack.outcome import AttackOutcome
from verify.runs.attack.pixels import Pictures, rounded_to_levels
from verify.runs.attack.search import search


@dataclass(frozen=True)
class AttackJob:
    """The samples, in their sets, and the attacks in their order.

    Args:
        problem: of all samples, on the device to be used; goal: of its outputs.
        x: (batch, *shape) on the CPU; labels: their classes, None where they have none.
        timeout: seconds for a sample, over all attacks and samples of a batch together.
        has_levels: whether values from 0 to 1 are what images of 8 bits hold.
        folder: where images are written.
        pictures: of variables that are a sample and parameters, what makes images of them.
    """

    problem: Problem
    goal: Goal
    x: Tensor
    labels: Sequence[int | None]
    methods: tuple[Method, ...]
    timeout: float
    has_levels: bool
    folder: Path | None = None
    pictures: Pictures | None = None

    @property
    def device(self) -> torch.device:
        return self.problem.network.device

    def to(self, device: torch.device | str) -> AttackJob:
        """The same job on another device."""
        pictures = None if self.pictures is None else self.pictures.to(device)
        return replace(self, problem=self.problem.to(device), pictures=pictures)

    def first(self, index: Sequence[int]) -> list[AttackOutcome]:
        """All that there is to do for these samples."""
        place = torch.tensor(index, device=self.device)
        problem = self.problem.select(place)
        bracket, by, spent = search(problem, self.methods, self.timeout * len(index))
        assert bracket.witness is not None
        points, fooled = bracket.witness, bracket.lower >= 0
        with torch.no_grad():
            center = problem.inputs.nominal()
            outputs = problem.network(center)
            clean = (problem.spec.violation(center, outputs) < 0).tolist()
            flat, odd = torch.zeros_like(fooled), infinite(outputs)
            open_ = (~fooled & ~odd).nonzero().flatten()
            if len(open_):
                flat[open_] = flat_places(problem.select(open_), self.methods)
            seen = points if self.pictures is None else self.pictures.of(place, points)
            levels, images = None, [""] * len(index)
            if self.has_levels:
                levels, images = (rounded_to_levels(problem, points) if self.pictures is None
                                  else self.pictures.rounded(place, seen))
        far, seconds = _distances(problem, points), {name: spent[name] / len(index) for name in spent}
        variables = [None] * len(index) if self.pictures is None else [*points.cpu().numpy()]
        return [
            AttackOutcome(
                i, self.labels[i], guess, clean[k], by[k], _finite(float(bracket.lower[k])), far[k], bool(flat[k]),
                bool(odd[k]), seconds, seen[k].cpu().numpy(), variables[k],
                None if levels is None else levels[k].cpu().numpy(), images[k] if by[k] else "",
            )
            for k, (i, guess) in enumerate(zip(index, self.goal.classes(outputs), strict=True))
        ]

    def last(self, found: Sequence[Any]) -> list[AttackOutcome]:
        raise AssertionError("a sample is attacked at once")

    def restored(self, state: dict[str, Any], point: np.ndarray | None) -> AttackOutcome:
        raise AssertionError("a sample is attacked at once")

    def kept(self, found: AttackOutcome, folder: Path, asked: Mapping[str, Any]) -> AttackOutcome:
        """See `Job.kept`: attacks have no two sides that could cross."""
        return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _distances(problem: Problem, points: Tensor) -> list[float | None]:
    """How far points are from their samples in the norm of the balls; None of other sets."""
    far = problem.inputs.distance(points)
    if far is None:
        return [None] * len(points)
    return [_finite(value) for value in far.tolist()]
