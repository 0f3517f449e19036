"""An upper bound on how many samples one perturbation fools: a program that counts, refined where it is too large."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.deadline import Deadline, deadline, within
from verify.errors import LATE, InputError, OutOfTime, UnsupportedMethod
from verify.exact.branch_and_bound import BranchAndBound
from verify.solving import beside_its_source, solve
from verify.uap.climb import climbed
from verify.uap.conflicts import Elements, cliques, pairs
from verify.uap.counting import CountingProgram
from verify.uap.halving import FEW, halved
from verify.uap.lines import SharedLines, SharedRelaxation
from verify.uap.method import BestDelta, SharedAnswer, SharedMethod
from verify.uap.problem import SharedProblem
from verify.uap.separation import Separation
from verify.uap.together import Choice, alone, together

SINGLE, HALVING, COUNTING, DECIDING, CONFIRMING = 0.2, 0.5, 0.4, 0.3, 0.5  # of the time that is left at each
TANGENTS = 4  # rounds of lines that are tight where the program's point is
SHRINKING = 1.5  # times the time of the first decision, for each smaller set
MOMENT = 1e-3  # seconds
CHOICES = 256  # ways to choose rows of samples that are decided at once


@dataclass(frozen=True)
class UAPBound(SharedMethod):
    """At most so many of the samples are fooled by any one perturbation of the ball.

    Each row of each sample lies below a line in the perturbation. A mixed-integer program counts how many samples the
    lines allow at one perturbation (Zeng et al., ICLR 2023). Its answer is looked at: at its perturbation the samples
    are attacked; lines that are tight there are added; what the lines of several samples exclude together, or a branch
    and bound over these samples side by side (as RACoon and RABBit bound samples together, 2024), is not counted again.
    Where few inputs vary, boxes of perturbations are halved first.

    Args:
        time_limit: seconds, or None; then it ends once the bracket closes or nothing refines it further.

    Raises InputError for a limit that is not positive.
    """

    time_limit: float | None = 60.0

    def __post_init__(self) -> None:
        if self.time_limit is not None and not self.time_limit > 0:
            raise InputError(f"UAPBound has time_limit={self.time_limit}; it must be positive")

    @property
    def name(self) -> str:
        return "bound"

    def answer(self, problem: SharedProblem, best: BestDelta) -> SharedAnswer:
        """The bound with the perturbations that were met on the way.

        `notes`: "programs" and "lines" of the last one, "exclusions" of several samples, "boxes" that were halved,
        "stopped" with the reason where the bracket is open.

        Sound because a sample is fooled only where a line of it is >= 0, and the parts say why the rest is; trusts
        float64 rounding, and HiGHS's dual bound where the rigour says so.
        """
        if problem.network.refusal:
            raise UnsupportedMethod(f"UAPBound needs the graph of the network, but {problem.network.refusal}; leave it "
                                    "out, or make a network with verify.trace or verify.load")
        search = _Search(problem, best)
        with within(Deadline.after(self.time_limit)), suppress(OutOfTime):
            search.run()
        stopped = {} if search.upper <= best.count else {"stopped": search.stopped or LATE}
        trusts = "; ".join(filter(None, [
            "HiGHS's dual bound" if search.rigour == Rigour.SOLVER else "float rounding",
            beside_its_source(problem.each, torch.ones(problem.count, dtype=torch.bool, device=problem.x.device))
            if search.upper < problem.count else "",
        ]))
        notes = {**search.notes, **stopped}
        return SharedAnswer((best.delta,), search.upper, search.rigour, trusts, search.single, notes)


class _Search:
    """The state of one bound: `upper`, how it was established, and what is known of elements."""

    def __init__(self, problem: SharedProblem, best: BestDelta):
        self.problem, self.best = problem, best
        self.upper, self.rigour = problem.count, Rigour.FLOAT
        self.single = (0, problem.count)
        self.stopped = ""
        self.notes: dict[str, object] = {"programs": 0, "exclusions": 0}
        self.rules: list[tuple[list[int], int]] = []  # of these elements at most so many count

    def run(self) -> None:
        """Refines until the bracket closes, nothing helps or time is over."""
        self.relaxation = SharedRelaxation(self.problem)
        first = self.relaxation.first()
        is_open = ~(first.most(self.relaxation.ball) < 0)
        self.lines = first.take(is_open.nonzero().flatten())
        self.lines = self.lines.take(self._alone(self.lines))
        self.elements = Elements(self.lines.owner.cpu().numpy(), self.lines.row.cpu().numpy())
        self.element, self.first = np.arange(len(self.elements)), self.lines
        self._lower(len(self.elements.samples), Rigour.FLOAT)
        few = int(self.problem.ball.varies.sum()) <= FEW
        if few and not self.closed:
            with within(deadline().part(HALVING)):
                upper, self.notes["boxes"] = halved(self.problem, self.best)
            self._lower(upper, Rigour.FLOAT)
        if self.closed:
            return
        self.separation = Separation(self.relaxation.ball)
        self.conflicts = pairs(self.lines, self.relaxation.ball)
        self.rules = [(members, 1) for members in cliques(self.conflicts)]
        program, goes_on = None, True
        while goes_on and not self.closed:
            program, goes_on = self._count()
        if program is not None and self.rigour == Rigour.SOLVER:
            with within(deadline().part(CONFIRMING)):
                if program.proves(self.upper):
                    self.rigour = Rigour.FLOAT

    @property
    def closed(self) -> bool:
        """Whether a perturbation is known that fools as many as the bound allows."""
        return self.upper <= self.best.count

    def _lower(self, upper: int, rigour: Rigour) -> None:
        if upper < self.upper:
            self.upper, self.rigour = upper, rigour

    def _alone(self, lines: SharedLines) -> Tensor:
        """The positions of those of these lines whose rows a perturbation of their sample's own may violate."""
        violated = torch.zeros(len(lines.owner), dtype=torch.bool, device=lines.owner.device)
        left = ~violated
        if len(lines.owner):
            seconds = SINGLE * deadline().left
            method = BranchAndBound(time_limit=seconds if seconds < float("inf") else None)
            with within(deadline().part(2 * SINGLE)):
                bracket = solve(alone(self.problem.each, lines.owner, lines.row), method)
            left, violated = ~(bracket.upper < 0), bracket.lower >= 0
        self.single = len(torch.unique(lines.owner[violated])), len(torch.unique(lines.owner[left]))
        return left.nonzero().flatten()

    def _count(self) -> tuple[CountingProgram, bool]:
        """One program, what its answer teaches, and whether that is something."""
        program = CountingProgram(self.lines, self.element, self.elements, self.relaxation.ball, self.rules,
                                  self.separation.cuts)
        with within(deadline().part(COUNTING)):
            counted = program.solve()
        self.notes["programs"], self.notes["lines"] = int(str(self.notes["programs"])) + 1, len(self.element)
        if counted.upper < self.best.count:
            self.stopped = "HiGHS claims a bound that a perturbation refutes"
            return program, False
        self._lower(counted.upper, Rigour.SOLVER)
        if self.closed:
            return program, False
        if len(counted.chosen) <= self.best.count:
            self.stopped = LATE if not counted.is_optimal else "the program's point is no point of the ball"
            return program, False
        return program, self._learns(counted.chosen)

    def _learns(self, chosen: list[int]) -> bool:
        """Whether these elements are excluded together, or a perturbation fools their samples, and nothing else."""
        for _ in range(TANGENTS):
            mine = np.flatnonzero(np.isin(self.element, chosen))
            lines = self.lines.take(torch.from_numpy(mine).to(self.lines.owner.device))
            separated = self.separation.of(lines)
            if separated.weights is not None:
                used = set(self.element[mine[separated.weights.cpu().numpy() > 0]].tolist())
                self._exclude(sorted(used), len(used) - 1)
                return True
            if separated.delta is None:
                break
            if self._attacked(separated.delta, chosen) or not self._touched(chosen, separated.delta):
                break
        return self.best.count >= len(chosen) or self._decided(chosen)

    def _exclude(self, elements: list[int], most: int) -> None:
        self.rules.append((elements, most))
        self.notes["exclusions"] = int(str(self.notes["exclusions"])) + 1

    def _attacked(self, delta: Tensor, chosen: list[int]) -> bool:
        """Whether a perturbation near this one fools as many samples as these elements have."""
        self.best.offer(delta)
        if self.best.count < len(chosen):
            samples = torch.from_numpy(self.elements.owner[chosen]).to(delta.device)
            self.best.offer(climbed(self.problem, delta, samples))
        return self.best.count >= len(chosen)

    def _touched(self, chosen: list[int], delta: Tensor) -> bool:
        """Adds lines of these elements that are tight at a perturbation, where one of them is negative there."""
        at = torch.from_numpy(np.array(chosen)).to(self.lines.owner.device)
        new = self.relaxation.near(self.first.take(at), delta)
        cuts = new.at(delta) < -1e-9 * new.offset.abs()
        if not bool(cuts.any()):
            return False
        self.lines = self.lines + new.take(cuts.nonzero().flatten())
        self.element = np.concatenate([self.element, np.array(chosen)[cuts.cpu().numpy()]])
        return True

    def _decided(self, chosen: list[int]) -> bool:
        """Whether branch and bound over the samples of these elements side by side excludes them together, or a
        perturbation fools as many. What is excluded is made as small as that leaves it."""
        if self.problem.each.spec.exact is not None or self.problem.each.spec.in_float64 is not None:
            self.stopped = "the samples' thresholds are no floats of the network"
            return False
        start = time.perf_counter()
        found = self._excluded_within(deadline().part(DECIDING), chosen)
        patience = SHRINKING * (time.perf_counter() - start)
        if found is None:
            if self.best.count < len(chosen):
                self.stopped = "branch and bound over several samples had no time for more"
            return self.best.count >= len(chosen)
        for e in list(chosen):
            rest = [other for other in chosen if other != e]
            if len(rest) < 2 or self.closed:
                break
            smaller = self._excluded_within(min(deadline().part(DECIDING), Deadline.after(patience)), rest)
            chosen, found = (chosen, found) if smaller is None else (rest, smaller)
        self._exclude(found, len(chosen) - 1)
        return True

    def _excluded_within(self, limit: Deadline, chosen: list[int]) -> list[int] | None:
        """What `_excluded_together` shows by then."""
        with suppress(OutOfTime), within(limit):
            return self._excluded_together(chosen)
        return None

    def _excluded_together(self, chosen: list[int]) -> list[int] | None:
        """The elements of which fewer count than are chosen, by branch and bound over their samples: all elements of
        these samples, where there are few ways to choose rows of them. None where that is not shown."""
        samples = self.elements.owner[chosen].tolist()
        sets = choices(self.elements, samples, self.conflicts)
        rows: list[Choice] = [[(int(self.elements.owner[e]), int(self.elements.row[e])) for e in c]
                              for c in ([chosen] if sets is None else sets)]
        if rows:
            seconds = deadline().left
            method = BranchAndBound(time_limit=max(seconds, MOMENT) if seconds < float("inf") else None)
            bracket = solve(together(self.problem, rows), method)
            if bracket.witness is not None:
                self.best.offer(bracket.witness[0])
            if not bool(bracket.upper[0] < 0):
                return None
        return chosen if sets is None else np.flatnonzero(np.isin(self.elements.owner, samples)).tolist()


def choices(elements: Elements, samples: list[int], conflicts: np.ndarray) -> list[list[int]] | None:
    """All ways to choose an element of each sample without a conflict of two; None where they are too many."""
    found: list[list[int]] = [[]]
    for sample in samples:
        own = np.flatnonzero(elements.owner == sample).tolist()
        found = [[*chosen, e] for chosen in found for e in own if not conflicts[e, chosen].any()]
        if len(found) > CHOICES:
            return None
    return found
