"""What the results of a certification run add up to at each radius, read from its store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from verify.bracket import Verdict
from verify.runs.certification.confidence import clopper_pearson
from verify.runs.certification.outcome import CLEAN
from verify.runs.engine.store import Store

IMPLIED = "implied"  # what decides a sample that another radius decides


@dataclass(frozen=True)
class Summary:
    """Counts over the samples of a run at one radius.

    Args:
        samples: how many; each is clean wrong, falsified by an attack, verified, undecided or an error.
        clean: samples that the network classifies rightly.
        falsified: of those, how many a method found a witness for.
        verified: proved, `certified` of them with a certificate that the checker accepted, `uncompared` of those
            without that it could compare it with the model file.
        undecided, errors: the others.
        seconds, decided: by method, `clean` first, and decided by another radius, `implied`; memory: the most in MiB
            that a process had at once up to the method.
        reasons: why samples are undecided, with counts; failures: what the errors were.
        uncertified: why verified samples have no certificate, where one was asked for, with counts.
        trusts: what the verdicts rest on, in the order of first use.
        remarks: what witnesses that violate at one level only do, with counts.
        unsettled: the results that are undecided or errors, as the store has them.
        has_classes: whether samples have labels; without them `clean` are those whose outputs are in range.
    """

    samples: int
    clean: int
    falsified: int
    verified: int
    certified: int
    uncompared: int
    undecided: int
    errors: int
    seconds: dict[str, float]
    memory: dict[str, float]
    decided: dict[str, int]
    reasons: dict[str, int]
    uncertified: dict[str, int]
    failures: dict[str, int]
    trusts: dict[str, list[str]]
    remarks: dict[str, int]
    unsettled: list[dict[str, Any]]
    has_classes: bool

    @property
    def population(self) -> tuple[float, float]:
        """Between what the robust accuracy of the population lies, with a confidence of 95 %, if the samples were drawn
        from it independently: at least the verified ones are robust, at most the undecided and the errors as well."""
        return clopper_pearson(self.verified, self.verified + self.undecided + self.errors, self.samples)

    def as_json(self) -> dict[str, Any]:
        """The counts, the limits of the population and the unsettled results as JSON values."""
        return {**asdict(self), "population": list(self.population)}


def summarize(store: Store) -> dict[str, Summary]:
    """The summaries of the results in the store of a `certify` run by radius, ascending."""
    config = store.config
    found: dict[str, list[dict[str, Any]]] = {eps: [] for eps in config["eps"]}
    for key, payload in store.items():
        if key.startswith("sample/"):
            found[payload["eps"]].append(payload)
    return {eps: _summary(results, list(config["methods"])) for eps, results in found.items()}


def measure(has_classes: bool) -> str:
    """What counts over samples with classes, or over a regressor's, are called."""
    return "accuracy" if has_classes else "share in range"


def exit_code(summaries: Iterable[Summary], least: Fraction | None) -> int:
    """4 if a sample met an error; with a least verified share, which every radius must reach: 1 where it is out of
    reach, 3 where it is open; else 0."""
    codes = {4 if s.errors else reached(s, least) for s in summaries}
    return next(code for code in (4, 1, 3, 0) if code in codes)


def reached(summary: Summary, least: Fraction | None) -> int:
    """0 where the least verified share is reached, 1 where it is out of reach, 3 where it is open."""
    if least is None or summary.verified >= least * summary.samples:
        return 0
    return 1 if summary.verified + summary.undecided < least * summary.samples else 3


def _summary(results: list[dict[str, Any]], methods: list[str]) -> Summary:
    """The results at one radius, in any order."""
    results = sorted(results, key=lambda r: r["index"])
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
        uncompared=sum(r["verdict"] == Verdict.CERTIFIED and not r["proof"]["compared"] for r in results),
        undecided=verdicts[Verdict.UNKNOWN],
        errors=verdicts[Verdict.ERROR],
        seconds={name: sum(r["methods"].get(name, {}).get("seconds", 0.0) for r in results) for name in names},
        memory={name: max((r["methods"].get(name, {}).get("memory", 0.0) for r in results), default=0.0)
                for name in names},
        decided=_deciders(results, names),
        reasons=_counted(unsettled, Verdict.UNKNOWN),
        uncertified=_counted(results, Verdict.VERIFIED),
        failures=_counted(unsettled, Verdict.ERROR),
        trusts=trusts,
        remarks=dict(Counter(remark for r in results if (remark := r.get("witness", {}).get("remark"))).most_common()),
        unsettled=unsettled,
        has_classes=any(r["label"] is not None for r in results) or not results,
    )


def _deciders(results: list[dict[str, Any]], names: list[str]) -> dict[str, int]:
    """How many samples each method decided; those that another radius decided are counted apart, if there are any."""
    settled = [r for r in results if r["verdict"] not in (Verdict.UNKNOWN, Verdict.ERROR)]
    count = Counter(IMPLIED if "implied" in r else r["method"] for r in settled)
    others = [name for name in count if name not in names and name != IMPLIED]  # of points that a part met by itself
    return {name: count[name] for name in [*names, *others] + [IMPLIED] * bool(count[IMPLIED])}


def _counted(results: list[dict[str, Any]], verdict: Verdict) -> dict[str, int]:
    """How many results of this verdict give which reason, most frequent first."""
    return dict(Counter(r["reason"] for r in results if r["verdict"] == verdict and r["reason"]).most_common())
