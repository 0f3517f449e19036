"""The `verify` command. Commands raise; this file alone turns what they raise into a line and an exit code.

0 done, 1 and 3 as the command says, 2 bad input or usage, 4 internal error, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from contextlib import suppress

import typer

from verify.cli.attack import attack
from verify.cli.audit import audit
from verify.cli.certify import certify
from verify.cli.check import check
from verify.cli.doctor import doctor
from verify.cli.explain import explain
from verify.cli.export import export
from verify.cli.gaps import gaps
from verify.cli.inspect import inspect
from verify.cli.options import METHODS_LIST
from verify.cli.radius import radius
from verify.cli.report import report
from verify.cli.smooth import smooth
from verify.cli.train import train
from verify.cli.universal import universal
from verify.cli.vnncomp import vnncomp
from verify.cli.vnnlib import vnnlib
from verify.errors import Contradiction, VerifyError

USAGE, INTERNAL, INTERRUPTED = 2, 4, 130

app = typer.Typer(
    help="Robustness of trained neural networks: attacks, exact solutions and certificates.",
    add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (certify, attack, radius, smooth, explain, report, export, train, vnnlib, vnncomp, gaps, universal,
                check, audit, inspect, doctor):
    app.command(epilog=METHODS_LIST if command in (certify, radius, gaps, vnnlib) else None)(command)


def run(arguments: list[str], start: float | None = None) -> int:
    """Runs one command line; returns its exit code. Errors are one line on stderr. start: the moment, in
    `time.perf_counter()` seconds, from which a command counts its time, by default now."""
    start = time.perf_counter() if start is None else start
    try:
        code = typer.main.get_command(app).main(arguments, prog_name="verify", standalone_mode=False, obj=start) or 0
        if code != INTERRUPTED:
            return code
        message = "interrupted; a run continues with the same command, --out RUN, and --resume where there is one"
    except (VerifyError, typer.TyperException) as problem:
        usage = isinstance(problem, typer.TyperException)
        message = f"{problem.format_message().removesuffix('.')}; see verify --help" if usage else str(problem)
        code = INTERNAL if isinstance(problem, Contradiction) else USAGE
    except Exception as problem:
        if os.environ.get("VERIFY_DEBUG"):
            traceback.print_exc()
        what = " ".join(f"{type(problem).__name__}: {problem}".split())
        message, code = f"internal error, please report it (VERIFY_DEBUG=1 shows where): {what}", INTERNAL
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def main() -> None:
    """Entry point of the `verify` script. The working folder is searched last for package.module:factory."""
    sys.path.append(os.getcwd())
    code = run(sys.argv[1:], time.perf_counter() - time.process_time())  # the interpreter's start and imports included
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)  # all files are closed by now, and the interpreter would take 0.6 s to take torch apart


if __name__ == "__main__":
    main()
