"""The numbers of a report: what the records of a run add up to at each eps, with their uncertainty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from verify.runs.certification.confidence import clopper_pearson
from verify.runs.certification.records import CERTIFIED, CLEAN, ERROR, FALSIFIED, UNKNOWN, VERIFIED, Record, Run

MISCLASSIFIED = "misclassified"  # of the kinds of a record, which are otherwise its verdicts
KINDS = (CERTIFIED, VERIFIED, UNKNOWN, FALSIFIED, MISCLASSIFIED, ERROR)  # from good to bad
OUT_OF_RANGE = "out of range"  # the same where samples have no classes
WORDS = {UNKNOWN: "undecided"}  # what readers see instead of the stored word


@dataclass(frozen=True)
class Level:
    """The counts of a run at one eps.

    Args:
        eps: as text; radius: as a number.
        samples: with a result at this eps.
        counts: by kind, all of `KINDS`.
        clean, attacked, verified: rightly classified samples; those without a witness; those proved.
        interval: of the population's robust accuracy, at `CONFIDENCE`.
    """

    eps: str
    radius: float
    samples: int
    counts: dict[str, int]
    clean: int
    attacked: int
    verified: int
    interval: tuple[float, float]

    @property
    def undecided(self) -> int:
        """Samples that are neither proved nor falsified, errors among them."""
        return self.attacked - self.verified


@dataclass(frozen=True)
class Cost:
    """What a method cost over all records: how many it was tried on and decided, seconds, largest peak memory."""

    method: str
    tried: int
    decided: int
    seconds: float
    share: float
    memory: float | None


def kind_of(record: Record) -> str:
    """The verdict, told apart where a falsified sample is misclassified without any perturbation."""
    return MISCLASSIFIED if (record.verdict, record.method) == (FALSIFIED, CLEAN) else record.verdict


def word(kind: str, has_classes: bool = True) -> str:
    """A kind for people, of samples with classes or of a regressor's."""
    return OUT_OF_RANGE if kind == MISCLASSIFIED and not has_classes else WORDS.get(kind, kind)


def levels(run: Run) -> list[Level]:
    """The counts at each eps of the run, smallest eps first."""
    return [_level(eps, [record for record in run.records if record.eps == eps]) for eps in run.eps]


def costs(run: Run) -> list[Cost]:
    """One for each method, in the run's order."""
    total = sum(record.seconds for record in run.records)
    found = []
    for method in run.methods:
        efforts = [record.methods[method] for record in run.records if method in record.methods]
        seconds = sum(effort.seconds or 0.0 for effort in efforts)
        memory = max((effort.memory for effort in efforts if effort.memory is not None), default=None)
        decided = sum(record.method == method and record.verdict not in (UNKNOWN, ERROR) and not record.implied
                      for record in run.records)
        found.append(Cost(method, len(efforts), decided, seconds, seconds / total if total else 0.0, memory))
    return found


def implied(run: Run) -> int:
    """How many records follow from the result at another eps."""
    return sum(record.implied is not None for record in run.records)


def trusts(run: Run) -> list[tuple[str, str, int]]:
    """(what is trusted, the methods that it concerns, how many verdicts), most frequent first."""
    decided = [record for record in run.records if record.trusts and record.verdict not in (UNKNOWN, ERROR)]
    counted = Counter(record.trusts for record in decided).most_common()
    return [(what, ", ".join(dict.fromkeys(r.method for r in decided if r.trusts == what and r.method)), count)
            for what, count in counted]


def reasons(run: Run) -> list[tuple[str, str, int]]:
    """(kind, reason, how many) for what is undecided or an error, and for what is verified but lacks a certificate."""
    given = [record for record in run.records if record.reason and record.verdict in (UNKNOWN, ERROR, VERIFIED)]
    counted = Counter((record.verdict, record.reason) for record in given)
    return [(verdict, reason, count) for (verdict, reason), count in counted.most_common()]


def remarks(run: Run) -> list[tuple[str, int]]:
    """What witnesses that violate at one level only do, with counts."""
    return Counter(record.remark for record in run.records if record.remark).most_common()


def _level(eps: str, records: Sequence[Record]) -> Level:
    counts = Counter(map(kind_of, records))
    wrong = counts[MISCLASSIFIED] + sum(r.verdict == ERROR and r.method == CLEAN for r in records)
    clean, verified = len(records) - wrong, counts[VERIFIED] + counts[CERTIFIED]
    attacked = clean - counts[FALSIFIED]
    every = {kind: counts[kind] for kind in KINDS}
    interval = clopper_pearson(verified, attacked, len(records))
    return Level(eps, float(Fraction(eps)), len(records), every, clean, attacked, verified, interval)
