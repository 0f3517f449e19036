"""`gaps`: what the methods leave open between attack and certificate, one figure a sample and method.

Every method answers every sample. A method's certificate is set against the best attack of all methods, the attack of
a method that has no certificate against the best certificate. All answers to one sample must fit together: the first
pair that crosses ends the comparison with what reproduces it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import torch

from verify.bracket import Bracket
from verify.errors import Contradiction, InputError, SolverError, UnsupportedMethod
from verify.method import Method
from verify.problem import Problem
from verify.registry import entry_of
from verify.runs.evidence.contradiction import Holder, crossed
from verify.runs.studies.gap import Gap, Gaps
from verify.solving import solve

CHUNK = 128  # samples of a batch


def gaps(
    problem: Problem, methods: Mapping[str, Method] | Sequence[Method],
    advance: Callable[[int], None] = lambda count: None, timeout: float = inf,
) -> Gaps:
    """The gap of every method on every problem of a batch.

    Args:
        problem: a batch, from `robustness` or `from_vnnlib`.
        methods: values of methods by names of your own, or a sequence of them, which go by their own names.
        advance: is told how many answers (samples times methods) have come in, for a progress bar.
        timeout: seconds for a sample. Of what is left of the time of all samples that it is given, a method takes at
            most an equal part; the last one may take all of it.

    A method that stops at the sign of v* leaves a larger gap than it could: write `PGD(stop_when_falsified=False)` and
    `BranchAndBound(goal="optimum")`. CROWN and AlphaCROWN do not improve a bound that is negative already. Methods
    whose entry says so take batches; all others take the samples one by one, so that their time limits are of one
    sample. UnsupportedMethod, SolverError and time limits become notes.

    Raises Contradiction where two answers to one sample cross, be they of one method or of two. Its `bundle` holds
    "sample" (the index), "problem" (of this sample alone), "attack" and "certificate" (each a dict of "method",
    "settings", "value" and "bracket"; None for a side that is not known), and "witness" (1, *shape) or None.
    Raises InputError for anything but a problem and methods.
    """
    named = _named(problem, methods)
    cheap = [name for name, method in named.items() if _takes_batches(method)]
    dear = [name for name in named if name not in cheap]
    work = _Work(problem, named, advance, dict(zip([*cheap, *dear], range(len(named), 0, -1), strict=True)), timeout)
    for start in range(0, problem.batch if cheap else 0, CHUNK):
        work.ask(cheap, list(range(start, min(start + CHUNK, problem.batch))))
    for index in range(problem.batch if dear else 0):
        work.ask(dear, [index])
    return work.result()


def sample_of(problem: Problem, index: Sequence[int]) -> Problem:
    """The problems of a batch with these numbers, ascending, all their cases included."""
    chosen = torch.tensor(index, device=problem.owner.device)
    cases = torch.isin(problem.owner, chosen).nonzero().flatten()
    owner = torch.searchsorted(chosen, problem.owner[cases])
    return Problem(problem.network, problem.inputs.select(cases), problem.spec.select(cases), owner, len(index))


@dataclass(frozen=True)
class _Answer:
    """What one method said of one sample: a bracket of batch 1, or the note why there is none."""

    bracket: Bracket | None
    seconds: float
    note: str


@dataclass(frozen=True)
class _Known:
    """What all methods so far say of one sample, and which of them holds either side."""

    bracket: Bracket
    attacker: str = ""
    certifier: str = ""


class _Work:
    """The state of a comparison of methods while it runs."""

    def __init__(
        self, problem: Problem, methods: dict[str, Method], advance: Callable[[int], None], ahead: dict[str, int],
        timeout: float,
    ):
        """ahead: how many methods, itself included, share what is left when a method's turn comes."""
        self.problem, self.methods, self.advance = problem, methods, advance
        self.ahead, self.left = ahead, [timeout] * problem.batch
        none = torch.full((1,), -torch.inf, dtype=problem.network.dtype, device=problem.owner.device)
        self.known = [_Known(Bracket(none, -none)) for _ in range(problem.batch)]
        self.answers: dict[str, dict[int, _Answer]] = {name: {} for name in methods}

    def ask(self, names: list[str], index: list[int]) -> None:
        """Lets these methods answer these samples together."""
        part = sample_of(self.problem, index)
        _ = part.merged, part.in_float64  # kept with the problem: no method pays for them
        for name in names:
            answers = self._solve(name, part, index)
            for i, answer in zip(index, answers, strict=True):
                self.answers[name][i] = answer
                self.left[i] -= answer.seconds
                if answer.bracket is not None:
                    self._meet(i, name, answer.bracket)
            self.advance(len(index))

    def result(self) -> Gaps:
        """All rows, once every method has answered."""
        rows = [
            _row(i, name, answers[i], self.known[i].bracket)
            for i in range(self.problem.batch) for name, answers in self.answers.items()
        ]
        return Gaps(self.methods, tuple(rows), tuple(known.bracket for known in self.known))

    def _solve(self, name: str, part: Problem, index: list[int]) -> list[_Answer]:
        start = time.perf_counter()
        try:
            found = solve(part, self.methods[name], sum(max(0.0, self.left[i]) for i in index) / self.ahead[name])
        except Contradiction as crossing:
            raise self._inside(name, index, crossing) from crossing
        except (SolverError, UnsupportedMethod) as refusal:
            seconds = (time.perf_counter() - start) / len(index)
            return [_Answer(None, seconds, " ".join(str(refusal).split()))] * len(index)
        if found.notes.get("stopped") == "interrupted":  # what a method saves of an interrupted search is no result
            raise KeyboardInterrupt
        seconds = (time.perf_counter() - start) / len(index)
        return [_Answer(one := found.select(k), seconds, _note(one)) for k in range(len(index))]

    def _meet(self, i: int, name: str, found: Bracket) -> None:
        """What is known of sample i once this method has answered too."""
        known = self.known[i]
        attacker = name if bool(found.lower[0] > known.bracket.lower[0]) else known.attacker
        certifier = name if bool(found.upper[0] < known.bracket.upper[0]) else known.certifier
        try:
            met = known.bracket.meet(found)
        except Contradiction as crossing:
            attack, certificate = (found if holder == name else known.bracket for holder in (attacker, certifier))
            raise self._crossing(i, (attacker, attack), (certifier, certificate), str(crossing)) from crossing
        self.known[i] = _Known(met, attacker, certifier)

    def _inside(self, name: str, index: list[int], crossing: Contradiction) -> Contradiction:
        """The crossing of one method's own two sides, said of its sample alone."""
        places, bracket = crossing.bundle.get("problems", [0]), crossing.bundle.get("bracket")
        k = places[0] if places and places[0] < len(index) else 0
        one = bracket.select(k) if isinstance(bracket, Bracket) and k < len(bracket.lower) else None
        return self._crossing(index[k], (name, one), (name, one), f"{name}: {crossing}")

    def _crossing(self, i: int, low: Holder, high: Holder, reason: str) -> Contradiction:
        """The error, with its bundle. low, high: who holds the two sides."""
        return crossed(i, sample_of(self.problem, [i]), low, high, self.methods, reason)


def _named(problem: Problem, methods: Mapping[str, Method] | Sequence[Method]) -> dict[str, Method]:
    """The methods by name. Raises InputError for what is no problem, no method, or named twice."""
    if not isinstance(problem, Problem):
        raise InputError(f"gaps takes a problem, not a {type(problem).__name__}; make one with verify.robustness")
    values = list(methods.values()) if isinstance(methods, Mapping) else list(methods)
    for value in values:
        if isinstance(value, type) or not isinstance(value, Method):
            raise InputError(f"gaps takes methods' values, not {value!r:.60}; write for example [verify.CROWN()]")
    names = list(methods) if isinstance(methods, Mapping) else [value.name for value in values]
    if not names:
        raise InputError("gaps has no method to compare; give for example [verify.PGD(), verify.CROWN()]")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two methods are named {name}; pass a dict with names of your own")
    return dict(zip(names, values, strict=True))


def _takes_batches(method: Method) -> bool:
    """Whether the method's class says so."""
    entry = entry_of(method)
    return entry is not None and entry.batched


def _note(one: Bracket) -> str:
    """Why an answer is not more than it is, where there is a reason."""
    if "stopped" in one.notes:
        return " ".join(str(one.notes["stopped"]).split())
    return "no finite bound" if one.above is not None and not bool(one.upper[0] < torch.inf) else ""


def _row(index: int, name: str, answer: _Answer, best: Bracket) -> Gap:
    found = answer.bracket
    lower, upper = (-torch.inf, torch.inf) if found is None else (float(found.lower[0]), float(found.upper[0]))
    attack, certificate = lower, upper
    if found is not None and found.above is not None:
        attack = float(best.lower[0])
    elif found is not None and found.below is not None:
        certificate = float(best.upper[0])
    return Gap(index, name, lower, upper, attack, certificate, answer.seconds, answer.note)
