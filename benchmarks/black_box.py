"""How many known counterexamples a search finds where files are only executed, and that it says nothing else.

    python benchmarks/black_box.py ../shared --timeout 8

Every file is taken as one that no front-end represents: values are onnxruntime's, gradients torch's where the file
converts. At most six instances of each family with a known `sat`, and two with a known `unsat`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from verify.ir.graph import Network
from verify.ir.opaque.entry import opaque
from verify.runs.competition.decide import decide
from verify.runs.competition.instances import Instance, read_families
from verify.runs.options import entries_of

FAMILIES = ("acasxu", "rl_benchmarks", "mnist_fc", "collins_rul_cnn", "sri_resnet_a", "reach_prob_density", "safenlp",
            "cctsdb_yolo")


def chosen(instances: list[Instance], known: str, step: int, most: int) -> list[Instance]:
    """Every so many of the instances with this known verdict."""
    return [instance for instance in instances if instance.known == known][::step][:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="the folder of vnncomp/")
    parser.add_argument("--timeout", type=float, default=8.0, help="seconds for an instance")
    parser.add_argument("--families", nargs="*", default=FAMILIES)
    given = parser.parse_args()

    def read(path: Path) -> Network:
        return opaque(path)

    table, wrong = Table("family", "known sat", "found", "known unsat", "unknown", "seconds"), 0
    for name, instances in read_families(given.shared / "vnncomp", given.families).items():
        start, answers = time.perf_counter(), {}
        for known, step, most in (("sat", 4, 6), ("unsat", 9, 2)):
            answers[known] = [str(decide(*instance.files, entries_of("bab"), given.timeout, read=read).answer)
                              for instance in chosen(instances, known, step, most)]
        wrong += answers["sat"].count("unsat") + answers["unsat"].count("unsat") + answers["unsat"].count("sat")
        hoped = {"sat": "sat", "unsat": "unknown"}
        row = [str(n) for known, word in hoped.items() for n in (len(answers[known]), answers[known].count(word))]
        table.add_row(name, *row, f"{time.perf_counter() - start:.1f}")
    Console().print(table)
    if wrong:
        raise SystemExit(f"{wrong} wrong verdicts")


if __name__ == "__main__":
    main()
