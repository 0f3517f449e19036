"""What is known of one sample at one radius, and how it travels: between methods, radii, processes and the store.

v* grows with the radius, for the set does. So a bound at a larger radius, and a witness at a smaller one, say something
of this one too; sides of two radii that cross are a contradiction like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch

from verify.bracket import Bracket, Rigour, Side, Verdict
from verify.errors import Contradiction
from verify.runs.engine.store import StoreEntry, json_bounds
from verify.runs.evidence.contradiction import Holder
from verify.upper.duals.proof_log import ProofLog

CLEAN = "clean"  # what decides a misclassified sample, as if it were a method


class Tried(NamedTuple):
    """What a method found, in what time, and the most memory in MiB that its process has had so far."""

    lower: float
    upper: float
    seconds: float
    memory: float


@dataclass(frozen=True)
class Outcome:
    """What is known of sample `index` at radius `eps`; `bracket` has a batch of 1 and is on the CPU.

    Args:
        eps: the radius, a rational as text.
        label, prediction: classes, the second of the sample itself; None where outputs are no classes.
        method: what decided it; reasons: why it is undecided; trusts: what the verdict rests on.
        tried: what each method found.
        implied: the radius whose outcome decided this one too.
        is_final: whether nothing is left to be tried.
        evidence: violations of the witness and what is kept of the proof, as JSON.
        image: what a perturbation makes of sample and parameters that are the witness, or None.
        files: certificates to be written, by name.
        proof_log: of the search that verified it.
        crossing: who holds the two sides of a contradiction, attack and certificate.
    """

    index: int
    eps: str
    label: int | None
    prediction: int | None
    bracket: Bracket
    verdict: Verdict = Verdict.UNKNOWN
    method: str | None = None
    reasons: tuple[str, ...] = ()
    trusts: str = ""
    tried: dict[str, Tried] = field(default_factory=dict)
    implied: str | None = None
    is_final: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)
    image: np.ndarray | None = field(default=None, repr=False)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    proof_log: ProofLog | None = field(default=None, repr=False)
    crossing: tuple[Holder, Holder] | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """What the methods so far have taken for it."""
        return sum(tried.seconds for tried in self.tried.values())

    @property
    def key(self) -> str:
        return f"sample/{self.index}/{self.eps}"

    @property
    def decided(self) -> bool:
        return self.verdict is not Verdict.UNKNOWN

    @property
    def attacked(self) -> bool:
        """Whether a method has looked at points of the set beside the sample itself."""
        return any(t.lower > -torch.inf for name, t in self.tried.items() if name != CLEAN)

    def after(self, name: str, found: Bracket | str, seconds: float, memory: float) -> Outcome:
        """The outcome once method `name` has answered with a bracket, or with the reason why it could not."""
        if isinstance(found, str):
            nothing = Tried(-torch.inf, torch.inf, seconds, memory)
            return replace(self, reasons=(*self.reasons, f"{name}: {found}"), tried={**self.tried, name: nothing})
        ends = float(found.lower[0]), float(found.upper[0])
        outcome = replace(self, tried={**self.tried, name: Tried(*ends, seconds, memory)})
        reasons = tuple(dict.fromkeys((*self.reasons, *_reason(name, found))))
        return replace(outcome, reasons=reasons).met(name, found)

    def informed_by(self, others: Iterable[Outcome]) -> Outcome:
        """The outcome once it has heard what the same sample's outcomes at other radii say of this one."""
        outcome = self
        for other in others:
            if outcome.decided or other.verdict is Verdict.ERROR or other.eps == self.eps:
                continue
            if Fraction(other.eps) > Fraction(self.eps):
                free = torch.full_like(other.bracket.lower, -torch.inf)
                said = Bracket(free, other.bracket.upper, above=other.bracket.above)
            else:
                free = torch.full_like(other.bracket.upper, torch.inf)
                said = replace(other.bracket, upper=free, above=None, notes={}, marks=None)
            outcome = outcome.met(other.method or "radius", said)
            if outcome.decided:
                outcome = replace(outcome, implied=other.eps)._with_evidence_of(other)
        return outcome

    def failed(self, name: str, reason: str, crossing: tuple[Holder, Holder] | None = None) -> Outcome:
        """The outcome of a sample that met an error, which is never a verdict."""
        reasons = (f"{name}: {reason}",)
        return replace(self, verdict=Verdict.ERROR, method=name, reasons=reasons, is_final=True, crossing=crossing)

    def doubted(self, name: str, reason: str) -> Outcome:
        """The outcome before any method answered, with all its times: a method has bounded another sample falsely."""
        free = torch.full_like(self.bracket.upper, torch.inf)
        bracket = replace(self.bracket, upper=free, above=None)
        return replace(self, bracket=bracket, verdict=Verdict.UNKNOWN, method=None, reasons=(f"{name}: {reason}",))

    def met(self, name: str, found: Bracket) -> Outcome:
        """The outcome once it is known what `name` has found too."""
        try:
            met = self.bracket.meet(found)
        except Contradiction as crossing:
            return self.failed(name, str(crossing), self._holders(name, found))
        outcome = replace(self, bracket=met, verdict=met.verdicts[0])
        if outcome.verdict is self.verdict:
            return outcome
        return replace(outcome, method=name, reasons=(), trusts=_trusts(met)) if outcome.decided else outcome

    def _holders(self, name: str, found: Bracket) -> tuple[Holder, Holder]:
        """Who holds the two sides that cross, where `found` is what is new."""
        def holder(end: str, side: Side | None) -> Holder:
            value = float(getattr(self.bracket, end)[0])
            known = (n for n, tried in self.tried.items() if n != name and getattr(tried, end) == value)
            return next(known, "radius" if side is None else side.method), self.bracket

        attack = holder("lower", self.bracket.below), bool(found.lower[0] > self.bracket.lower[0])
        certificate = holder("upper", self.bracket.above), bool(found.upper[0] < self.bracket.upper[0])
        low, high = ((name, found) if is_new else old for old, is_new in (attack, certificate))
        return low, high

    def _with_evidence_of(self, other: Outcome) -> Outcome:
        """The verdict that another radius implies, with the witness or the certificate that it stands on."""
        if self.verdict is Verdict.FALSIFIED and other.verdict is Verdict.FALSIFIED:
            return replace(self, evidence=other.evidence, image=other.image)
        if self.verdict is Verdict.VERIFIED and other.verdict is Verdict.CERTIFIED:
            return replace(self, verdict=Verdict.CERTIFIED, trusts=other.trusts, evidence=other.evidence)
        return self

    def result(self, sample: np.ndarray) -> StoreEntry:
        """For the store; a falsified sample (*shape) is kept with its witness, where that is image and parameters with
        the image that is made of them. A missing bound is null."""
        reason = "" if self.verdict in (Verdict.CERTIFIED, Verdict.FALSIFIED) else "; ".join(self.reasons)
        if self.verdict is Verdict.UNKNOWN and not reason:
            reason = "the bounds leave a gap"
        payload = {**self._head(), "verdict": str(self.verdict), "method": self.method, "reason": reason,
                   "trusts": self.trusts, **({} if self.implied is None else {"implied": self.implied}),
                   **self.evidence}
        arrays = {}
        if self.verdict is Verdict.FALSIFIED and self.bracket.witness is not None:
            arrays = {"input": sample, "witness": self.bracket.witness[0].numpy()}
        if arrays and self.image is not None:
            before = sample[: self.image.size].reshape(self.image.shape)
            arrays = {"input": before, "witness": self.image, "variables": arrays["witness"]}
        return StoreEntry(self.key, payload, arrays)

    def state(self) -> tuple[dict[str, Any], np.ndarray | None]:
        """An undecided outcome as JSON, and its best point (*shape)."""
        sides = {name: None if side is None else [side.method, str(side.rigour), side.level, side.trusts]
                 for name, side in (("below", self.bracket.below), ("above", self.bracket.above))}
        point = None if self.bracket.witness is None else self.bracket.witness[0].numpy()
        return {**self._head(), **sides, "reasons": list(self.reasons), "dtype": str(self.bracket.lower.dtype)}, point

    @classmethod
    def restored(cls, state: dict[str, Any], point: np.ndarray | None) -> Outcome:
        """The undecided outcome of such a state."""
        kind = getattr(torch, state["dtype"].removeprefix("torch."))
        low, high = -torch.inf if state["lower"] is None else state["lower"], _above(state)
        lower, upper = (torch.tensor([end], dtype=kind) for end in (low, high))
        sides = (state["below"], state["above"])
        below, above = (None if s is None else Side(s[0], Rigour(s[1]), *s[2:]) for s in sides)
        witness = None if point is None else torch.from_numpy(point.copy())[None]
        tried = {
            name: Tried(-torch.inf if t["lower"] is None else t["lower"], _above(t), t["seconds"], t["memory"])
            for name, t in state["methods"].items()
        }
        bracket = Bracket(lower, upper, witness, below, above)
        return cls(state["index"], state["eps"], state["label"], state["prediction"], bracket,
                   reasons=tuple(state["reasons"]), tried=tried)

    def _head(self) -> dict[str, Any]:
        tried = {name: {**json_bounds(t.lower, t.upper), "seconds": t.seconds, "memory": t.memory}
                 for name, t in self.tried.items()}
        return {"index": self.index, "eps": self.eps, "label": self.label, "prediction": self.prediction,
                **json_bounds(float(self.bracket.lower[0]), float(self.bracket.upper[0])), "methods": tried}


def _above(values: dict[str, Any]) -> float:
    return torch.inf if values["upper"] is None else values["upper"]


def _reason(name: str, bracket: Bracket) -> tuple[str, ...]:
    """Why a method that answered did not decide, where there is more to say than that the bounds leave a gap."""
    told = (str(bracket.notes["refused"]),) if "refused" in bracket.notes else ()
    if "stopped" in bracket.notes:
        return (*told, f"{name}: {bracket.notes['stopped']}")
    if bracket.above is not None and not bool(torch.isfinite(bracket.upper[0])):
        return (*told, f"{name}: no finite bound")
    return told


def _trusts(bracket: Bracket) -> str:
    """What the side that decides rests on."""
    side = bracket.above if bracket.verdicts[0] is Verdict.VERIFIED else bracket.below
    return "" if side is None else side.trusts
