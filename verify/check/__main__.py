"""`python -m verify.check CERTIFICATE [MODEL.onnx] [--level R|F] [--exact]`: the checker on its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from verify.check.checker import LEVELS, Report, check


def run(certificate: Path, model: Path | None = None, level: str | None = None, exact: bool = False) -> int:
    """Checks a file and prints the outcome; 0 if it is accepted, else 1."""
    report = _checked(certificate, model, level, exact)
    if report.network:
        cases = f"{report.cases} case{'' if report.cases == 1 else 's'}"
        print(f"network sha256:{report.network}")
        print(f"claim   at no input of {cases} does the network do what must not happen, level {report.level}")
    for name, margin in report.margins.items():
        print(f"level {name} v* <= {margin:.9g}")
    print("accepted" if report.accepted else f"rejected: {report.reason}")
    return 0 if report.accepted else 1


def _checked(certificate: Path, model: Path | None, level: str | None, exact: bool) -> Report:
    if level not in (None, *LEVELS):
        return Report(False, f"there is no level {level!r}; choose R or F")
    try:
        data = certificate.read_bytes()
        other = None if model is None else model.read_bytes()
    except OSError as problem:
        return Report(False, f"{problem.filename} cannot be read: {problem.strerror}")
    return check(data, level, exact, other)


def main() -> int:
    """The command line of the checker alone."""
    parser = argparse.ArgumentParser(prog="python -m verify.check", description="Checks a certificate.")
    parser.add_argument("certificate", type=Path)
    parser.add_argument("model", type=Path, nargs="?", help="the ONNX file that it should speak of")
    parser.add_argument("--level", choices=LEVELS, help="by default as the certificate says")
    parser.add_argument("--exact", action="store_true", help="in rationals, for small networks")
    given = parser.parse_args()
    return run(given.certificate, given.model, given.level, given.exact)


if __name__ == "__main__":
    sys.exit(main())
