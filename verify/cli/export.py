"""`verify export`: the results of a run as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a certification or training run",
                                        show_default=False)],
    to: Annotated[Path, typer.Option(
        metavar="FILE", help="to be written: .csv, .jsonl, .parquet, or .xml (JUnit)", show_default=False)],
) -> None:
    """Write the results of a run as a flat table, one row a sample and eps.

    The suffix says the format. In JUnit XML a falsified sample is a failure, an undecided one is skipped.
    """
    from verify.cli import output
    from verify.runs.certification.export import export as written
    from verify.runs.certification.records import read_run

    with read_run(run) as read:
        count = written(read, to)
    output.note(f"{count} rows written to {to}")
