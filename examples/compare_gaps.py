"""How wide is the bracket of each method? A table as CSV and plots, for some handwritten digits.

    python examples/compare_gaps.py --model digits-dense-interval --eps 1/20 --samples 8 --out gaps

Every certificate meets the best attack, so a row reads: attack <= v* <= certificate, and the gap is what the two leave
open. The sample is robust where v* < 0. `verify gaps` does the same from the command line. Needs matplotlib:
pip install 'verify-nn[plot]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import verify
from verify.data import load_data
from verify.report.gaps import plot_gaps
from verify.runs.studies.comparison import csv_of

METHODS = [
    verify.PGD(restarts=5, stop_when_falsified=False), verify.Interval(), verify.CROWN(), verify.LP(),
    verify.MILP(time_limit=60),
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the gaps of several methods on handwritten digits.")
    parser.add_argument("--model", default="digits-dense-interval", help="a bundled name or a model file")
    parser.add_argument("--eps", default="1/20", help="Linf radius")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("gaps"), help="folder of gaps.csv and the plots")
    arguments = parser.parse_args()

    data = load_data("digits", arguments.samples)
    problem = verify.robustness(verify.load(arguments.model), data.x, data.y, arguments.eps)
    gaps = verify.gaps(problem, METHODS)
    for name, figures in gaps.figures.items():
        print(f"{name:9} mean gap {figures.mean:9.4f} {figures.seconds:8.2f} s/sample")

    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {arguments.eps: gaps}
    (arguments.out / "gaps.csv").write_text(csv_of(found))
    plots = plot_gaps(arguments.out, f"{arguments.model}, Linf", found)
    print(f"wrote {arguments.out / 'gaps.csv'}, {', '.join(map(str, plots))}")


if __name__ == "__main__":
    main()
