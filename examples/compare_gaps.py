"""How wide is the bracket of each method? A table as CSV and a plot, for some handwritten digits.

    python examples/compare_gaps.py --model digits-dense-interval --eps 1/20 --samples 8 --out gaps

Every upper bound meets the same attack, so a row reads: attack <= v* <= certificate, and the gap is what the two leave
open. The sample is robust where v* < 0. Needs matplotlib: pip install 'verify-nn[plot]'.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib

import verify
from verify.bracket import Bracket
from verify.runs.data import load_data

matplotlib.use("Agg")  # draws without a display
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

METHODS = (verify.Interval(), verify.CROWN(), verify.LP(), verify.MILP(time_limit=60))


def write_csv(path: Path, brackets: dict[str, Bracket]) -> None:
    """One row for each sample and method."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "method", "attack", "certificate", "gap", "verdict"])
        for name, bracket in brackets.items():
            columns = bracket.lower.tolist(), bracket.upper.tolist(), bracket.gap.tolist(), bracket.verdicts
            for sample, values in enumerate(zip(*columns, strict=True)):
                writer.writerow([sample, name, *values])


def draw(path: Path, title: str, brackets: dict[str, Bracket]) -> None:
    """A bar from attack to certificate for each sample and method, and the line v* = 0 between robust and not."""
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for place, (name, bracket) in enumerate(brackets.items()):
        shift = 0.6 * (place / len(brackets) - 0.5)
        at, color = [sample + shift for sample in range(len(bracket.lower))], f"C{place}"
        axes.vlines(at, bracket.lower.tolist(), bracket.upper.tolist(), color, linewidth=4, label=name)
        axes.plot(at, bracket.upper.tolist(), "_", color=color, markersize=8)  # a closed bracket stays visible
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title=title, xlabel="sample", ylabel="attack <= v* <= certificate")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the gaps of several methods on handwritten digits.")
    parser.add_argument("--model", default="digits-dense-interval", help="a bundled name or a model file")
    parser.add_argument("--eps", default="1/20", help="Linf radius")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("gaps"), help="folder of gaps.csv and gaps.png")
    arguments = parser.parse_args()

    data = load_data("digits", arguments.samples)
    problem = verify.robustness(verify.load(arguments.model), data.x, data.y, arguments.eps)
    attack = verify.solve(problem, verify.PGD(restarts=5, stop_when_falsified=False))
    brackets = {}
    for method in METHODS:
        found = verify.solve(problem, method)
        brackets[method.name] = found.meet(attack)
        gap = float(brackets[method.name].gap.mean())
        print(f"{method.name:9} mean gap {gap:9.4f} {found.notes['seconds']:8.2f} s")

    arguments.out.mkdir(parents=True, exist_ok=True)
    write_csv(arguments.out / "gaps.csv", brackets)
    draw(arguments.out / "gaps.png", f"{arguments.model}, Linf eps {arguments.eps}", brackets)
    print(f"wrote {arguments.out / 'gaps.csv'} and {arguments.out / 'gaps.png'}")


if __name__ == "__main__":
    main()
