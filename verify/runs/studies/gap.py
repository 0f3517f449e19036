"""What a comparison of gaps finds: one row a sample and method, and the figures of each method."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from math import inf, nan
from statistics import fmean, median

from verify.bracket import Bracket, Verdict
from verify.errors import InputError
from verify.method import Method


@dataclass(frozen=True)
class Gap:
    """One method on one sample.

    Args:
        index: of the sample in the batch.
        method: the name under which the method was given.
        lower: the method's own bound from below, -inf where it gives none; `upper` its own from above, or inf.
        attack: the lower end of what it is measured by: the best lower bound of all methods beside a certificate, or
            the method's own where it has no certificate; -inf where the method gave nothing.
        certificate: the upper end: the method's own, or the best of all methods beside an attack.
        seconds: wall time, its share of the batch for a method that takes batches.
        note: why there is no answer, or why it is not more than it is; "" if there is nothing to say.
    """

    index: int
    method: str
    lower: float
    upper: float
    attack: float
    certificate: float
    seconds: float
    note: str = ""

    @property
    def gap(self) -> float:
        """certificate - attack, never NaN. It may be negative by as much as floats may cross (`Bracket.check`)."""
        return 0.0 if self.attack == self.certificate else self.certificate - self.attack

    @property
    def verdict(self) -> Verdict:
        """What `attack <= v* <= certificate` says."""
        return _verdict(self.attack, self.certificate)

    @property
    def decides(self) -> Verdict:
        """What the method's own two sides say."""
        return _verdict(self.lower, self.upper)

    @property
    def answered(self) -> bool:
        """Whether the method gave a finite side."""
        return self.lower > -inf or self.upper < inf


@dataclass(frozen=True)
class Figures:
    """One method over all samples: its gaps where it answered, what it decides alone, seconds for a sample."""

    samples: int
    answered: int
    median: float
    mean: float
    largest: float
    verified: int
    falsified: int
    seconds: float
    notes: dict[str, int]


@dataclass(frozen=True)
class Gaps:
    """The answers of all methods to all samples.

    Args:
        methods: by name, in the order given.
        rows: one for each sample and method, sample by sample.
        best: for each sample the bracket that all methods support together, a batch of 1.
    """

    methods: dict[str, Method]
    rows: tuple[Gap, ...]
    best: tuple[Bracket, ...] = field(repr=False)

    def of(self, name: str) -> list[Gap]:
        """The rows of one method, one a sample. Raises InputError for a name that was not given."""
        if name not in self.methods:
            raise InputError(f"no method {name!r} was compared; choose among {', '.join(self.methods)}")
        return [row for row in self.rows if row.method == name]

    @cached_property
    def figures(self) -> dict[str, Figures]:
        """The figures of every method; gaps are NaN for a method that answered no sample."""
        return {name: _figures(self.of(name)) for name in self.methods}


def _verdict(lower: float, upper: float) -> Verdict:
    """The verdict of the two ends together, by the rule of `Bracket.verdicts`."""
    return Verdict.FALSIFIED if lower >= 0 else Verdict.VERIFIED if upper < 0 else Verdict.UNKNOWN


def _figures(rows: list[Gap]) -> Figures:
    values = [row.gap for row in rows if row.answered] or [nan]
    decided = Counter(row.decides for row in rows)
    return Figures(
        samples=len(rows), answered=sum(row.answered for row in rows), median=median(values), mean=fmean(values),
        largest=max(values), verified=decided[Verdict.VERIFIED], falsified=decided[Verdict.FALSIFIED],
        seconds=fmean(row.seconds for row in rows) if rows else nan,
        notes=dict(Counter(row.note for row in rows if row.note)),
    )
