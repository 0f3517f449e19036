"""How many split domains a second the search bounds on a network of CNN-A's size, on one CPU thread or a GPU.

    python benchmarks/domains_per_second.py [--device cuda] [--seconds 30] [--seeds 0 1] [--oval ../shared]

Random networks of CNN-A's shape (Wang et al. 2021: two convolutions, two dense layers, 6,244 ReLUs), 3x32x32 inputs,
eps 2/255, the least targeted margin. The cutoff lies between attack and root, so that some domains close and others
stay. A domain counts when its descent has ended; bounds of split candidates that are looked ahead at are work, not
domains. Narrowing is left out.

Tightness: both parts of the worst open domains by our steps and by 20 of beta-CROWN's rule, see `beta_rule`.

--oval times branch and bound on the known instances of oval21 as well, 120 s each.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path

import torch
from beta_rule import compare, timed
from torch import Tensor, nn

import verify
from verify.exact.search.limits import Limits
from verify.exact.search.neuron_split import NeuronSplit
from verify.method import full_float32
from verify.problem import Problem, from_vnnlib
from verify.runs.competition.decide import read_network
from verify.upper.duals.descent import Descent
from verify.upper.duals.dual import RelaxedDomains
from verify.vnnlib import read_vnnlib

SHARE = 0.2  # where the cutoff lies between attack and root
WARM = 60.0  # seconds at most until batches are full
KERNEL = {"prepare": (RelaxedDomains, "__init__"), "pull": (RelaxedDomains, "pull"),
          "primal": (RelaxedDomains, "primal"), "start": (Descent, "__init__"), "step": (Descent, "step")}  # fmt: skip
VERDICTS = {"sat": "falsified", "unsat": "verified"}


def random_problem(seed: int, device: str) -> Problem:
    """The margin of a random network's two largest outputs, one case."""
    rng = torch.Generator().manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, 10),
    )
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=rng) * (2 / p[0].numel()) ** 0.5 if p.dim() > 1 else p.data * 0
    # inputs around 0.5 as if normalised: neurons lie near their breakpoints
    module[0].get_parameter("bias").data = -0.5 * module[0].get_parameter("weight").data.sum((1, 2, 3))
    x = 0.3 + 0.4 * torch.rand((1, 3, 32, 32), generator=rng)
    first, second = module(x)[0].topk(2).indices.tolist()
    return verify.robustness(verify.trace(module, x).to(device), x, [first], "2/255", target=second).merged


def search(frontier: NeuronSplit, cutoff: Tensor, limit: float, until: float = torch.inf) -> None:
    """Steps for some seconds, or until so many domains are open, or none."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end and 0 < len(frontier.pool) < until:
        frontier.step(cutoff, Limits())


def kernel_shares(frontier: NeuronSplit, cutoff: Tensor, limit: float, device: str) -> dict[str, float]:
    """The share of the time that each part of the kernel takes, with the device waited for around each call."""
    spent, calls = dict.fromkeys(KERNEL, 0.0), {key: getattr(owner, name) for key, (owner, name) in KERNEL.items()}

    def watched(key: str) -> Callable:
        def wrapped(*args):
            out, took = timed(partial(calls[key], *args), device)
            spent[key] += took
            return out

        return wrapped

    for key, (owner, name) in KERNEL.items():
        setattr(owner, name, watched(key))
    try:
        wall = timed(partial(search, frontier, cutoff, limit), device)[1]
    finally:
        for key, (owner, name) in KERNEL.items():
            setattr(owner, name, calls[key])
    return {key: value / wall for key, value in spent.items()}


def measure(problem: Problem, device: str, limit: float) -> None:
    """Prints all that is measured on one problem."""
    points = verify.PGD(restarts=4, stop_when_falsified=False).answer(problem).points
    assert points is not None
    reached = problem.violation(points).double()
    frontier = NeuronSplit(problem, reached, Limits())
    top = frontier.certified(inf)
    cutoff = reached + SHARE * (top - reached)
    frontier.narrowings.clear()
    undecided = int(frontier.root.dual.unstable(frontier.root.low, frontier.root.high).sum())
    print(f"attack {float(reached):.3f}, cutoff {float(cutoff):.3f}, root {float(top):.3f}", end="")
    print(f", {undecided} undecided neurons")
    search(frontier, cutoff, WARM, frontier.batch)
    first, cpu = frontier.domains, time.process_time()
    wall = timed(partial(search, frontier, cutoff, limit), device)[1]
    done, cpu = frontier.domains - first, time.process_time() - cpu
    print(f"  {done / wall:.1f} domains/s: {done} in {wall:.1f} s, {cpu:.1f} s of CPU", end="")
    print(f"; batches of {frontier.batch}, {len(frontier.pool)} open")
    shares = kernel_shares(frontier, cutoff, limit / 3, device)
    print(f"  kernel {sum(shares.values()):.0%}:", ", ".join(f"{key} {value:.0%}" for key, value in shares.items()))
    compare(frontier, device)


def oval(folder: Path, device: str) -> None:
    """Prints verdict and time of each instance of oval21 that has a known verdict."""
    with (folder / "expected.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["verdict"] in VERDICTS]
    for row in rows:
        problem = from_vnnlib(read_network(folder / row["onnx"]).to(device), read_vnnlib(folder / row["vnnlib"]))
        bracket = verify.solve(problem, verify.BranchAndBound(time_limit=120))
        verdict, notes = str(bracket.verdicts[0]), bracket.notes
        mark = "as known" if verdict == VERDICTS[row["verdict"]] else f"known {row['verdict']}"
        print(f"  {Path(row['vnnlib']).name:62} {verdict:9} {mark:11} {notes['seconds']:7.2f} s {notes['domains']:8}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--seconds", type=float, default=30.0, help="of the search that is measured")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the networks")
    parser.add_argument("--oval", type=Path, help="folder with vnncomp/oval21")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"device {options.device}, {torch.get_num_threads()} CPU thread")
    for seed in options.seeds:
        problem = random_problem(seed, options.device)
        print(f"seed {seed}: ", end="")
        with torch.no_grad(), full_float32():
            measure(problem, options.device, options.seconds)
    if options.oval is not None:
        oval(options.oval / "vnncomp" / "oval21", options.device)


if __name__ == "__main__":
    main()
