"""Certifies a data set: every sample goes through the methods in order and stops at the first one that decides it.

Cheap methods take samples in batches; from the first dear one on, samples go one by one. A sample whose clean
prediction is wrong (a tie counts as wrong) is falsified at eps 0. Each outcome goes to the store once it is final, so
an interrupted run continues where it stopped, and tables are made from the store alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.bracket import Bracket, Rigour, Side, Verdict
from verify.errors import Contradiction, SolverError, UnsupportedMethod
from verify.method import Method
from verify.problem import Problem
from verify.runs.options import journaled
from verify.runs.proving import CHECKER, Proving
from verify.runs.store import Store, json_bounds
from verify.runs.witness import sample_witness
from verify.solving import solve
from verify.upper.journal import Journal

CHUNK = 128  # samples of a batch
CLEAN = "clean"  # what decides a misclassified sample, as if it were a method


@dataclass(frozen=True)
class Outcome:
    """What is known of one sample; `bracket` has a batch of 1."""

    index: int
    label: int
    prediction: int
    bracket: Bracket
    verdict: Verdict = Verdict.UNKNOWN
    method: str | None = None
    reasons: tuple[str, ...] = ()
    trusts: str = ""
    tried: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # lower, upper, seconds of each method
    journal: Journal | None = field(default=None, repr=False)  # of the search that verified it
    proof: dict[str, Any] = field(default_factory=dict)  # what is kept of the proof, as JSON

    def after(self, name: str, found: Bracket | str, seconds: float) -> Outcome:
        """The outcome once method `name` has answered with a bracket, or with the reason why it could not."""
        if isinstance(found, str):
            nothing = (-torch.inf, torch.inf, seconds)
            return replace(self, reasons=(*self.reasons, f"{name}: {found}"), tried={**self.tried, name: nothing})
        tried = {**self.tried, name: (float(found.lower[0]), float(found.upper[0]), seconds)}
        try:
            met = self.bracket.meet(found)
        except Contradiction as crossing:
            return replace(self, tried=tried).failed(name, str(crossing))
        reasons = (*self.reasons, *_reason(name, found))
        outcome = replace(self, bracket=met, verdict=met.verdicts[0], reasons=reasons, tried=tried)
        return replace(outcome, method=name, reasons=(), trusts=_trusts(met)) if outcome.decided else outcome

    def failed(self, name: str, reason: str) -> Outcome:
        """The outcome of a sample that met an error, which is never a verdict."""
        return replace(self, verdict=Verdict.ERROR, method=name, reasons=(f"{name}: {reason}",))

    def proved(self, proving: Proving, problem: Problem) -> Outcome:
        """A verified outcome with its certificate; where there is none it stays, at level F as undecided."""
        proof, name = proving.certify(problem, self.index, self.journal)
        kept = {"proof": proof.payload(), **({} if name is None else {"certificate": name})}
        if proof.certificate is not None:
            return replace(self, verdict=Verdict.CERTIFIED, trusts=CHECKER, proof=kept)
        verdict = Verdict.VERIFIED if proving.level == "R" else Verdict.UNKNOWN
        reason = f"no certificate at level {proving.level}: {proof.reason}"
        return replace(self, verdict=verdict, reasons=(reason,), proof=kept)

    @property
    def decided(self) -> bool:
        return self.verdict is not Verdict.UNKNOWN

    def payload(self) -> dict[str, Any]:
        """As JSON; a missing bound is null."""
        bounds = json_bounds(float(self.bracket.lower[0]), float(self.bracket.upper[0]))
        tried = {
            name: {**json_bounds(low, high), "seconds": seconds} for name, (low, high, seconds) in self.tried.items()
        }
        reason = "" if self.verdict in (Verdict.CERTIFIED, Verdict.FALSIFIED) else "; ".join(self.reasons)
        if self.verdict is Verdict.UNKNOWN and not reason:
            reason = "the bounds leave a gap"
        head = {"index": self.index, "label": self.label, "prediction": self.prediction}
        decision = {"verdict": str(self.verdict), "method": self.method, "reason": reason, "trusts": self.trusts}
        return {**head, **decision, **bounds, **self.proof, "methods": tried}

    def arrays(self) -> dict[str, np.ndarray]:
        """The witness of a falsified sample, (*shape)."""
        if self.verdict is not Verdict.FALSIFIED or self.bracket.witness is None:
            return {}
        return {"witness": self.bracket.witness[0].cpu().numpy()}


def certify(
    problem: Problem, x: Tensor, labels: Sequence[int], methods: dict[str, Method], dear: set[str], store: Store,
    advance: Callable[[int], None] = lambda count: None, replay: Callable[[np.ndarray], np.ndarray] | None = None,
    proving: Proving | None = None,
) -> None:
    """Brings every sample of the problem to an outcome in the store, under the key "sample/<index>".

    Args:
        problem: one case a sample, from `robustness`, on the device to be used.
        x: (batch, *shape) the samples, members of the problem's sets; labels: their classes.
        methods: by name, in the order in which they are tried.
        dear: names of the methods that take samples one by one.
        store: of this run; samples that it has are left out.
        advance: is told how many samples have become final, for a progress bar.
        replay: the original model, flat floats to flat floats, for the violations of witnesses; by default the network
            as it was read. It changes no verdict.
        proving: how verified samples are certified, or None to leave them as they are.

    A Contradiction makes the samples that it names an error; a SolverError or UnsupportedMethod is the reason why a
    method leaves samples undecided.
    """
    done = store.keys()
    pending = [i for i in range(problem.batch) if _key(i) not in done]
    advance(problem.batch - len(pending))
    batched = list(takewhile(lambda name: name not in dear, methods))
    single = [name for name in methods if name not in batched]

    original = replay or _outputs(problem)

    def keep(outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if proving is not None and outcome.verdict is Verdict.VERIFIED:
                outcome = outcome.proved(proving, _part(problem, [outcome.index]))
            payload, arrays = outcome.payload(), outcome.arrays()
            if arrays:
                found = sample_witness(_part(problem, [outcome.index]), arrays["witness"], original)
                payload["witness"] = found.payload()
            store.put(_key(outcome.index), payload, arrays)
        advance(len(outcomes))

    for start in range(0, len(pending), CHUNK):
        outcomes = _clean(problem, x, labels, pending[start : start + CHUNK])
        keep([o for o in outcomes if o.decided])
        for name in batched:
            outcomes = _try(problem, name, methods[name], [o for o in outcomes if not o.decided])
            keep([o for o in outcomes if o.decided])
        for outcome in (o for o in outcomes if not o.decided):
            for name in single:
                if not outcome.decided:
                    margin = None if proving is None else partial(proving.margin, _part(problem, [outcome.index]))
                    method, journal = journaled(methods[name], margin)
                    outcome = replace(_try(problem, name, method, [outcome])[0], journal=journal)
            keep([outcome])


def _outputs(problem: Problem) -> Callable[[np.ndarray], np.ndarray]:
    """The network as it was read, in its own precision on the CPU, as a function of one flat input."""
    network = (problem.network.unmerged or problem.network).to("cpu")

    def outputs(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(x).reshape(1, *network.input_shape)).reshape(-1).numpy()

    return outputs


def _clean(problem: Problem, x: Tensor, labels: Sequence[int], index: list[int]) -> list[Outcome]:
    """The outcomes before any method: falsified where the network errs on the sample itself."""
    start = time.perf_counter()
    part = _part(problem, index)
    points = x[torch.tensor(index)].to(part.network.device, part.network.dtype)
    with torch.no_grad():
        y = part.network(points)
        lower = part.spec.violation(points, y)
    side = Side(CLEAN, Rigour.FLOAT, "F", "the network's float evaluation")
    whole = Bracket(lower, torch.full_like(lower, torch.inf), points, side)
    seconds = (time.perf_counter() - start) / len(index)
    outcomes = []
    for k, (i, prediction) in enumerate(zip(index, y.flatten(1).argmax(1).tolist(), strict=True)):
        first = Outcome(i, int(labels[i]), prediction, _one(whole, k))
        if bool(lower[k].isnan()):
            outcomes.append(first.failed(CLEAN, "the network's output is not a number"))
        else:
            outcomes.append(first.after(CLEAN, first.bracket, seconds))
    return outcomes


def _try(problem: Problem, name: str, method: Method, outcomes: list[Outcome]) -> list[Outcome]:
    """The outcomes after one more method, all in one batch."""
    if not outcomes:
        return []
    start = time.perf_counter()
    part = _part(problem, [o.index for o in outcomes])
    try:
        bracket = _as_read(part, solve(part, method))
    except Contradiction as crossing:
        return _contradicted(problem, name, method, outcomes, crossing)
    except (SolverError, UnsupportedMethod) as refusal:
        return [o.after(name, str(refusal), (time.perf_counter() - start) / len(outcomes)) for o in outcomes]
    if bracket.notes.get("stopped") == "interrupted":  # what a method saves of an interrupted search is no result
        raise KeyboardInterrupt
    seconds = (time.perf_counter() - start) / len(outcomes)
    return [o.after(name, _one(bracket, k), seconds) for k, o in enumerate(outcomes)]


def _contradicted(
    problem: Problem, name: str, method: Method, outcomes: list[Outcome], crossing: Contradiction
) -> list[Outcome]:
    """The samples whose sides cross become errors; the others are tried again without them."""
    crossed = set(crossing.bundle.get("problems", range(len(outcomes))))
    failed = [o.failed(name, str(crossing)) for k, o in enumerate(outcomes) if k in crossed]
    return failed + _try(problem, name, method, [o for k, o in enumerate(outcomes) if k not in crossed])


def _as_read(problem: Problem, bracket: Bracket) -> Bracket:
    """The bracket with its witnesses replayed on the network as it was read, where rewrites have changed it."""
    if bracket.witness is None or problem.network.unmerged is None:
        return bracket
    with torch.no_grad():
        original = replace(problem, network=problem.network.unmerged).violation(bracket.witness)
    return replace(bracket, lower=torch.where(original.isnan(), -torch.inf, bracket.lower.minimum(original)))


def _part(problem: Problem, index: list[int]) -> Problem:
    """The samples with these numbers."""
    return problem.select(torch.tensor(index, device=problem.owner.device))


def _one(bracket: Bracket, k: int) -> Bracket:
    """Problem k of a batch."""
    witness = None if bracket.witness is None else bracket.witness[k : k + 1]
    return replace(bracket, lower=bracket.lower[k : k + 1], upper=bracket.upper[k : k + 1], witness=witness)


def _reason(name: str, bracket: Bracket) -> tuple[str, ...]:
    """Why a method that answered did not decide, where there is more to say than that the bounds leave a gap."""
    if "stopped" in bracket.notes:
        return (f"{name}: {bracket.notes['stopped']}",)
    if bracket.above is not None and not bool(torch.isfinite(bracket.upper[0])):
        return (f"{name}: no finite bound",)
    return ()


def _trusts(bracket: Bracket) -> str:
    """What the side that decides rests on."""
    side = bracket.above if bracket.verdicts[0] is Verdict.VERIFIED else bracket.below
    return "" if side is None else side.trusts


def _key(index: int) -> str:
    return f"sample/{index}"
