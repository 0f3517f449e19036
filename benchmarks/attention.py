"""Linear bounds and branch and bound of a transformer, a GRU and a convolutional network with gates, beside auto_LiRPA.

    python benchmarks/attention.py [--auto-lirpa FOLDER] [--nets transformer gru gated] [--samples 50] [--limit 20]
        [--methods CROWN CROWN-Optimized] [--eps 1/100 ...]

Each network is trained on the digits from a seed. For every radius: the margins' lower bounds by CROWN and with
optimised slopes, sample by sample, in the same process and in turn, in processor seconds of one thread; then how many
samples each tool verifies, and branch and bound within a limit of seconds a sample. Samples are the first of the test
split that the network has right. Our bounds hold in float64, theirs are in float32. Without auto_LiRPA its columns stay
empty. At least as tight: each margin to within 1e-5.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import inf
from pathlib import Path

import torch
from gated_networks import NETWORKS, trained
from torch import Tensor, nn
from verify.models import digits

import verify
from verify.problem import Problem
from verify.upper.alpha_crown import AlphaCROWN, alpha_row_bounds
from verify.upper.crown import linear_row_bounds

TOLERANCE = 1e-5
EPS = {"transformer": ("1/500", "1/100"), "gru": ("1/100", "1/50"), "gated": ("1/200", "1/50")}


class Rival:
    """auto_LiRPA on a module, one call for each sample."""

    def __init__(self, folder: Path, module: nn.Module, x: Tensor):
        sys.path.insert(0, str(folder))
        self.lirpa, self.sets = import_module("auto_LiRPA"), import_module("auto_LiRPA.perturbations")
        gelu = import_module("auto_LiRPA.operators.gelu").GELU
        for part in module.modules():  # which it bounds as one curve; nn.GELU would become a product with erf
            for name, child in part.named_children():
                if isinstance(child, nn.GELU):
                    setattr(part, name, gelu())
        self.module = self.lirpa.BoundedModule(module, x[:1], bound_opts={"conv_mode": "matrix"}, verbose=0)

    def margins(self, low: Tensor, high: Tensor, rows: Tensor, method: str) -> Tensor:
        """Lower bounds of rows (cases, rows, outputs) over boxes; (cases, rows)."""
        ball = self.sets.PerturbationLpNorm(x_L=low, x_U=high)
        x = self.lirpa.BoundedTensor((low + high) / 2, ball)
        with torch.set_grad_enabled(method != "CROWN"):
            return self.module.compute_bounds(x=(x,), C=rows, method=method, bound_upper=False)[0].detach()


@dataclass
class Tally:
    """What one tool has reached on all samples."""

    seconds: float = 0.0
    verified: int = 0

    def add(self, call: Callable[[], Tensor]) -> Tensor:
        """Calls, counts the time, and whether all margins are positive."""
        start = time.process_time()
        margins = call()
        self.seconds += time.process_time() - start
        self.verified += bool((margins > 0).all())
        return margins


def crown(problem: Problem) -> Tensor:
    """The margins' lower bounds by CROWN, (cases, rows)."""
    wide = problem.in_float64.merged
    return -linear_row_bounds(wide.network, wide.inputs, wide.spec, -inf)


def optimised(problem: Problem) -> Tensor:
    """The same with optimised slopes."""
    ours = AlphaCROWN()
    return -alpha_row_bounds(problem.merged, ours.steps, ours.neuron_steps)


METHODS = {"CROWN": crown, "CROWN-Optimized": optimised}


def compare(
    name: str, x: Tensor, y: Tensor, network: verify.Network, rival: Rival | None, eps: str, methods: list[str]
) -> None:
    """Prints a line for each method: how tight, how long, how many are verified."""
    for method, call in ((method, METHODS[method]) for method in methods):
        mine, its, worse, gains = Tally(), Tally(), 0, []
        for k in range(len(x)):
            problem = verify.robustness(network, x[k : k + 1], y[k : k + 1], eps=eps)
            ours = mine.add(lambda problem=problem, call=call: call(problem))
            if rival is None:
                continue
            low, high = problem.inputs.low, problem.inputs.high
            given = low, high, -problem.spec.output.to(low), method
            theirs = its.add(lambda given=given: rival.margins(*given))
            gain = ours - theirs
            worse += int((gain < -TOLERANCE).any())
            gains.append(gain)
        line = f"{name:12} {eps:>6} {method:16} ours {mine.seconds:8.2f} s {mine.verified:3} verified"
        if rival is not None:
            gain = torch.cat(gains)
            line += f" | theirs {its.seconds:8.2f} s {its.verified:3} verified"
            line += f" | ours / theirs {mine.seconds / its.seconds:.2f}"
            line += f" | looser on {worse} samples, gain least {float(gain.min()):.2g} mean {float(gain.mean()):.2g}"
        print(line, flush=True)


def search(name: str, x: Tensor, y: Tensor, network: verify.Network, eps: str, limit: float) -> None:
    """Prints what branch and bound decides."""
    start, counts = time.process_time(), {}
    for k in range(len(x)):
        problem = verify.robustness(network, x[k : k + 1], y[k : k + 1], eps=eps)
        verdict = verify.solve(problem, verify.BranchAndBound(time_limit=limit)).verdicts[0].value
        counts[verdict] = counts.get(verdict, 0) + 1
    print(f"{name:12} {eps:>6} {'BranchAndBound':16} ours {time.process_time() - start:8.2f} s {counts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auto-lirpa", type=Path, help="folder that holds the package auto_LiRPA")
    parser.add_argument("--nets", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--eps", nargs="*", help="radii; by default two for each network")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds a sample for branch and bound; 0 for none")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    x, y = digits()
    for name in options.nets:
        module = trained(name, options.seed)
        right = module(x).argmax(1) == y
        print(f"{name}: {float(right.float().mean()):.1%} of the test split right", flush=True)
        mine, labels = x[right][: options.samples], y[right][: options.samples]
        network = verify.trace(module, x[:1])
        rival = None if options.auto_lirpa is None else Rival(options.auto_lirpa, trained(name, options.seed), x)
        for eps in options.eps or EPS[name]:
            with torch.no_grad():
                compare(name, mine, labels, network, rival, eps, options.methods)
                if options.limit:
                    search(name, mine, labels, network, eps, options.limit)


if __name__ == "__main__":
    main()
