"""Verdicts of `verify vnnlib` on published instances beside the known ones, in one warm process.

    python benchmarks/verdicts.py [../shared] [--families test acasxu ...] [--timeout 2]

A verdict is wrong where `sat` meets a known `unsat` or the other way round. `sat` was replayed in onnxruntime.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from pathlib import Path

import torch

from verify.errors import VerifyError
from verify.runs.decide import decide
from verify.runs.options import Home, homes_of

FAMILIES = ("test", "rl_benchmarks", "reach_prob_density", "collins_rul_cnn", "mnist_fc", "safenlp", "acasxu")


def run(folder: Path, homes: dict[str, Home], timeout: float) -> bool:
    """Prints one line for a family and one for each wrong verdict or error; whether no verdict was wrong."""
    with (folder / "expected.csv").open() as file:
        instances = list(csv.DictReader(file))
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    for row in instances:
        name = f"{row['onnx']} {row['vnnlib']}"
        try:
            answer = decide(folder / row["onnx"], folder / row["vnnlib"], homes, timeout).answer
        except VerifyError as problem:
            answer = "error"
            print(f"  error: {name}: {problem}")
        counts[str(answer)] += 1
        if {str(answer), row["verdict"]} == {"sat", "unsat"}:
            counts["WRONG"] += 1
            print(f"  WRONG: {name}: {answer}, known {row['verdict']}")
    known = Counter(row["verdict"] for row in instances)
    seconds = time.perf_counter() - start
    shown = "  ".join(f"{key} {counts[key]}/{known[key]}" for key in ("sat", "unsat"))
    rest = "  ".join(f"{key} {counts[key]}" for key in ("unknown", "timeout", "error"))
    print(f"{folder.name:20} {len(instances):4}  {shown}  {rest}  wrong {counts['WRONG']}  {seconds:.0f} s", flush=True)
    return not counts["WRONG"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="folder with vnncomp/")
    parser.add_argument("--families", nargs="*", default=FAMILIES)
    parser.add_argument("--methods", default="pgd,interval,crown,milp")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds an instance")
    options = parser.parse_args()
    torch.set_num_threads(1)
    homes, folder = homes_of(options.methods), options.shared / "vnncomp"
    fine = [run(folder / family, homes, options.timeout) for family in options.families]
    raise SystemExit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
