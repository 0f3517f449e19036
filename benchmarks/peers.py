"""Whole processes on the instances of the baselines: ours, measured now, beside what the baselines say of other tools.

    python benchmarks/peers.py [../shared] [--families test acasxu] [--timeout 116] [--rival NAME=COMMAND]

A rival is run in turn with ours on the same instances; its command is given to bash with {onnx}, {vnnlib}, {timeout}
and {results} filled in, and its verdict is the first word of the results file. Packed files are unpacked for it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from verify.cli.options import DECIDERS
from verify.runs.competition.instances import Instance, read_families

FAMILIES = {"collins_rul": "collins_rul_cnn"}  # the baselines' name of a family -> its folder
NAMES = (  # the baselines' name of an instance -> the names of its files; by default the name of one of them
    (r"p(\d+)_n(\d_\d)", r"ACASXU_run2a_\2_batch_2000 prop_\1"),
    (r"x(\d)_p(\d+_[\d.]+)", r"mnist-net_256x\1 prop_\2"),
    (r"(small|full)_window_(\d+)_(.+)", r"NN_rul_\1_window_\2 \3"),
    (r"resnet2b_pgd_filtered_(.+)", r"resnet_2b \1"),
)
WORDS = {"sat": "sat", "violated": "sat", "unsat": "unsat", "holds": "unsat"}


@dataclass(frozen=True)
class Process:
    """What a whole process said, "" for no verdict, and its wall seconds."""

    verdict: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:.2f}" if self.verdict else "-"


Peers = dict[tuple[str, str], dict[str, Process]]


def read_peers(shared: Path) -> Peers:
    """(family, names of the files) -> tool -> its best run on that instance."""
    found: Peers = {}
    with (shared / "baselines" / "peers.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            family = FAMILIES.get(row["family"], row["family"])
            pattern, names = next((rule for rule in NAMES if re.fullmatch(rule[0], row["instance"])), ("$", ""))
            tools = found.setdefault((family, re.sub(pattern, names, row["instance"])), {})
            run, tool = Process(WORDS.get(row["result"], ""), float(row["wall_s"])), row["tool"].split()[0]
            tools[tool] = min(tools.get(tool, run), run, key=lambda r: (not r.verdict, r.seconds))
    return found


def names_of(instance: Instance) -> list[str]:
    """The names of its model and property, without folders and endings."""
    return [re.sub(r"\.(onnx|vnnlib)(\.gz)?$", "", path.name) for path in instance.files]


def peers_of(instance: Instance, peers: Peers) -> dict[str, Process]:
    """The baselines' runs on an instance, by tool."""
    onnx, vnnlib = names_of(instance)
    keys = ((instance.family, name) for name in (f"{onnx} {vnnlib}", vnnlib, onnx))
    return next((peers[key] for key in keys if key in peers), {})


def table(rows: Iterable[tuple[str, str, dict[str, Process]]]) -> list[str]:
    """Markdown: a row an instance, given as (name, known verdict, process by tool) with ours as "verify", and for each
    other tool the seconds of both on what both solved, and their ratio."""
    rows = list(rows)
    tools = list(dict.fromkeys(tool for *_, runs in rows for tool in runs))
    lines = [f"| instance | known | {' | '.join(f'{tool} s' for tool in tools)} |", "|---" * (len(tools) + 2) + "|"]
    for name, known, runs in rows:
        verdicts = {run.verdict for run in runs.values() if run.verdict} | ({known} if known else set())
        remark = " **verdicts differ**" if len(verdicts) > 1 else ""
        lines.append(f"| {name}{remark} | {known or '?'} | {' | '.join(str(runs.get(tool, '')) for tool in tools)} |")
    lines += ["", "| tool | both solved | verify s | its s | verify / tool | solved by it alone | by verify alone |"]
    lines += ["|---" * 7 + "|"]
    for tool in tools:
        if tool != "verify":
            lines.append(_totals(tool, [(runs["verify"], runs[tool]) for *_, runs in rows if tool in runs]))
    return lines


def _totals(tool: str, pairs: list[tuple[Process, Process]]) -> str:
    both = [(ours.seconds, its.seconds) for ours, its in pairs if ours.verdict and its.verdict]
    mine, theirs = (sum(column) for column in zip(*both, strict=True)) if both else (0.0, 0.0)
    alone = [sum(bool(a.verdict) > bool(b.verdict) for a, b in order) for order in ([(y, x) for x, y in pairs], pairs)]
    ratio = f"{mine / theirs:.2f}" if both else ""
    return f"| {tool} | {len(both)} | {mine:.1f} | {theirs:.1f} | {ratio} | {alone[0]} | {alone[1]} |"


def run_ours(instance: Instance, timeout: float, methods: str) -> Process:
    """`verify vnnlib` in a process of its own."""
    command = [sys.executable, "-m", "verify.cli.main", "vnnlib", *map(str, instance.files)]
    start = time.perf_counter()
    done = subprocess.run([*command, "--timeout", str(timeout), "--methods", methods], capture_output=True, text=True)
    return Process(WORDS.get(done.stdout.strip(), ""), time.perf_counter() - start)


def run_rival(instance: Instance, timeout: float, command: str, folder: Path) -> Process:
    """A rival's command in bash; killed at twice the time and 10 seconds."""
    onnx, vnnlib = (_unpacked(path.resolve(), folder) for path in instance.files)
    results = folder / "results.txt"
    results.write_text("")
    fields = {"{onnx}": onnx, "{vnnlib}": vnnlib, "{timeout}": timeout, "{results}": results}
    for field, value in fields.items():
        command = command.replace(field, str(value))
    start = time.perf_counter()
    try:
        subprocess.run(["timeout", str(2 * timeout + 10), "bash", "-c", command], capture_output=True, cwd=folder)
    finally:
        seconds = time.perf_counter() - start
    return Process(WORDS.get(next(iter(results.read_text().split()), ""), ""), seconds)


def _unpacked(path: Path, folder: Path) -> Path:
    if path.suffix != ".gz":
        return path
    plain = folder / path.stem
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    return plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="with vnncomp/ and baselines/")
    parser.add_argument("--families", nargs="*", default=["test", "collins_rul_cnn", "acasxu", "mnist_fc"])
    parser.add_argument("--timeout", type=float, default=116.0, help="seconds an instance")
    parser.add_argument("--methods", default=DECIDERS)
    parser.add_argument("--rival", action="append", default=[], metavar="NAME=COMMAND")
    options = parser.parse_args()
    peers, rows = read_peers(options.shared), []
    families = read_families(options.shared / "vnncomp", options.families)
    with tempfile.TemporaryDirectory() as folder:
        for instance in (i for instances in families.values() for i in instances if peers_of(i, peers)):
            runs = {"verify": run_ours(instance, options.timeout, options.methods)}
            for rival in options.rival:
                tool, _, command = rival.partition("=")
                runs[f"{tool} (this run)"] = run_rival(instance, options.timeout, command, Path(folder))
            name = " ".join([instance.family, *names_of(instance)])
            rows.append((name, instance.known, {**runs, **peers_of(instance, peers)}))
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
