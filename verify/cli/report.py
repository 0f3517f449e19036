"""`verify report`: runs as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="folders of certification or training runs",
                                               show_default=False)],
    out: Annotated[Path | None, typer.Option(
        metavar="FILE.html", help="to be written; by default report.html in the first run's folder",
        show_default=False)] = None,
) -> None:
    """Write a run, or several beside each other, as one HTML page that needs nothing else to be read.

    The address of the page remembers how its table is sorted and filtered, so that a view can be shared as a link.
    """
    from contextlib import ExitStack

    from verify.cli import output
    from verify.report.page import write_page
    from verify.runs.certification.records import read_run

    target = out or runs[0] / "report.html"
    with ExitStack() as opened:
        write_page([opened.enter_context(read_run(folder)) for folder in runs], target)
    output.note(f"report written to {target}")
