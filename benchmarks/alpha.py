"""Optimised slopes beside auto_LiRPA's, on the same instances in the same process: tightness and time.

    python benchmarks/alpha.py [../shared] [--auto-lirpa FOLDER] [--repeat 2] [--nets 256x2 base ...]

One thread. The instances are those of the `alpha20` rows of the baselines: all intermediate layers optimised, 20 steps,
all nine rows. Our bounds hold in float64, theirs in float32. Both tools take the least time of some repetitions;
without auto_LiRPA its stored time stands in. At least as tight: the least and the mean bound, to 1e-4 relative.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from bounds import Module, load
from torch import Tensor

from verify.problem import Problem
from verify.upper.alpha_crown import AlphaCROWN, alpha_row_bounds

SHARE = 0.2  # of the other tool's time that we may take


def other_tool(folder: Path, problem: Problem) -> Callable[[], Tensor]:
    """A call of auto_LiRPA's optimised CROWN, 20 steps, that returns upper bounds of the rows."""
    sys.path.insert(0, str(folder))
    lirpa, perturbations = import_module("auto_LiRPA"), import_module("auto_LiRPA.perturbations")

    low, high = problem.inputs.low, problem.inputs.high
    options = {"conv_mode": "patches", "optimize_bound_args": {"iteration": 20, "early_stop_patience": 1000}}
    module = lirpa.BoundedModule(Module(problem.network), low, bound_opts=options, verbose=0)
    x = lirpa.BoundedTensor((low + high) / 2, perturbations.PerturbationLpNorm(x_L=low, x_U=high))

    def call() -> Tensor:
        with torch.enable_grad():
            bound = module.compute_bounds(x=(x,), C=-problem.spec.output, method="CROWN-optimized", bound_upper=False)
        return problem.spec.offset - bound[0]

    return call


def timed(call: Callable[[], Tensor], repeat: int) -> tuple[Tensor, float]:
    """What a call returns, and its least wall time."""
    found, seconds = torch.empty(0), []
    for _ in range(repeat):
        start = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - start)
    return found, min(seconds)


def instances(shared: Path, only: list[str]) -> Iterator[dict[str, str]]:
    """The rows of the baselines."""
    with (shared / "baselines" / "auto_lirpa_bounds.csv").open() as file:
        for row in csv.DictReader(file):
            wanted = not only or any(part in row["onnx"] for part in only)
            if wanted and row["method"] == "alpha20" and row["min_bound"]:
                yield row


def compare(shared: Path, folder: Path | None, row: dict[str, str], repeat: int) -> tuple[bool, bool]:
    """Prints one instance; whether we are as tight as the stored bounds, and quick enough."""
    problem, ours = load(shared / "vnncomp" / row["family"], row["onnx"], row["vnnlib"]).merged, AlphaCROWN()
    bounds, seconds = timed(partial(alpha_row_bounds, problem, ours.steps, ours.neuron_steps), repeat)
    mine = float(-bounds.max()), float(-bounds.mean())
    stored = float(row["min_bound"]), float(row["mean_bound"])
    theirs, other = stored, float(row["wall_s"])
    if folder is not None:
        found, other = timed(other_tool(folder, problem), repeat)
        theirs = float(-found.max()), float(-found.mean())
    tight = all(m >= b - 1e-4 * abs(b) for m, b in zip(mine, stored, strict=True))
    quick = seconds <= SHARE * other
    values = "".join(f"{value:12.5f}" for pair in zip(mine, theirs, stored, strict=True) for value in pair)
    name = f"{Path(row['onnx']).stem[:20]} {Path(row['vnnlib']).name[:26]}"
    print(f"{name:48}{values}{seconds:9.3f}{other:9.3f}{other / seconds:7.1f}", end="  ")
    print(f"{'tight' if tight else 'LOOSE'}, {'quick' if quick else 'SLOW'}", flush=True)
    return tight, quick


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="vnncomp/ and baselines/")
    parser.add_argument("--auto-lirpa", type=Path, help="folder that holds the package auto_LiRPA")
    parser.add_argument("--repeat", type=int, default=2, help="calls of each tool, the quickest counts")
    parser.add_argument("--nets", nargs="*", default=[], help="parts of network names; default all")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    columns = "".join(f"{name:>12}" for side in ("min", "mean") for name in (f"{side} ours", "theirs", "stored"))
    print(f"{'the margin, larger is tighter':48}{columns}{'ours s':>9}{'theirs s':>9}{'ratio':>7}")
    with torch.no_grad():
        results = [
            compare(options.shared, options.auto_lirpa, row, options.repeat)
            for row in instances(options.shared, options.nets)
        ]
    tight, quick = (sum(part) for part in zip(*results, strict=True))
    print(f"{len(results)} instances: {tight} as tight as the stored bounds, {quick} within {SHARE:.0%} of the time")


if __name__ == "__main__":
    main()
