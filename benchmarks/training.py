"""What a step of certified training costs, as a multiple of a plain step of the same module on the same batch.

    python benchmarks/training.py [--peer FOLDER ...] [--nets dm-small dm-medium dense] [--rounds 15] [--eps 0.01]

A step is zero_grad, loss, backward and Adam. One thread, CPU seconds, batch 256 of MNIST's shape, random weights and
images. The steps run in turn, each of them beside plain ones, and a multiple is the median over the rounds. A peer's
folder holds the package auto_LiRPA (or what it needs); its steps then stand beside ours in the same process, in the
better of its two modes of convolutions, after both tools have agreed on the margins of the very same networks.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from verify.models.architectures import make

from verify.train.live import Live
from verify.train.losses import CrownIBP, FusedCrownIBP, IntervalLoss, Loss
from verify.train.losses.base import margin_loss, margin_rows
from verify.train.losses.certified import boxes_over, interval_margins
from verify.upper.linear_bounds.crown_ibp import crown_ibp_bounds

SHAPE, CLASSES, BATCH, PLAIN_RUNS, AGREEMENT = (1, 28, 28), 10, 256, 3, 1e-3
GATES: dict[str, tuple[Loss, float]] = {  # our loss, and the multiple of a plain step that it may cost
    "interval": (IntervalLoss(), 2.6),
    "interval, clean": (IntervalLoss(clean=0.5), 3.6),
    "CROWN-IBP, nine rows": (CrownIBP(), 14.0),
    "CROWN-IBP, loss fusion": (FusedCrownIBP(), 6.0),
}
COLUMNS = (
    "network", "step", "least ms", "x plain", "gate", "met", "auto_LiRPA ms", "its x plain", "ours / its",
    "margins apart",
)
Step = Callable[[], None]
Margins = Callable[[], Tensor]  # upper bounds of the margins, (batch, rows)


def network(name: str) -> nn.Module:
    """A network of the architectures, or the dense 784-512-512-512-10."""
    options: dict[str, Any] = {"widths": (512, 512, 512)} if name == "dense" else {}
    return make(name, SHAPE, CLASSES, **options)


def step(module: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """A whole step of a module with its own optimiser."""
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-4)

    def run() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return run


def ours(module: nn.Module, x: Tensor, y: Tensor, eps: float) -> tuple[dict[str, Step], dict[str, Margins]]:
    """Our steps, each on a copy of the module, and the margins that they bound."""
    steps, noise = {}, Generator().manual_seed(0)

    def loss_of(live: Live, loss: Loss) -> Callable[[], Tensor]:
        return lambda: loss(live.on_batch(x), x, y, eps, noise)

    for name, (loss, _) in GATES.items():
        mine = copy.deepcopy(module)
        steps[name] = step(mine, loss_of(Live(mine, x), loss))
    bound, ball = Live(copy.deepcopy(module), x).network(), IntervalLoss().threat.ball(x, eps)
    boxes, rows = boxes_over(bound, ball), margin_rows(y, CLASSES, x)
    return steps, {
        "interval": lambda: interval_margins(bound, boxes, y),
        "CROWN-IBP, nine rows": lambda: crown_ibp_bounds(bound, ball, boxes, rows),
    }


def theirs(
    module: nn.Module, x: Tensor, y: Tensor, eps: float, mode: str
) -> tuple[dict[str, Step], dict[str, Margins]]:
    """The steps of auto_LiRPA with this mode of convolutions; the margins are the same, bounded from below."""
    lirpa, perturbations = import_module("auto_LiRPA"), import_module("auto_LiRPA.perturbations")

    rows = -margin_rows(y, CLASSES, x)
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    ball = perturbations.PerturbationLpNorm(norm=torch.inf, eps=eps, x_L=low, x_U=high)

    def model() -> Any:
        return lirpa.BoundedModule(copy.deepcopy(module), x, bound_opts={"conv_mode": mode}, verbose=0)

    def margins(bounded: Any, **how: object) -> Tensor:
        return -bounded.compute_bounds(x=(lirpa.BoundedTensor(x, ball),), C=rows, bound_upper=False, **how)[0]

    def clean(bounded: Any) -> Tensor:
        return F.cross_entropy(bounded(x), y) / 2 + margin_loss(margins(bounded, IBP=True, method=None)).mean() / 2

    interval, both, crown = model(), model(), model()
    steps = {
        "interval": step(interval, lambda: margin_loss(margins(interval, IBP=True, method=None)).mean()),
        "interval, clean": step(both, lambda: clean(both)),
        "CROWN-IBP, nine rows": step(crown, lambda: margin_loss(margins(crown, method="CROWN-IBP")).mean()),
    }
    return steps, {
        "interval": lambda: margins(interval, IBP=True, method=None),
        "CROWN-IBP, nine rows": lambda: margins(crown, method="CROWN-IBP"),
    }


def measure(plain: Step, steps: dict[str, Step], rounds: int) -> dict[str, tuple[float, float]]:
    """(least seconds, median multiple of a plain step) of every step, run in turn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for run in (plain, *steps.values()):
        run()
    for _ in range(rounds):
        for name, run in steps.items():
            beside = median(cost(plain) for _ in range(PLAIN_RUNS))
            spent = cost(run)
            found[name].append((spent, spent / beside))
    return {name: (min(s for s, _ in runs), median(m for _, m in runs)) for name, runs in found.items()}


def cost(run: Step) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def disagreement(mine: Margins, its: Margins) -> float:
    """The largest relative difference of the margins of one sample."""
    with torch.no_grad():
        a, b = mine(), its()
        return float(((a - b).abs().amax(1) / b.abs().amax(1)).max())


def rows_of(name: str, peer: bool, rounds: int, eps: float) -> list[str]:
    """The table's rows of a network."""
    torch.manual_seed(0)
    module, x, y = network(name).eval(), torch.rand(BATCH, *SHAPE), torch.randint(0, CLASSES, (BATCH,))
    steps, margins = ours(module, x, y, eps)
    apart: dict[str, float] = {}
    for mode in ("matrix", "patches") if peer else ():
        others, its = theirs(module, x, y, eps, mode)
        steps |= {f"{mode} {key}": run for key, run in others.items()}
        for key, call in margins.items():
            apart[key] = max(apart.get(key, 0.0), disagreement(call, its[key]))
    mine = copy.deepcopy(module)
    plain = step(mine, lambda: F.cross_entropy(mine(x), y))
    found = {"plain": (min(cost(plain) for _ in range(rounds)), 1.0), **measure(plain, steps, rounds)}
    lines = [f"| {name} | plain | {1e3 * found['plain'][0]:.1f} | 1 | | | | | | |"]
    for key, (_, gate) in GATES.items():
        spent, multiple = found[key]
        rival = min((found[f"{m} {key}"] for m in ("matrix", "patches") if f"{m} {key}" in found), default=None)
        beside = f"{1e3 * rival[0]:.1f} | {rival[1]:.2f} | {multiple / rival[1]:.2f}" if rival else " | | "
        close = f"{apart[key]:.0e}{'' if apart[key] <= AGREEMENT else ' **differ**'}" if key in apart else ""
        cells = name, key, f"{1e3 * spent:.1f}", f"{multiple:.2f}", gate, "yes" if multiple <= gate else "**no**"
        lines.append(f"| {' | '.join(map(str, cells))} | {beside} | {close} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, nargs="*", default=[], help="folders put on the path, with auto_LiRPA")
    parser.add_argument("--nets", nargs="*", default=["dm-small", "dm-medium", "dense"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--eps", type=float, default=0.01)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sys.path[:0] = [str(folder) for folder in options.peer]
    peer = find_spec("auto_LiRPA") is not None
    if not peer:
        print("auto_LiRPA is skipped: it is in no folder of --peer")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    for name in options.nets:
        print("\n".join(rows_of(name, peer, options.rounds, options.eps)), flush=True)


if __name__ == "__main__":
    main()
