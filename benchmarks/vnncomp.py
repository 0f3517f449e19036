"""Published families, each in one warm process: what `verify vnncomp` finds, beside the gates and aims that it has.

    python benchmarks/vnncomp.py [../shared] [--families acasxu ...] [--out runs/NAME] [--methods A,B] [--timeout S]

Prints the tables of RESULTS.md. Hours, if all families run; --out names the folder of a run that is to be continued.
The exit code is 1 if a verdict is wrong or a gate is missed.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import torch
from peers import Process, names_of, peers_of, read_peers, table

from verify.cli import output
from verify.cli.options import DECIDERS
from verify.runs.competition.instances import Instance
from verify.runs.competition.scores import SOLVED, Score, scores
from verify.runs.competition.vnncomp import plan


@dataclass(frozen=True)
class Mark:
    """What a family has to reach: known verdicts (None: every one) and seconds, none of them wrong."""

    right: int | None = None
    total: float = inf
    median: float = inf
    worst: float = inf

    def __str__(self) -> str:
        parts = ["all" if self.right is None else str(self.right)]
        limits = {"s": self.total, "s median": self.median, "s worst": self.worst}
        return ", ".join(parts + [f"{value:g} {name}" for name, value in limits.items() if value < inf])

    def reached(self, score: Score) -> bool:
        enough = score.right >= (score.known if self.right is None else self.right) and not score.wrong
        return enough and score.total <= self.total and score.median <= self.median and score.worst <= self.worst

    def told(self, score: Score) -> str:
        """The mark and whether it is reached, for a table."""
        return f"{self}: {'reached' if self.reached(score) else '**missed**'}"


@dataclass(frozen=True)
class Target:
    """Gate and aim of a family, and the seconds an instance; None for those of its list."""

    gate: Mark
    aim: Mark
    limit: float | None = None


QUICK = Target(Mark(median=0.15, worst=10), Mark(median=0.05, worst=10))
TARGETS = {
    "test": QUICK, "rl_benchmarks": QUICK, "reach_prob_density": QUICK, "safenlp": QUICK, "collins_rul_cnn": QUICK,
    "acasxu": Target(Mark(total=250, worst=40), Mark(total=120, worst=15)),
    "mnist_fc": Target(Mark(66), Mark(70), 120),
    "oval21": Target(Mark(8), Mark(12), 120),
    "sri_resnet_a": Target(Mark(18), Mark(22), 120),
    "cifar10_resnet": Target(Mark(22), Mark(30), 120),
    "cifar_biasfield": Target(Mark(5), Mark(9), 120),
}
HEAD = ("family", "instances", "unsat", "sat", "known", "new", "wrong", "total s", "median s", "worst s", "gate", "aim")


def row(family: str, score: Score) -> str:
    """One line of the table of families."""
    target = TARGETS[family]
    counts = [score.instances, *(score.answers.get(word, 0) for word in SOLVED)]
    verdicts = [f"{score.right}/{score.known}", score.new, len(score.wrong)]
    seconds = [f"{score.total:.1f}", f"{score.median:.3f}", f"{score.worst:.2f}"]
    marks = [target.gate.told(score), target.aim.told(score)]
    return f"| {' | '.join(map(str, [family, *counts, *verdicts, *seconds, *marks]))} |"


def published(found: dict[str, Score]) -> list[str]:
    """Seconds beside those of the published tools, on whole processes and machines of their own."""
    lines = ["| family | published tool | both solved | verify s | its s | ratio |", "|---" * 6 + "|"]
    for family, score in found.items():
        for tool, peer in score.peers.items():
            sums = f"{peer.instances} | {peer.ours:.1f} | {peer.theirs:.1f} | {peer.ours / peer.theirs:.3f}"
            lines.append(f"| {family} | {tool} | {sums} |")
    return lines


def beside_baselines(shared: Path, results: list[tuple[Instance, dict[str, Any]]]) -> list[str]:
    """Our warm seconds on the instances of the baselines beside the other tools' whole processes."""
    peers, rows = read_peers(shared), []
    for instance, result in results:
        others = peers_of(instance, peers)
        if others:
            verdict = result["answer"] if result["answer"] in SOLVED else ""
            ours = {"verify": Process(verdict, result["seconds"])}
            rows.append((" ".join([instance.family, *names_of(instance)]), instance.known, {**ours, **others}))
    return table(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="with vnncomp/ and baselines/")
    parser.add_argument("--families", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--out", type=Path, default=Path(f"runs/vnncomp-{time.strftime('%Y%m%d-%H%M%S')}"))
    parser.add_argument("--methods", default=DECIDERS)
    parser.add_argument("--timeout", type=float, help="seconds an instance, instead of those of the gates")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Score] = {}
    results: list[tuple[Instance, dict[str, Any]]] = []
    for family in options.families:
        limit = TARGETS[family].limit if options.timeout is None else options.timeout
        planned = plan(options.shared / "vnncomp", [family], options.methods, limit)
        with output.progress(family, len(planned.instances)) as advance:
            answers = planned.run(options.out / family, advance)
        found |= scores(planned.instances, answers)
        results += [(instance, answers[instance.key]) for instance in planned.instances]
        output.note(row(family, found[family]))
    print(f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|")
    print("\n".join([*(row(family, score) for family, score in found.items()), "", *published(found), ""]))
    print("\n".join(beside_baselines(options.shared, results)))
    for score in found.values():
        print("".join(f"WRONG: {text}\n" for text in score.wrong), end="")
    raise SystemExit(0 if all(TARGETS[family].gate.reached(score) for family, score in found.items()) else 1)


if __name__ == "__main__":
    main()
