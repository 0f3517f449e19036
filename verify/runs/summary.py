"""What the results of a certification run add up to, read from its store."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from verify.bracket import Verdict
from verify.runs.certify import CLEAN
from verify.runs.store import Store


@dataclass(frozen=True)
class Summary:
    """Counts over the samples of a run.

    Args:
        samples: how many; each is clean wrong, falsified by an attack, verified, undecided or an error.
        clean: samples that the network classifies rightly.
        falsified: of those, how many a method found a witness for.
        verified: proved, `certified` of them with a certificate that the checker accepted.
        undecided, errors: the others.
        seconds, decided: by method, `clean` first.
        reasons: why samples are undecided, with counts; failures: what the errors were.
        uncertified: why verified samples have no certificate, where one was asked for, with counts.
        trusts: what the verdicts rest on, in the order of first use.
        remarks: what witnesses that violate at one level only do, with counts.
        unsettled: the results that are undecided or errors, as the store has them.
    """

    samples: int
    clean: int
    falsified: int
    verified: int
    certified: int
    undecided: int
    errors: int
    seconds: dict[str, float]
    decided: dict[str, int]
    reasons: dict[str, int]
    uncertified: dict[str, int]
    failures: dict[str, int]
    trusts: dict[str, list[str]]
    remarks: dict[str, int]
    unsettled: list[dict[str, Any]]

    def exit_code(self, least: Fraction | None) -> int:
        """4 if a sample met an error; with a least verified share: 0 reached, 1 out of reach, 3 open; else 0."""
        if self.errors:
            return 4
        if least is None or self.verified >= least * self.samples:
            return 0
        return 1 if self.verified + self.undecided < least * self.samples else 3

    def as_json(self) -> dict[str, Any]:
        """The counts and the unsettled results as JSON values."""
        return asdict(self)


def summarize(store: Store, methods: list[str]) -> Summary:
    """The summary of the results in the store of a `certify` run with these methods."""
    results = sorted((payload for _, payload in store.items()), key=lambda r: r["index"])
    verdicts = Counter(r["verdict"] for r in results)
    wrong = sum(r["verdict"] == Verdict.FALSIFIED and r["method"] == CLEAN for r in results)
    unsettled = [r for r in results if r["verdict"] in (Verdict.UNKNOWN, Verdict.ERROR)]
    names = [CLEAN, *methods]
    trusts: dict[str, list[str]] = {}
    for r in results:
        if r["trusts"] and r["method"] not in trusts.setdefault(r["trusts"], []):
            trusts[r["trusts"]].append(r["method"])
    return Summary(
        samples=len(results),
        clean=len(results) - wrong - sum(r["verdict"] == Verdict.ERROR and r["method"] == CLEAN for r in results),
        falsified=verdicts[Verdict.FALSIFIED] - wrong,
        verified=verdicts[Verdict.VERIFIED] + verdicts[Verdict.CERTIFIED],
        certified=verdicts[Verdict.CERTIFIED],
        undecided=verdicts[Verdict.UNKNOWN],
        errors=verdicts[Verdict.ERROR],
        seconds={name: sum(r["methods"].get(name, {}).get("seconds", 0.0) for r in results) for name in names},
        decided={name: sum(r["method"] == name and r not in unsettled for r in results) for name in names},
        reasons=_counted(unsettled, Verdict.UNKNOWN),
        uncertified=_counted(results, Verdict.VERIFIED),
        failures=_counted(unsettled, Verdict.ERROR),
        trusts=trusts,
        remarks=dict(Counter(remark for r in results if (remark := r.get("witness", {}).get("remark"))).most_common()),
        unsettled=unsettled,
    )


def _counted(results: list[dict[str, Any]], verdict: Verdict) -> dict[str, int]:
    """How many results of this verdict give which reason, most frequent first."""
    return dict(Counter(r["reason"] for r in results if r["verdict"] == verdict and r["reason"]).most_common())
