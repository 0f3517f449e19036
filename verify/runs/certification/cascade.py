"""Every sample goes through the methods in order and stops at the first one that decides it.

Cheap methods take samples in batches; from the first dear one on, samples go one by one. With several radii the order
of a binary search is taken, and each radius hears what the others have found (see `Outcome.informed_by`). A sample
whose clean prediction is wrong (a tie counts as wrong) is falsified at every radius. A cascade is a value that knows
nothing of stores and workers; it can be sent to other processes.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import takewhile
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from verify.bracket import Bracket, Rigour, Side, Verdict
from verify.errors import Contradiction, InputError, SolverError, UnsupportedMethod
from verify.goals import CLASS, Goal
from verify.ir.front import made
from verify.ir.graph import Network
from verify.ir.guard import compare
from verify.method import Method
from verify.problem import Problem
from verify.runs.certification.outcome import CLEAN, Outcome
from verify.runs.evidence.belief import CHEAP, LOOKS, met, one
from verify.runs.evidence.certificates import Proving, trust_in
from verify.runs.evidence.contradiction import asked_of, crossed, where_kept
from verify.runs.evidence.witness import sample_witness
from verify.runs.options import proof_log_for
from verify.solving import solve

T = TypeVar("T")


@dataclass(frozen=True)
class Cascade:
    """The methods and the problems of a data set.

    Args:
        problems: by radius as text, ascending; of each one case a sample, from `robustness`, on the device to be used.
        x: (batch, *shape) the samples, members of the problems' sets; labels: their classes, None where they have none.
        pictures: of problems whose variables are images and parameters, by radius what makes images of them.
        methods: by name, in the order in which they are tried.
        dear: names of the methods that take samples one by one.
        replay: the original model, which comes after the problems' fronts, flat floats to flat floats, for the
            violations of witnesses; by default the network as it was read. It changes no verdict.
        goal: which classes the outputs stand for.
        proving: how verified samples are certified, or None to leave them as they are.
        timeout: seconds for a sample at a radius. Of what is left of the time of all samples that it is given, a method
            takes at most an equal part; the last one may take all of it.

    A Contradiction makes the samples that it names an error; a SolverError or UnsupportedMethod is the reason why a
    method leaves samples undecided.
    """

    problems: dict[str, Problem]
    x: Tensor
    labels: Sequence[int | None]
    methods: dict[str, Method]
    dear: set[str]
    replay: Callable[[np.ndarray], np.ndarray] | None = None
    proving: Proving | None = None
    timeout: float = inf
    goal: Goal = CLASS
    pictures: Mapping[str, Network] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return next(iter(self.problems.values())).network.device

    @property
    def folder(self) -> Path | None:
        """The folder in which certificates are written, or None."""
        return None if self.proving is None else self.proving.folder

    @cached_property
    def batched(self) -> list[str]:
        """Names of the methods that take samples in batches."""
        return list(takewhile(lambda name: name not in self.dear, self.methods))

    @cached_property
    def single(self) -> list[str]:
        """The methods that take samples one by one."""
        return [name for name in self.methods if name not in self.batched]

    def first(self, index: Sequence[int]) -> list[Outcome]:
        """The outcomes of these samples at every radius after the methods that take batches."""
        clean = [self._finished(o) for o in self._clean(list(index))]
        asked = {eps: [replace(o, eps=eps) for o in clean] for eps in self.problems}
        return self._decided(asked, self.batched, is_last=not self.single)

    def last(self, found: Sequence[Outcome]) -> list[Outcome]:
        """The final outcomes of one sample at the radii at which it is open."""
        return self._decided({o.eps: [o] for o in found}, self.single, is_last=True)

    def restored(self, state: dict[str, Any], point: np.ndarray | None) -> Outcome:
        """See `Outcome.state`."""
        return Outcome.restored(state, point)

    def kept(self, found: Outcome, folder: Path, asked: Mapping[str, Any]) -> Outcome:
        """See `Job.kept`."""
        if found.crossing is None:
            return found
        i, part = found.index, _part(self.problems[found.eps], [found.index])
        bundle = crossed(i, part, *found.crossing, self.methods, found.reasons[0]).bundle
        label = None if found.label is None else torch.tensor([found.label])
        data = {"x": self.x[i : i + 1], "y": label, "asked": asked_of(asked, found.eps)}
        return replace(found, evidence={"bundle": where_kept({**bundle, **data}, folder)}, crossing=None)

    def to(self, device: torch.device | str) -> Cascade:
        """The same cascade on another device."""
        return replace(self, problems={eps: problem.to(device) for eps, problem in self.problems.items()})

    def _decided(self, asked: dict[str, list[Outcome]], names: list[str], is_last: bool) -> list[Outcome]:
        """The outcomes after these methods, radius after radius."""
        known: dict[int, list[Outcome]] = defaultdict(list)
        for eps in search_order(list(asked)):
            outcomes = [self._finished(o.informed_by(known[o.index])) for o in asked[eps]]
            for name in names:
                tried = iter(self._try(eps, name, [o for o in outcomes if not o.is_final]))
                outcomes = [o if o.is_final else self._finished(next(tried)) for o in outcomes]
            for outcome in outcomes:
                known[outcome.index].append(outcome)
        heard = [o if o.is_final else self._finished(o.informed_by(many)) for many in known.values() for o in many]
        return [replace(o, is_final=o.is_final or is_last) for o in heard]

    def _clean(self, index: list[int]) -> list[Outcome]:
        """The outcomes before any method, of the first radius: falsified where the network errs on the sample."""
        start = time.perf_counter()
        eps, problem = next(iter(self.problems.items()))
        part = _part(problem, index)
        points = self.x[torch.tensor(index)].to(part.network.device, part.network.dtype)
        with torch.no_grad():
            y, lower = part.network(points), part.executed(points)
        side = Side(CLEAN, Rigour.FLOAT, "F", "the network's float evaluation")
        whole = Bracket(lower, torch.full_like(lower, torch.inf), points, side)
        seconds = (time.perf_counter() - start) / len(index) / len(self.problems)
        outcomes = []
        for k, (i, prediction) in enumerate(zip(index, self.goal.classes(y), strict=True)):
            first = Outcome(i, eps, self.labels[i], prediction, one(whole, k))
            if bool(lower[k].isnan()):
                outcomes.append(first.failed(CLEAN, "the network's output is not a number"))
            else:
                outcomes.append(first.after(CLEAN, first.bracket, seconds, peak_memory(part)))
        return outcomes

    def _try(self, eps: str, name: str, outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes after one more method, all in one batch."""
        if not outcomes:
            return []
        start = time.perf_counter()
        part, method = _part(self.problems[eps], [o.index for o in outcomes]), self.methods[name]
        proof_log = proof_log_for(method, self.proving and partial(self.proving.margin, part))
        try:
            found: Bracket | str = solve(part, method, self._seconds(name, outcomes), proof_log)
        except Contradiction as crossing:
            wrong = set(crossing.bundle.get("problems", range(len(outcomes))))
            others = iter(self._try(eps, name, [o for k, o in enumerate(outcomes) if k not in wrong]))
            sides = crossing.bundle.get("bracket")
            holders = [(name, None if sides is None else one(sides, k)) for k in range(len(outcomes))]
            return [o.failed(name, str(crossing), (holders[k], holders[k])) if k in wrong else next(others)
                    for k, o in enumerate(outcomes)]
        except (SolverError, UnsupportedMethod) as refusal:
            found = str(refusal)
        if isinstance(found, Bracket) and found.notes.get("stopped") == "interrupted":
            raise KeyboardInterrupt  # what a method saves of an interrupted search is no result
        cost = (time.perf_counter() - start) / len(outcomes), peak_memory(part)
        answers = [found if isinstance(found, str) else one(found, k) for k in range(len(outcomes))]
        pairs = zip(outcomes, answers, strict=True)
        return self._held(eps, name, [replace(o.after(name, a, *cost), proof_log=proof_log) for o, a in pairs])

    def _seconds(self, name: str, outcomes: list[Outcome]) -> float:
        """How long a method may work on these outcomes."""
        left = sum(max(0.0, self.timeout - outcome.seconds) for outcome in outcomes)
        return left / (len(self.methods) - list(self.methods).index(name))

    def _held(self, eps: str, name: str, outcomes: list[Outcome]) -> list[Outcome]:
        """The outcomes, once verdicts of a method that came before all attacks are held against a cheap one.

        It looks at a few samples, those that the network itself is least sure of. Where one of them contradicts, it
        looks at all, and the method is not believed of the others either.
        """
        fresh = [k for k, o in enumerate(outcomes) if o.verdict is Verdict.VERIFIED and not o.attacked]
        fresh.sort(key=lambda k: -float(outcomes[k].bracket.lower[0]))
        held = list(outcomes)
        for looked in (fresh[:LOOKS], fresh[LOOKS:]):
            if not looked:
                break
            part = _part(self.problems[eps], [outcomes[k].index for k in looked])
            found = solve(part, CHEAP)
            for place, k in enumerate(looked):
                held[k] = held[k].met(CHEAP.name, one(found, place))
            if all(held[k].verdict is Verdict.VERIFIED for k in looked):
                break
        wrong = next((o.index for o in held if o.verdict is Verdict.ERROR and o.crossing is not None), None)
        if wrong is None:
            return held
        reason = f"not believed, since a point contradicts what it says of sample {wrong}"
        return [o.doubted(name, reason) if o.verdict is Verdict.VERIFIED else o for o in held]

    def _finished(self, outcome: Outcome) -> Outcome:
        """A decided outcome with its evidence; an undecided one as it is."""
        if outcome.is_final or not outcome.decided:
            return outcome
        part = _part(self.problems[outcome.eps], [outcome.index])
        if outcome.verdict is Verdict.VERIFIED and self.proving is not None:
            outcome = _proved(outcome, self.proving, part)
        if outcome.verdict is Verdict.FALSIFIED and not outcome.evidence:
            assert outcome.bracket.witness is not None
            found = sample_witness(part, outcome.bracket.witness[0].numpy(), self._original(part))
            network = part.network.unmerged or part.network
            if found.executed.holds is False:
                try:
                    compare(network, outcome.bracket.witness)
                except InputError as refusal:
                    return outcome.failed("replay", str(refusal))
            with torch.no_grad():
                (attacked,) = self.goal.classes(part.network(outcome.bracket.witness.to(part.network.device)))
            image = self._image(outcome.eps, outcome.bracket.witness)
            outcome = replace(outcome, evidence={"witness": found.payload(), "attacked": attacked}, image=image)
        return replace(outcome, is_final=True, proof_log=None)

    def _image(self, eps: str, point: Tensor) -> np.ndarray | None:
        """What a point (1, *shape) looks like where it is made of an image and parameters."""
        picture = self.pictures.get(eps)
        return None if picture is None else picture.double()(point.double()).to(point.dtype)[0].numpy()

    def _original(self, problem: Problem) -> Callable[[np.ndarray], np.ndarray]:
        """What replays witnesses of a problem: by default the network as it was read, in its own precision on the CPU.
        """
        if self.replay is not None:
            front, replay = problem.front, self.replay
            return replay if front is None else lambda x: replay(made(front, x[None])[0])
        network = (problem.network.unmerged or problem.network).to("cpu")

        def outputs(x: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return network(torch.from_numpy(x).reshape(1, *network.input_shape)).reshape(-1).numpy()

        return outputs


def search_order(items: Sequence[T]) -> list[T]:
    """The middle first, then the middles of the halves, and so on."""
    order, parts = [], [(0, len(items))]
    for start, end in parts:
        if start < end:
            middle = (start + end) // 2
            order.append(items[middle])
            parts += [(start, middle), (middle + 1, end)]
    return order


def peak_memory(problem: Problem) -> float:
    """The most memory in MiB that this process has had at once, of the problem's device."""
    if problem.network.device.type == "cuda":
        return torch.cuda.max_memory_allocated(problem.network.device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _proved(outcome: Outcome, proving: Proving, problem: Problem) -> Outcome:
    """A verified outcome with its certificate; where there is none it stays, at level F as undecided. A point against
    it is what the outcome then says."""
    proof, kept, files = proving.certify(problem, outcome.index, outcome.eps, outcome.proof_log, outcome.seconds)
    if proof.points is not None:
        outcome = outcome.met("proof", met(problem, proof.points, "proof"))
        if outcome.verdict is not Verdict.VERIFIED:
            return outcome
    outcome = replace(outcome, evidence=kept, files=files)
    if proof.certificate is not None:
        return replace(outcome, verdict=Verdict.CERTIFIED, trusts=trust_in(proof))
    verdict = Verdict.VERIFIED if proving.level == "R" else Verdict.UNKNOWN
    return replace(outcome, verdict=verdict, reasons=(f"no certificate at level {proving.level}: {proof.reason}",))


def _part(problem: Problem, index: list[int]) -> Problem:
    """The samples with these numbers."""
    return problem.select(torch.tensor(index, device=problem.owner.device))
