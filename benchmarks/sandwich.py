"""The contract on real networks: attack <= v* <= certificate for every method, and gaps in the order of the theory.

    python benchmarks/sandwich.py [--problems 200] [--timeout 5] [--methods pgd,interval,...]

Problems are shared out over the six digits networks and three norms, test images from the first. Each asks by how much
a margin can rise within the ball above what it is at the image itself: v* >= 0, so that no method stops because a sign
is settled. Every method of the toolkit answers all problems whose sets and networks it takes. On a linear network and
one wrong class all of them must agree, except for interval bounds of l1 and l2 balls, which see no more than the box
around them. The exit code is 1 where

    two answers cross; some gap of interval, CROWN or alpha-CROWN is not finite;
    the medians are not interval > CROWN > alpha-CROWN > 0;
    exact methods close less than 90 % of the problems, to 1e-3 (1 + |v*|);
    an SDP is looser than the LP by more than 1e-4 on some problem;
    methods differ on the linear network by more than 1e-4.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn
from verify.models import digits

import verify
from verify.method import Method
from verify.registry import METHODS
from verify.runs.options import entries_of
from verify.runs.studies.comparison import for_value
from verify.runs.studies.gap import Gap, Gaps

NORMS = ("linf", "l2", "l1")
RADII = {  # of each norm, so that gaps are neither zero nor beyond what exact methods close within seconds
    "digits-dense-plain": ("0.02", "0.1", "0.3"),
    "digits-dense-adversarial": ("0.04", "0.2", "0.5"),
    "digits-dense-interval": ("0.08", "0.25", "0.5"),
    "digits-conv-plain": ("0.01", "0.05", "0.08"),
    "digits-conv-adversarial": ("0.02", "0.04", "0.05"),
    "digits-conv-interval": ("0.04", "0.08", "0.1"),
}
LINEAR, LINEAR_RADII = "linear 64-10", ("0.05", "0.3", "1")
CLOSED, LEAST_CLOSED = 1e-3, 0.9
SLACK = 1e-4
ORDER = ("interval", "crown", "alpha")


@dataclass(frozen=True)
class Group:
    """The comparison of one network and norm."""

    network: str
    norm: str
    eps: str
    gaps: Gaps
    seconds: float


def rise(problem: verify.Problem, x: Tensor) -> verify.Problem:
    """The problem with its violation measured from the one at the samples x (batch, *shape), one case each."""
    with torch.no_grad():
        here = problem.violation(x)
    return replace(problem, spec=replace(problem.spec, offset=problem.spec.offset + here[:, None]))


def shares(problems: int) -> Iterator[tuple[str, int, int]]:
    """(network, place of the norm, number of problems) of every group that has some."""
    groups = [(name, (i + turn) % len(NORMS)) for turn in range(len(NORMS)) for i, name in enumerate(RADII)]
    for i, (name, place) in enumerate(groups):
        count = problems // len(groups) + (i < problems % len(groups))
        if count:
            yield name, place, count


def compared(
    name: str, network: verify.Network, norm: str, eps: str, count: int, methods: dict[str, Method],
    aim: int | None = None,
) -> Group:
    """The group of the first `count` test images, against all wrong classes or, with `aim`, the one that is so many
    after the right one. Raises Contradiction where answers cross."""
    x, y = digits()
    target = None if aim is None else (y[:count] + aim) % 10
    problem = rise(verify.robustness(network, x[:count], y[:count], eps, norm, target=target), x[:count])
    start = time.perf_counter()
    found = verify.gaps(problem, methods)
    return Group(name, norm, eps, found, time.perf_counter() - start)


def linear_network() -> verify.Network:
    """A linear classifier of the digits, fitted by least squares."""
    x, y = digits("train")
    flat = torch.cat([x.flatten(1), torch.ones(len(x), 1)], dim=1).double()
    aims = nn.functional.one_hot(y, 10).double()
    weight = torch.linalg.solve(flat.T @ flat + torch.eye(65).double(), flat.T @ aims).T.float()
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    module.load_state_dict({"1.weight": weight[:, :64].contiguous(), "1.bias": weight[:, 64].contiguous()})
    return verify.trace(module.eval(), x[:1])


def closed(group: Group) -> int:
    """How many samples all methods together close."""
    pairs = [(float(best.lower[0]), float(best.upper[0])) for best in group.gaps.best]
    return sum(upper - lower <= CLOSED * (1 + abs(lower)) for lower, upper in pairs)


def apart(group: Group) -> float:
    """The largest distance of a method's answer from the best one on the other side, on a linear network."""
    exact = [row for row in group.gaps.rows if row.answered and (row.method != "interval" or group.norm == "linf")]
    return max((abs(row.gap) for row in exact), default=math.inf)


def looser(groups: list[Group]) -> float | None:
    """By how much an SDP exceeds the LP of the same problem at most; None where they are not both there."""
    excess = []
    for group in groups:
        names = group.gaps.methods
        for name in (name for name in names if "sdp" in name and "lp" in names):
            pairs = zip(group.gaps.of(name), group.gaps.of("lp"), strict=True)
            excess += [sdp.upper - lp.upper for sdp, lp in pairs if math.isfinite(sdp.upper + lp.upper)]
    return max(excess, default=None)


def everything(problems: int, methods: dict[str, Method]) -> tuple[list[Group], dict[str, float], list[str]]:
    """(the groups of the digits networks, how far methods are apart on the linear one by norm, crossings); prints."""
    groups: list[Group] = []
    linear: dict[str, float] = {}
    crossings: list[str] = []
    networks = {name: verify.load(name) for name in RADII} | {LINEAR: linear_network()}
    plan = [(name, place, RADII[name][place], count, None) for name, place, count in shares(problems)]
    plan += [(LINEAR, place, eps, max(1, problems // 10), 1) for place, eps in enumerate(LINEAR_RADII)]
    for name, place, eps, count, aim in plan:
        try:
            group = compared(name, networks[name], NORMS[place], eps, count, methods, aim)
        except verify.Contradiction as crossing:
            crossings.append(f"{name} {NORMS[place]} {eps}, {crossing}")
            continue
        print_group(group, count)
        if name == LINEAR:
            linear[group.norm] = apart(group)
        else:
            groups.append(group)
    return groups, linear, crossings


def print_group(group: Group, count: int) -> None:
    """One line: the median gap of every method, in the order of METHODS."""
    cells = []
    for figures in group.gaps.figures.values():
        cells.append("-" if math.isnan(figures.median) else f"{figures.median:.2g}")
    ends = f"{closed(group)}/{count} | {group.seconds:.0f}"
    print(f"| {group.network} | {group.norm} {group.eps} | {count} | {' | '.join(cells)} | {ends} |", flush=True)


def print_methods(rows: dict[str, list[Gap]], solved: int) -> None:
    """Each method over all problems."""
    print("\n| method | answered | median gap | mean | max | s/problem |\n|---|---|---|---|---|---|")
    for name, found in rows.items():
        values = [row.gap for row in found if row.answered]
        if not values:
            print(f"| {name} | 0 | - | - | - | - |")
            continue
        figures = median(values), sum(values) / len(values), max(values)
        seconds = sum(row.seconds for row in found if row.answered) / len(values)
        print(f"| {name} | {len(values)} | {' | '.join(f'{v:.3g}' for v in figures)} | {seconds:.2g} |")
    total = len(next(iter(rows.values())))
    print(f"\nclosed to {CLOSED:g} (1 + |v*|): {solved} of {total}, {100 * solved / total:.1f} %")


def failures(groups: list[Group], rows: dict[str, list[Gap]], linear: dict[str, float]) -> list[str]:
    """What is not as it must be."""
    found, problems = [], len(next(iter(rows.values())))
    known = [name for name in ORDER if name in rows]
    found += [f"a gap of {name} is not finite" for name in known if not all(math.isfinite(r.gap) for r in rows[name])]
    medians = [median(row.gap for row in rows[name]) for name in known]
    if not all(a > b for a, b in zip(medians, [*medians[1:], 0.0], strict=True)):
        found.append(f"the medians of {', '.join(known)} are {medians}, not falling and positive")
    solved = sum(map(closed, groups))
    if any(name in rows for name in ("bab", "milp")) and solved < LEAST_CLOSED * problems:
        found.append(f"only {solved} of {problems} are closed")
    excess = looser(groups)
    if excess is not None and excess > SLACK:
        found.append(f"an SDP is looser than the LP by {excess:.2g}")
    found += [f"methods differ by {far:.2g} on the linear network, {norm}" for norm, far in linear.items()
              if not far <= SLACK]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="The sandwich of all methods on the digits networks.")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds of a dear method for a problem")
    parser.add_argument("--methods", default=",".join(METHODS), help="by default all")
    args = parser.parse_args()
    entries = entries_of(args.methods)
    methods = {name: for_value(entry.make(args.timeout)) for name, entry in entries.items()}
    heads = " | ".join(methods)
    print(f"| network | ball | problems | {heads} | closed | s |\n|{'---|' * (len(methods) + 5)}", flush=True)
    groups, linear, crossings = everything(args.problems, methods)
    if not groups:
        sys.exit("\n".join(f"FAILED: {text}" for text in crossings))
    rows = {name: [row for group in groups for row in group.gaps.of(name)] for name in methods}
    print_methods(rows, sum(map(closed, groups)))
    notes = [f"{name}: {why}" for name in rows for why in dict.fromkeys(row.note for row in rows[name]) if why]
    print("\n".join(notes))
    excess = looser(groups)
    print(f"{len(crossings)} crossings; methods apart on the linear network: "
          + ", ".join(f"{norm} {far:.1e}" for norm, far in linear.items())
          + ("" if excess is None else f"; SDP above LP by at most {excess:.1e}"))
    bad = [*crossings, *failures(groups, rows, linear)]
    print("\n".join(f"FAILED: {text}" for text in bad) or "all as it must be")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
