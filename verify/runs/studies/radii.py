"""The minimal adversarial distortion of every sample, bracketed: below it a certificate, above it an attack.

First all samples are searched on a grid of radii by the methods that take batches: where they verify, falsify or say
nothing. A witness is drawn toward its sample as far as it stays one, and its distance is the upper end. Then the
methods that take samples one by one halve what is left, until it is narrow enough or the time is over.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.bracket import Bracket
from verify.errors import Contradiction, SolverError, UnsupportedMethod
from verify.goals import CLASS, Goal
from verify.ir.graph import Network
from verify.lower.engine.nearest import MinimumNorm
from verify.lower.engine.replay import nearest_replayed
from verify.method import Method
from verify.problem import Problem, around
from verify.registry import entry_of
from verify.runs.certification.outcome import CLEAN
from verify.runs.evidence.belief import CHEAP, one
from verify.runs.evidence.contradiction import Holder, asked_of, crossed, where_kept
from verify.runs.studies.radius import Radius, distance, not_below
from verify.runs.surroundings import Surroundings
from verify.sets import Ball
from verify.solving import solve

STEPS, OCTAVES = 4, 12  # of the grid: radii for each factor of 2, and how many of these below the largest radius
DIGITS = 4  # of the radii that are tried between two of the grid


@dataclass(frozen=True)
class Radii:
    """The job of bracketing all samples of a data set.

    Args:
        network: on the device to be used.
        x: (batch, *shape) on the CPU; labels: their classes, None where they have none.
        most: the largest radius that is looked at.
        norm, clip: of the balls.
        methods: by name; dear: those that take samples one by one.
        tolerance: how far the upper end may lie above the lower one, relative to it.
        timeout: seconds for a sample. Of what is left of the time of all samples that it is asked about, a method takes
            at most an equal part; the last one may take all of it.
        goal: what is asked of the outputs.
        surroundings: what surrounds samples at a radius, None for balls. A witness is then as far as the radius at
            which it was found.
    """

    network: Network
    x: Tensor
    labels: Sequence[int | None]
    most: Fraction
    norm: str
    clip: tuple[Fraction, Fraction] | None
    methods: dict[str, Method]
    dear: set[str]
    tolerance: Fraction
    timeout: float
    goal: Goal = CLASS
    surroundings: Surroundings | None = None

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def folder(self) -> Path | None:
        return None

    @property
    def grid(self) -> list[Fraction]:
        """Radii from 0 to `most`, ascending."""
        powers = (2.0 ** (-k / STEPS) for k in range(STEPS * OCTAVES, 0, -1))
        return [Fraction(0), *(_short(float(self.most) * p) for p in powers), self.most]

    def to(self, device: torch.device | str) -> Radii:
        """The same job on another device."""
        return replace(self, network=self.network.to(device))

    def restored(self, state: dict[str, Any], point: np.ndarray | None) -> Radius:
        """See `Radius.state`."""
        unknown, parameters = (None if state[n] is None else tuple(state[n]) for n in ("unknown", "parameters"))
        told = {**state, "lower": Fraction(state["lower"]), "unknown": unknown, "parameters": parameters}
        return Radius(**told, point=point)

    def kept(self, found: Radius, folder: Path, asked: Mapping[str, Any]) -> Radius:
        """See `Job.kept`."""
        if found.crossing is None:
            return found
        i, (eps, attack, certificate) = found.index, found.crossing
        bundle = crossed(i, self.problem(eps, [i]), attack, certificate, self.methods, found.error).bundle
        label = None if found.label is None else torch.tensor([found.label])
        data = {"x": self.x[i : i + 1], "y": label, "asked": asked_of(asked, str(eps))}
        return replace(found, bundle=where_kept({**bundle, **data}, folder), crossing=None)

    @cached_property
    def samples(self) -> Problem:
        """All samples in balls of radius 0. What is asked of a sample is the same at every radius."""
        labels = [label for label in self.labels if label is not None] if self.goal.has_labels else None
        return around(self.network, self.x, labels, 0, self.norm, self.clip, self.goal)

    def problem(self, eps: Fraction, index: Sequence[int]) -> Problem:
        """The balls, or other sets, of this radius around these samples."""
        place = torch.tensor(index, device=self.device)
        if self.surroundings is not None:
            return self.surroundings.around(self.samples, eps).select(place)
        part = self.samples.select(place)
        return replace(part, inputs=Ball(part.inputs.nominal(), eps, self.norm, self.clip))

    def first(self, index: Sequence[int]) -> list[Radius]:
        """What the methods that take batches find on the grid."""
        found = {radius.index: radius for radius in self._from_above(self._clean(index))}
        names = [name for name in self.methods if name not in self.dear and name not in self.nearing]
        grid = self.grid
        while True:
            asked: dict[int, list[int]] = defaultdict(list)
            for radius in found.values():
                place = None if radius.is_final else _next_place(radius, grid)
                if place is not None:
                    asked[place].append(radius.index)
            if not asked:
                break
            for place, many in asked.items():
                for radius in self._asked(grid[place], [found[i] for i in many], names):
                    is_open = radius.lower < grid[place] and not (radius.upper and radius.upper <= grid[place])
                    found[radius.index] = radius.unknown_at(place) if is_open else radius
        return [self._judged(radius, is_last=not self.dear) for radius in found.values()]

    def last(self, found: Sequence[Radius]) -> list[Radius]:
        """The final bracket of one sample: halved until it is narrow enough, or nothing decides in time."""
        (radius,) = found
        names = [name for name in self.methods if name in self.dear]
        while not radius.is_closed and not radius.error:
            middle = self._middle(radius)
            before = radius.lower, radius.upper
            if radius.seconds >= self.timeout:
                radius = replace(radius, reason=f"the limit of {self.timeout:g} s was reached")
                break
            for name in names:
                (radius,) = self._asked(middle, [radius], [name])
                if (radius.lower, radius.upper) != before:
                    break
            else:
                break
            radius = self._judged(radius, is_last=False)
        return [self._judged(radius, is_last=True)]

    def _middle(self, radius: Radius) -> Fraction:
        """The radius to ask for: between the ends, or beyond the largest one that is verified."""
        if radius.upper is None:
            return self.most
        low, high = float(radius.lower), radius.upper
        return _short(math.sqrt(low * high) if low > 0.1 * high else (low + high) / 2)

    @property
    def nearing(self) -> list[str]:
        """The minimum-norm attacks among the methods, which are asked once, and not for every radius."""
        return [name for name, method in self.methods.items() if isinstance(method, MinimumNorm)]

    def _from_above(self, radii: list[Radius]) -> list[Radius]:
        """With the nearest points that minimum-norm attacks find, in the ball of the largest radius."""
        for name in self.nearing:
            open_ = [radius for radius in radii if not radius.is_final]
            if not open_:
                break
            problem = self.problem(self.most, [radius.index for radius in open_])
            bracket = solve(problem, self.methods[name], self._seconds(name, open_))
            with torch.no_grad():
                points, fools = self._drawn(problem, bracket)
            seconds = float(str(bracket.notes["seconds"])) / len(open_)
            told = {
                radius.index: replace(radius, seconds=radius.seconds + seconds) if not fools[k] else self._falsified(
                    replace(radius, seconds=radius.seconds + seconds), self.most, (name, one(bracket, k)),
                    points[k])
                for k, radius in enumerate(open_)
            }
            radii = [told.get(radius.index, radius) for radius in radii]
        return radii

    def _clean(self, index: Sequence[int]) -> list[Radius]:
        """Before any method: 0 where the network errs on the sample itself."""
        problem = self.samples.select(torch.tensor(index, device=self.device))
        points = self.x[list(index)].to(problem.network.device, problem.network.dtype)
        with torch.no_grad():
            y, lower = problem.network(points), problem.executed(points).tolist()
        out = []
        for i, value, guess in zip(index, lower, self.goal.classes(y), strict=True):
            radius = Radius(i, self.labels[i], guess)
            if math.isnan(value):
                radius = radius.failed(CLEAN, "the network's output is not a number")
            elif value >= 0:
                radius = replace(radius, upper=0.0, above=CLEAN, point=self.x[i].numpy(), is_closed=True, is_final=True)
            out.append(radius)
        return out

    def _asked(self, eps: Fraction, radii: list[Radius], names: Sequence[str]) -> list[Radius]:
        """What methods, one after the other, find at one radius."""
        for name in names:
            open_here = [r for r in radii if not r.error and r.lower < eps and not (r.upper and r.upper <= eps)]
            if open_here:
                answers = {r.index: r for r in self._ask(eps, open_here, name)}
                radii = [answers.get(r.index, r) for r in radii]
        return radii

    def _seconds(self, name: str, radii: list[Radius]) -> float:
        """How long a method may work on these samples at one radius."""
        left = sum(max(0.0, self.timeout - radius.seconds) for radius in radii)
        return left / (len(self.methods) - list(self.methods).index(name))

    def _ask(self, eps: Fraction, radii: list[Radius], name: str) -> list[Radius]:
        if not radii:
            return []
        start, seconds = time.perf_counter(), self._seconds(name, radii)
        problem = self.problem(eps, [r.index for r in radii])
        try:
            bracket = self._held(problem, name, solve(problem, self.methods[name], seconds))
        except Contradiction as crossing:
            wrong, sides = set(crossing.bundle.get("problems", range(len(radii)))), crossing.bundle.get("bracket")
            others = self._ask(eps, [r for k, r in enumerate(radii) if k not in wrong], name)
            holders = [(name, None if sides is None else one(sides, k)) for k in range(len(radii))]
            failed = [radii[k].failed(name, str(crossing), (eps, holders[k], holders[k])) for k in sorted(wrong)]
            return [*others, *failed]
        except (SolverError, UnsupportedMethod) as refusal:
            return [replace(r, reason=f"{name}: {refusal}") for r in radii]
        if bracket.notes.get("stopped") == "interrupted":
            raise KeyboardInterrupt
        stopped = f"{name}: {bracket.notes.get('stopped', 'the bounds leave a gap')}"
        with torch.no_grad():
            nearest = self._drawn(problem, bracket)[0]
        out = []
        for k, r in enumerate(radii):
            r = replace(r, seconds=r.seconds + (time.perf_counter() - start) / len(radii))
            if bool(bracket.lower[k] >= 0):
                r = self._falsified(r, eps, (name, one(bracket, k)), nearest[k])
            elif bool(bracket.upper[k] < 0):
                r = replace(r, lower=eps, below=name, reason="")
                if r.upper is not None and r.upper <= float(eps):
                    reason = f"verifies radius {eps}, but {r.above} has a witness at {r.upper}"
                    r = r.failed(name, reason, (eps, (r.above or CLEAN, None), (name, one(bracket, k))))
            else:
                r = replace(r, reason=stopped)
            out.append(r)
        return out

    def _held(self, problem: Problem, name: str, bracket: Bracket) -> Bracket:
        """The bracket, where it verifies and no attack comes before the method met with what a cheap one finds."""
        earlier = takewhile(lambda other: other != name, self.methods)
        holds = bracket.upper < 0
        if not bool(holds.any()) or bracket.below or any(_attacks(self.methods[n]) for n in earlier):
            return bracket
        found = solve(problem, CHEAP)
        return bracket.meet(replace(found, lower=torch.where(holds, found.lower, -torch.inf)))

    def _drawn(self, problem: Problem, bracket: Bracket) -> tuple[Tensor, Tensor]:
        """The witnesses as near as they violate, and which do, see `nearest_replayed`; of other sets than balls as they
        are."""
        if bracket.witness is None:
            return problem.inputs.nominal(), torch.zeros_like(bracket.lower, dtype=torch.bool)
        return nearest_replayed(problem, bracket.witness) if self.surroundings is None else (
            bracket.witness, bracket.lower >= 0)

    def _falsified(self, radius: Radius, eps: Fraction, holder: Holder, point: Tensor) -> Radius:
        """With a witness (*shape) that a method found at a radius, if it is nearer than the one before."""
        name, parameters = holder[0], None
        if self.surroundings is not None:
            point, parameters = self.surroundings.seen(self.network, eps, point)
        found = point.cpu().numpy()
        upper = not_below(eps) if self.surroundings else distance(self.x[radius.index].numpy(), found, self.norm)
        if radius.upper is not None and upper >= radius.upper:
            return radius
        if upper <= float(radius.lower):
            reason = f"has a witness at {upper}, but {radius.below} verifies radius {radius.lower}"
            return radius.failed(name, reason, (eps, holder, (radius.below, None)))
        return replace(radius, upper=upper, above=name, point=found, parameters=parameters, reason="")

    def _judged(self, radius: Radius, is_last: bool) -> Radius:
        """Closed where the ends are near enough, or the largest radius is verified."""
        if radius.upper is None:
            is_closed = radius.lower >= self.most
        else:
            is_closed = Fraction(radius.upper) <= radius.lower * (1 + self.tolerance)
        is_closed = radius.is_closed or (is_closed and not radius.error)
        return replace(radius, is_closed=is_closed, is_final=radius.is_final or is_closed or is_last)


def _next_place(radius: Radius, grid: list[Fraction]) -> int | None:
    """The place of the grid to ask next: the middle below what nothing was said of, or above it; None at the end."""
    lowest = max(k for k, eps in enumerate(grid) if eps <= radius.lower)
    highest = next((k for k, eps in enumerate(grid) if radius.upper is not None and eps >= radius.upper), len(grid))
    first, last = radius.unknown or (highest, lowest)
    for low, high in ((lowest, min(first, highest)), (max(last, lowest), highest)):
        if high - low > 1:
            return (low + high) // 2
    return None


def _attacks(method: Method) -> bool:
    """Whether the method only attacks."""
    entry = entry_of(method)
    return entry is not None and entry.family == "lower"


def _short(value: float) -> Fraction:
    """A radius of a few digits."""
    return Fraction(f"{value:.{DIGITS}g}")
