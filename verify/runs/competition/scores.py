"""What the results of a campaign add up to, family by family."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

from verify.runs.competition.instances import PEERS, Instance
from verify.runs.competition.vnncomp import ERROR

SOLVED = ("unsat", "sat")
EXPECTED_ERRORS = ("InputError", "UnsupportedOp")  # a file or a network that the toolkit refuses; others are faults


@dataclass(frozen=True)
class Peer:
    """A published tool on the instances that it and the run both solved: how many, and the seconds of both."""

    instances: int
    ours: float
    theirs: float


@dataclass(frozen=True)
class Score:
    """Counts over instances.

    Args:
        instances: how many; each is in one of `answers`, which counts unsat, sat, unknown, timeout and error.
        known: instances with a known verdict; right: of those, the ones answered so; wrong: answered otherwise.
        new: solved instances without a known verdict.
        total, median, worst: seconds.
        peers: published tools by name, where there is something to compare with.
        reasons: why instances are errors, with counts.
        faults: errors that are no refusals of a file or a network.
        certified: unsat with a certificate, None where no proofs were asked for; uncompared: those of them that the
            checker could not compare with the model file.
        uncertified: why others have none, with counts.
    """

    instances: int
    answers: dict[str, int]
    known: int
    right: int
    wrong: list[str]
    new: int
    total: float
    median: float
    worst: float
    peers: dict[str, Peer]
    reasons: dict[str, int]
    faults: int
    certified: int | None
    uncompared: int
    uncertified: dict[str, int]

    @property
    def solved(self) -> int:
        """How many instances were answered sat or unsat."""
        return sum(self.answers.get(word, 0) for word in SOLVED)


def scores(instances: list[Instance], results: dict[str, dict[str, Any]]) -> dict[str, Score]:
    """The score of every family among the instances, each of which has its result under its key."""
    families = dict.fromkeys(instance.family for instance in instances)
    return {
        name: _score([(i, results[i.key]) for i in instances if i.family == name])
        for name in families
    }


def summary_lines(results: dict[str, dict[str, Any]]) -> list[str]:
    """What properties hardly mean, each once with the properties of which it is said."""
    files: dict[str, list[str]] = {}
    for result in results.values():
        for text in result.get("warnings", ()):
            files.setdefault(text, []).append(f"{result['family']}/{result['vnnlib']}")
    return [f"{names[0]}{f' and {len(names) - 1} others' if len(names) > 1 else ''}: {text}"
            for text, names in files.items()]


def exit_code(found: dict[str, Score]) -> int:
    """1 if a verdict is wrong, 4 if an instance met a fault of the program, else 0."""
    if any(score.wrong for score in found.values()):
        return 1
    return 4 if any(score.faults for score in found.values()) else 0


def _score(pairs: list[tuple[Instance, dict[str, Any]]]) -> Score:
    solved = [(i, r) for i, r in pairs if r["answer"] in SOLVED]
    wrong = [(i, r) for i, r in solved if i.known and r["answer"] != i.known]
    errors = [r for _, r in pairs if r["answer"] == ERROR]
    seconds = [r["seconds"] for _, r in pairs]
    asked = [r for _, r in pairs if "proof" in r]
    return Score(
        instances=len(pairs),
        answers=dict(Counter(r["answer"] for _, r in pairs)),
        known=sum(bool(i.known) for i, _ in pairs),
        right=sum(r["answer"] == i.known for i, r in solved),
        wrong=[f"{i.family} {i.onnx} {i.vnnlib}: {r['answer']}, known {i.known}" for i, r in wrong],
        new=sum(not i.known for i, _ in solved),
        total=sum(seconds),
        median=median(seconds),
        worst=max(seconds),
        peers={tool: peer for tool in PEERS if (peer := _peer(tool, solved)) is not None},
        reasons=dict(Counter(r["reason"] for r in errors).most_common()),
        faults=sum(r["kind"] not in EXPECTED_ERRORS for r in errors),
        certified=sum(r["proof"]["certified"] for r in asked) if asked else None,
        uncompared=sum(r["proof"]["certified"] and not r["proof"]["compared"] for r in asked),
        uncertified=dict(Counter(r["reason"] for r in asked if not r["proof"]["certified"]).most_common()),
    )


def _peer(tool: str, solved: list[tuple[Instance, dict[str, Any]]]) -> Peer | None:
    both = [(r["seconds"], i.peers[tool]) for i, r in solved if tool in i.peers]
    return Peer(len(both), *map(sum, zip(*both, strict=True))) if both else None
