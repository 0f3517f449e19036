"""Certificates of published instances: how many known unsat get one, and what proving and checking cost.

    python benchmarks/proofs.py ../shared --families acasxu mnist_fc --level R

Every known unsat is searched and proved by `decide` in this process, its certificate is checked again against the model
file, as `verify check` does, and each known sat is handed to the prover for some seconds, which must find nothing.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

import verify
from verify.check.checker import check
from verify.problem import from_vnnlib
from verify.proof.prover import prove
from verify.runs.competition.decide import InstanceResult, decide, read_network
from verify.runs.competition.instances import Instance, read_families
from verify.runs.options import entries_of

FAMILIES = ["acasxu", "mnist_fc", "rl_benchmarks", "reach_prob_density", "collins_rul_cnn"]
PATIENCE = 3.0  # seconds for a proof of what has a counterexample


@dataclass
class Tally:
    """What the instances of a family came to."""

    unsat: int = 0
    certified: int = 0
    searching: float = 0.0
    proving: float = 0.0
    checking: float = 0.0
    largest: int = 0
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def line(self, name: str, level: str) -> str:
        """One row of the table."""
        spent = self.searching + self.proving
        ratio = self.checking / spent if spent else 0.0
        return (f"| {name} | {level} | {self.certified} of {self.unsat} | {self.searching:.1f} | {self.proving:.1f} | "
                f"{self.checking:.1f} | {ratio:.2f} | {self.largest / 1e6:.2f} | {len(self.wrong)} |")


def prove_unsat(instance: Instance, level: str, seconds: float, tally: Tally) -> None:
    """Searches, proves and checks one instance."""
    tally.unsat += 1
    start = time.perf_counter()
    decision = decide(*instance.files, entries_of("bab"), seconds, proof=level)
    spent, proof = time.perf_counter() - start, decision.proof
    proving = 0.0 if proof is None else proof.seconds
    tally.searching, tally.proving = tally.searching + spent - proving, tally.proving + proving
    if decision.answer is InstanceResult.SAT:
        tally.wrong.append(instance.key)
    if proof is None or proof.certificate is None:
        files = " ".join(Path(name).name for name in (instance.onnx, instance.vnnlib))
        tally.missing.append(f"{instance.key} {files}: {decision.answer}, {decision.reason}")
        return
    start = time.perf_counter()
    report = check(proof.certificate, level, model=instance.files[0].read_bytes())
    tally.checking += time.perf_counter() - start
    tally.largest = max(tally.largest, len(proof.certificate))
    if report.accepted:
        tally.certified += 1
    else:
        tally.missing.append(f"{instance.key}: {report.reason}")


def refuse_sat(instance: Instance, level: str, tally: Tally) -> None:
    """Asks for a proof of what is false."""
    asked = verify.read_vnnlib(instance.files[1])
    problem = from_vnnlib(read_network(instance.files[0]), asked)
    if prove(problem, asked, level, seconds=PATIENCE).certificate is not None:
        tally.wrong.append(instance.key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"))
    parser.add_argument("--families", nargs="+", default=FAMILIES)
    parser.add_argument("--level", choices=("R", "F"), default="R")
    parser.add_argument("--seconds", type=float, default=120.0, help="for each instance, the proof included")
    parser.add_argument("--sat", action="store_true", help="also ask for proofs of every known sat")
    given = parser.parse_args()
    if not (given.shared / "vnncomp").is_dir():
        print(f"skipped: there are no published benchmarks in {given.shared}")
        return
    torch.set_num_threads(1)
    print("| family | level | certified | search s | proof s | check s | check / both | largest MB | wrong |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, instances in read_families(given.shared / "vnncomp", given.families).items():
        tally = Tally()
        for instance in instances:
            if instance.known == "unsat":
                prove_unsat(instance, given.level, given.seconds, tally)
            elif instance.known == "sat" and given.sat:
                refuse_sat(instance, given.level, tally)
        print(tally.line(name, given.level), flush=True)
        for text in (*tally.missing, *(f"WRONG {key}" for key in tally.wrong)):
            print(f"  {text}", flush=True)


if __name__ == "__main__":
    main()
