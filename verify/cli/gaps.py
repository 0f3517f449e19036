"""`verify gaps`: what the methods leave open between attack and certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verify.cli.options import (
    DATA_HELP,
    TIMEOUT_HELP,
    Bounds,
    Clip,
    Model,
    Norm,
    Normalize,
    Threshold,
    TrustCode,
    Weights,
    Within,
)
from verify.registry import default_methods


def gaps(
    model: Model,
    data: Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP, show_default=False)],
    eps: Annotated[str, typer.Option(
        metavar="E,..", help="radii in the input's own units, for example 2/255,8/255", show_default=False)],
    weights: Weights = None,
    trust_code: TrustCode = False,
    norm: Norm = "linf",
    clip: Clip = "0,1",
    normalize: Normalize = None,
    threshold: Threshold = None,
    within: Within = None,
    bounds: Bounds = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="number of samples, from the first")] = 20,
    methods: Annotated[str | None, typer.Option(
        metavar="A,B,..",
        help=f"those of `verify certify`, from both sides of v*; default {default_methods('gaps')}")] = None,
    timeout: Annotated[float, typer.Option(
        metavar="S", help=TIMEOUT_HELP)] = 10.0,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu or cuda")] = "cpu",
    out: Annotated[Path | None, typer.Option(
        metavar="DIR", help="folder for gaps.csv and the plots", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of the table")] = False,
) -> None:
    """Compare methods: attack <= v* <= certificate, and what each of them leaves between.

    Every method answers every sample, for the value of v* and not only for its sign: bab searches for the optimum and
    pgd goes on after a sample is falsified. Two answers that cross are an error (exit code 4); what reproduces it is
    written to a folder `contradiction`.
    """
    from verify.cli import output
    from verify.errors import InputError
    from verify.report.gaps import gap_tables, plot_gaps
    from verify.runs.studies.comparison import TABLE, Comparison, json_of, plan

    planned = plan(Comparison(model, data, eps, weights, norm, clip, normalize, limit, methods, timeout, device, out,
                              threshold, within, bounds, trust_code))
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
