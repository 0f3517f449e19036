"""Branch and bound: v* from both sides at once, at any time.

An attack raises the lower end, the bounds of a splitting cover of the set sink the upper end, and each helps the other:
the relaxation's maximisers are points to try, and a domain whose bound lies below the best known point is closed. What
is split, inputs or neurons, is the business of a `Frontier`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from numbers import Integral, Real
from typing import Literal, get_args

import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.deadline import deadline, within
from verify.errors import LATE, InputError, OutOfTime
from verify.exact.search.branching_choice import batches, frontier_of, halves_boxes
from verify.exact.search.frontier import Frontier, Proposals
from verify.exact.search.incumbent import Incumbent
from verify.exact.search.level_split import Decided, LevelSplit
from verify.exact.search.limits import Limits, free_memory
from verify.lower.engine.violation import batch_size
from verify.lower.pgd import PGD
from verify.method import Answer
from verify.problem import Problem
from verify.registry import Entry
from verify.upper.crown import CROWN
from verify.upper.duals.proof_log import ProofLog

INTERRUPTED = "interrupted"
Goal = Literal["decide", "optimum"]
PATIENCE = 5  # of the time, one part goes to attacks during the search
ATTACK_STEPS = 30
BOUNDING = 0.5  # of the time that is left, for the first bounds
LAST = 0.1  # of the time of a search, at most, is taken for the bounds of what it leaves open


@Entry(
    name="bab", family="exact", place=90, time_limit=True, proof_log=True,
    help="branch and bound over inputs or neurons, with attacks",
    spread="verify.exact.search.spread.Spread",
    value={"goal": "optimum"},
    defaults={"vnnlib": 1, "radius": 3, "train": 4, "certify": 5, "pytest": 5, "gaps": 6},
)
@dataclass(frozen=True)
class BranchAndBound:
    """The bracket of every case, closed as far as the limits allow.

    Args:
        goal: "decide" stops at the sign of a case's maximum; "optimum" at `gap` between the two sides.
        gap: absolute distance of the two sides at which "optimum" is content.
        time_limit: seconds for the whole problem, or None.
        domains: number of bounded domains after which to stop, or None.
        memory: GiB that open domains may take, by default half of what is free; from half of it on the domains nearest
            to being closed go first.
        seed: of the attack's random starts, which take a share of the time: runs may differ in their witnesses.

    Limits of domains and memory are looked at between batches. Raises InputError for settings out of range.
    """

    goal: Goal = "decide"
    gap: float = 1e-3
    time_limit: float | None = None
    domains: int | None = None
    memory: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.goal not in get_args(Goal):
            raise InputError(f"BranchAndBound has goal={self.goal!r}; choose among {', '.join(get_args(Goal))}")
        for name in ("gap", "time_limit", "domains", "memory"):
            value, kind = getattr(self, name), Integral if name == "domains" else Real
            if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
                noun = "an integer" if name == "domains" else "a number"
                raise InputError(f"BranchAndBound has {name}={value!r}; it must be {noun}")
        if not 0 < self.gap < inf:
            raise InputError(f"BranchAndBound has gap={self.gap}; it must be positive and finite")
        Limits.starting_now(self.time_limit, self.domains, self.memory)

    @property
    def name(self) -> str:
        return "BaB" if self.goal == "decide" else "BaB-optimum"

    def answer(self, problem: Problem, proof_log: ProofLog | None = None) -> Answer:
        """Upper bounds and the best point of every case. The proof log is told what a proof of them needs (goal
        "decide"), see `verify.proof`.

        `notes`: "domains" bounded, and "stopped" with the reason where a limit, or Ctrl-C, ended the search early.

        Sound because the domains of a case cover its set and the largest of their bounds in float64 bounds the case
        (see `Frontier.certified`); trusts what `Rounding` does.
        """
        return Search(problem, self, self.limits(problem), proof_log=proof_log).answer()

    def limits(self, problem: Problem) -> Limits:
        """The limits of a search that begins now."""
        memory = free_memory(problem.owner.device) / 2 if self.memory is None else self.memory
        return Limits.starting_now(self.time_limit, self.domains, memory)


def never() -> bool:
    """Nobody asks this search to stop: it ends by its own limits."""
    return False


def decided(problem: Problem, limits: Limits) -> Decided:
    """What a search of a problem's signs finds within these limits. Raises KeyboardInterrupt where it was interrupted.
    """
    search = Search(problem, BranchAndBound(), limits)
    search.run()
    if search.stopped == INTERRUPTED:
        raise KeyboardInterrupt
    return Decided(search.upper, search.incumbent.points, search.domains)


class Search:
    """One run over the cases of a problem: `upper` (cases,) and `incumbent` are the bracket so far.

    Args:
        explore: what is done with a frontier over some cases (n,) long; by default `advance`.
        proof_log: is told what a proof needs.
    """

    def __init__(
        self, problem: Problem, settings: BranchAndBound, limits: Limits,
        explore: Callable[[Search, Frontier, Tensor], None] | None = None, proof_log: ProofLog | None = None,
    ):
        self.problem, self.settings, self.limits, self.proof_log = problem, settings, limits, proof_log
        self.explore = Search.advance if explore is None else explore
        self.decides = settings.goal == "decide"
        self.margin = 0.0 if proof_log is None else proof_log.margin
        self.incumbent = Incumbent(problem, stop_when_falsified=self.decides)
        self.upper = torch.full((problem.cases,), torch.inf, dtype=torch.float64, device=problem.owner.device)
        self.domains, self.domains_before = 0, 0  # bounded so far, and before the frontier at hand
        self.start = time.perf_counter()
        # attacks during the search: how many, seconds, starts of the last one
        self.attacks, self.attacking, self.starts = 0, 0.0, 8
        self.stopped = ""

    def answer(self) -> Answer:
        """Runs, and returns what is known then."""
        self.run()
        notes: dict[str, object] = {"domains": self.domains}
        if self.stopped:
            notes["stopped"] = self.stopped
        return Answer(self.upper, self.incumbent.points, Rigour.FLOAT, notes=notes)

    def run(self) -> None:
        """Attacks, bounds all cases once, then splits what is open; a limit or Ctrl-C ends it with what is known."""
        try:
            with within(self.limits.deadline):
                self.incumbent.attack(PGD(seed=self.settings.seed, stop_when_falsified=self.decides))
                self._bound(self._unsettled())
                self.split()
        except OutOfTime:
            self.stopped = LATE
        except KeyboardInterrupt:
            self.stopped = INTERRUPTED

    def split(self) -> None:
        """Splits what is open until a limit is reached."""
        try:
            for cases in batches(self.problem, self._unsettled()):
                self._split(cases, self.proof_log)
            if self.proof_log is not None and self.problem.inputs.levels is not None:  # what the box does not prove
                for cases in batches(self.problem, self._unsettled()):
                    self._split(cases, None)
        except OutOfTime:
            self.stopped = LATE
        if len(self._unsettled()) and not self.stopped:
            self.stopped = "no part can be split further: what is left is rounding, or the shape of the set"

    def _attack(self, cases: Tensor) -> None:
        """Random starts in what is left of these cases, with every call twice as many and others."""
        cases = cases[self.cutoff(cases).isfinite()]
        if not len(cases):
            return
        start = time.perf_counter()
        self.starts = max(1, min(2 * self.starts, batch_size(self.problem) // len(cases)))
        self.attacks += 1
        attack = PGD(ATTACK_STEPS, self.starts, 1.0, self.settings.seed + self.attacks, self.decides)
        self.incumbent.attack(attack, cases)
        self.attacking += time.perf_counter() - start

    def _bound(self, cases: Tensor) -> None:
        if len(cases):
            with within(deadline().part(BOUNDING)):
                upper = CROWN("decide").answer(self.problem.select(cases)).upper
            assert upper is not None
            self.upper[cases] = upper

    def _split(self, cases: Tensor, proof_log: ProofLog | None) -> None:
        """Searches these cases until they are settled or a limit is reached."""
        record = None if proof_log is None else proof_log.open(cases)
        part, cutoff = self.problem.select(cases), self.cutoff(cases)
        if part.inputs.levels is not None and record is None and not bool(halves_boxes(part).all()):
            frontier: Frontier = LevelSplit(part, cutoff, self.limits, halves_boxes, decided)
        else:
            frontier = frontier_of(part, cutoff, self.limits, record)
        self.domains_before = self.domains
        self._lower(frontier, cases, torch.inf)  # an interruption falls back on this
        began = time.perf_counter()
        self.explore(self, frontier, cases)
        self._lower(frontier, cases, LAST * (time.perf_counter() - began))

    def advance(self, frontier: Frontier, cases: Tensor, is_enough: Callable[[], bool] = never) -> None:
        """Splits the domains of these cases until they are closed, a limit is reached or, after a step, it is
        enough."""
        while bool(frontier.is_open().any()) and not self.is_over(frontier):
            before = self.incumbent.values.clone()
            proposals = frontier.step(self.cutoff(cases), self.limits)
            self.sink(frontier, cases)
            self.domains = self.domains_before + frontier.domains
            self.incumbent.consider(proposals._replace(cases=cases[proposals.cases]))
            self._climb(frontier, cases, before)
            if time.perf_counter() - self.start > PATIENCE * self.attacking:
                self._attack(cases)
            if is_enough():
                break

    def is_over(self, frontier: Frontier) -> bool:
        """Whether a limit is reached; `stopped` then says which."""
        self.stopped = self.limits.reached(self.domains, frontier.pool.bytes) or ""
        return bool(self.stopped)

    def sink(self, frontier: Frontier, cases: Tensor) -> None:
        """Lowers the upper ends of those of these cases that are closed to the frontier's. To be called between its
        steps: only there do its domains cover the sets."""
        closed = torch.where(frontier.is_open(), torch.inf, frontier.closed)
        self.upper[cases] = self.upper[cases].minimum(closed)

    def _lower(self, frontier: Frontier, cases: Tensor, seconds: float) -> None:
        """Lowers the upper ends of these cases to the frontier's, where open domains can be bounded in that time."""
        self.upper[cases] = self.upper[cases].minimum(frontier.certified(seconds))

    def _climb(self, frontier: Frontier, cases: Tensor, before: Tensor) -> None:
        """Lets the frontier climb from points that are new since `before`, in cases that are open."""
        new = (self.incumbent.values > before)[cases] & self.cutoff(cases).isfinite() & frontier.is_open()
        for place in new.nonzero().flatten().tolist():
            case = cases[place, None]
            point = frontier.climb(place, self.incumbent.points[case])
            if point is not None:
                self.incumbent.consider(Proposals(case, point))

    def cutoff(self, cases: Tensor) -> Tensor:
        """The bound below which a domain of each case needs no further look; inf for settled cases."""
        value = self.incumbent.values[cases].double()
        if self.decides:
            return torch.where(value >= 0, torch.inf, -self.margin).to(value)
        return value + self.settings.gap

    def _unsettled(self) -> Tensor:
        """The cases whose bracket is not closed far enough, (n,) long."""
        value = self.incumbent.values.double()
        if self.decides:
            return ((value < 0) & ~(self.upper < -self.margin)).nonzero().flatten()
        return (~(self.upper <= value + self.settings.gap)).nonzero().flatten()
