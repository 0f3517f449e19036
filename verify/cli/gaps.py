"""`verify gaps`: what the methods leave open between attack and certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verify.cli import options
from verify.runs.request import GapsRequest


@options.shares(GapsRequest)
def gaps(
    *,
    eps: Annotated[str, typer.Option(
        metavar="E,..", help="radii in the input's own units, for example 2/255,8/255", show_default=False)],
    shared: dict[str, Any],
    out: Annotated[Path | None, typer.Option(
        metavar="DIR", help="folder for gaps.csv and the plots", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """Compare methods: attack <= v* <= certificate, and what each of them leaves between.

    Every method answers every sample, for the value of v* and not only for its sign: bab searches for the optimum and
    pgd goes on after a sample is falsified. Two answers that cross are an error (exit code 4); what reproduces it is
    written to a folder `contradiction`.
    """
    from verify.cli import output
    from verify.errors import InputError
    from verify.report.gaps import gap_tables, plot_gaps
    from verify.runs.studies.comparison import TABLE, json_of, plan

    planned = plan(GapsRequest(**shared, eps=eps, out=out))
    output.warn(planned.warnings)
    with output.progress("answers", planned.answers) as advance:
        found = planned.run(advance)
    if json:
        radii = {text: json_of(compared) for text, compared in found.items()}
        output.print_json({"title": planned.title, "eps": radii})
    else:
        output.show(gap_tables(planned.title, found))
    if out is not None:
        written = [out / TABLE]
        try:
            written += plot_gaps(out, planned.title, found)
        except InputError as missing:
            output.note(f"no plots: {missing}")
        output.note(f"wrote {', '.join(map(str, written))}")
