"""The exact maximum by branch and bound beside MILP: digits problems, and the nine published minima.

    python benchmarks/optimum.py [../shared] [--images 10]

Both methods answer the same problems in the same run. The exit code is 1 where they differ by more than the gap, or a
bracket is wider than it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from tutorial_minima import PUBLISHED, first_image, network
from verify.models import digits

import verify

GAP = 1e-3
SLACK = 1e-5  # of HiGHS's tolerances and float32 witnesses
DIGITS = {"digits-dense-plain": "0.02", "digits-dense-adversarial": "0.04", "digits-dense-interval": "0.08",
          "digits-conv-adversarial": "0.02", "digits-conv-interval": "0.08"}  # radii at which MILP ends within seconds


def seconds(found: verify.Bracket) -> float:
    """The wall time of a bracket."""
    return float(str(found.notes["seconds"]))


def compared(problem: verify.Problem) -> tuple[verify.Bracket, float, float]:
    """(the bracket of branch and bound, MILP's seconds, largest distance of the two maxima)."""
    ours = verify.solve(problem, verify.BranchAndBound(goal="optimum", gap=GAP))
    milp = verify.solve(problem, verify.MILP())
    apart = torch.maximum(ours.lower - milp.upper, milp.lower - ours.upper).clamp(min=0)
    return ours, seconds(milp), float(torch.maximum(apart, (ours.upper - milp.upper).abs() - GAP).max())


def main() -> None:
    parser = argparse.ArgumentParser(description="The exact maximum by branch and bound beside MILP.")
    parser.add_argument("shared", type=Path, nargs="?", default=Path("../shared"), help="data/tutorial and data/mnist")
    parser.add_argument("--images", type=int, default=10, help="of each of the five digits networks")
    args = parser.parse_args()
    x, y = digits()
    bad, totals = 0, [0.0, 0.0]
    print("| network | eps | problems | BaB s | MILP s | ratio | widest bracket | farthest from MILP |")
    print("|---|---|---|---|---|---|---|---|")
    for name, eps in DIGITS.items():
        problem = verify.robustness(verify.load(name), x[: args.images], y[: args.images], eps)
        ours, milp, apart = compared(problem)
        width = float((ours.upper - ours.lower).max())
        bad += width > GAP + SLACK or apart > SLACK
        totals = [totals[0] + seconds(ours), totals[1] + milp]
        figures = f"{seconds(ours):.1f} | {milp:.1f} | {milp / seconds(ours):.1f}"
        print(f"| {name} | {eps} | {len(problem.owner)} | {figures} | {width:.1e} | {max(apart, 0):.1e} |", flush=True)
    ratio = totals[1] / totals[0]
    ratio = totals[1] / totals[0]
    print(f"| all | | {args.images * len(DIGITS)} | {totals[0]:.1f} | {totals[1]:.1f} | {ratio:.1f} | | |")
    if (args.shared / "data/tutorial").is_dir():
        bad += not minima(args.shared)
    else:
        print(f"the nine published minima are left out: {args.shared}/data/tutorial is absent")
    sys.exit(bool(bad))


def minima(shared: Path) -> bool:
    """The nine minima as one batch of nine problems; whether all are the published ones."""
    targets = torch.tensor(list(PUBLISHED))
    x = first_image(shared).expand(len(targets), -1, -1, -1)
    problem = verify.robustness(network(shared), x, [7] * len(targets), "0.05", target=targets)
    found = verify.solve(problem, verify.BranchAndBound(goal="optimum", gap=GAP))
    published = torch.tensor(list(PUBLISHED.values()))
    right = bool(((-found.upper - 5e-4 <= published) & (published <= -found.lower + 5e-4)).all())
    print(f"nine published minima: {seconds(found):.1f} s, {'all' if right else 'NOT all'} within their brackets")
    return right


if __name__ == "__main__":
    main()
