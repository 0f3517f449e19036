"""`python -m verify.check CERTIFICATE [MODEL.onnx] [--level R|F] [--exact]`: the checker on its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from verify.check.checker import LEVELS, Report, check
from verify.check.numbers import shown_above

REJECTED, UNCOMPARED = 1, 3


def show(report: Report) -> int:
    """Prints the outcome of a check; 0 for accepted, 1 for rejected, 3 for accepted but not compared with the model."""
    if report.network:
        print(f"network sha256:{report.network}")
        print(f"claim   level {report.level}, {report.cases} case{'' if report.cases == 1 else 's'}")
        for line in report.claim:
            print(f"        {line}")
        for k, line in enumerate(report.front):
            print(f"{'        ' if k else 'front   '}{line}")
    for name, margin in report.margins.items():
        print(f"level {name} v* <= {shown_above(margin, 9)}")
    if not report.accepted:
        print(f"rejected: {report.reason}")
        return REJECTED
    if report.uncompared:
        print(f"accepted, but whether it speaks of the model is unknown: {report.uncompared}")
        return UNCOMPARED
    print("accepted" if report.cases else "accepted, though it claims nothing: no input is allowed")
    return 0


def main() -> int:
    """The command line of the checker alone."""
    parser = argparse.ArgumentParser(prog="python -m verify.check", description="Checks a certificate.")
    parser.add_argument("certificate", type=Path)
    parser.add_argument("model", type=Path, nargs="?", help="the ONNX file that it should speak of")
    parser.add_argument("--level", choices=LEVELS, help="by default as the certificate says")
    parser.add_argument("--exact", action="store_true", help="in rationals, for small networks")
    given = parser.parse_args()
    try:
        model = None if given.model is None else given.model.read_bytes()
        return show(check(given.certificate.read_bytes(), given.level, given.exact, model))
    except OSError as problem:
        parser.error(f"{problem.filename} cannot be read: {problem.strerror}")


if __name__ == "__main__":
    sys.exit(main())
