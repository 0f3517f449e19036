"""`verify certify`: how many samples of a data set are robust."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verify.cli.options import DATA_HELP, EPS_HELP, METHODS_HELP, Clip, Level, Model, Norm, Normalize, Weights


def certify(
    model: Model,
    data: Annotated[str, typer.Option(metavar="DATA", help=DATA_HELP, show_default=False)],
    eps: Annotated[str, typer.Option(metavar="E", help=EPS_HELP, show_default=False)],
    weights: Weights = None,
    norm: Norm = "linf",
    clip: Clip = "0,1",
    normalize: Normalize = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="number of samples, from the first")] = 100,
    methods: Annotated[str | None, typer.Option(
        metavar="A,B,..", help=f"{METHODS_HELP}; default interval,pgd,crown,bab")] = None,
    timeout: Annotated[float, typer.Option(
        metavar="S", min=0.0, help="seconds that LP and MILP may each spend on a sample")] = 10.0,
    fail_under: Annotated[str | None, typer.Option(
        metavar="P", help="least verified share, 90% or 0.9: exit 1 if out of reach, 3 if still open")] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu or cuda")] = "cpu",
    out: Annotated[Path | None, typer.Option(
        metavar="RUN", help="run folder, made or continued; by default a new one in runs/")] = None,
    proof: Annotated[Path | None, typer.Option(
        metavar="DIR", help="prove what is verified again and keep the certificates here", show_default=False)] = None,
    level: Level = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of the table")] = False,
) -> None:
    """Certify a data set: clean, attacked and verified accuracy.

    Every sample goes through the methods in order and stops at the first that decides it. Results are kept in the run
    folder; the same command with --out RUN continues a run that was interrupted.
    """
    from verify.cli import output
    from verify.report.table import certification
    from verify.runs.options import share_of
    from verify.runs.session import Request, prepare

    least = None if fail_under is None else share_of(fail_under)
    session = prepare(Request(model, data, eps, weights, norm, clip, normalize, limit, methods, timeout, device,
                              level, proof))
    with output.progress("samples", len(session.x)) as advance:
        summary, folder = session.run(out, advance)
    if json:
        output.print_json({"title": session.title, "run": str(folder), "config": session.config, **summary.as_json()})
    else:
        output.show(certification(session.title, summary))
    output.note(f"run kept in {folder}")
    if summary.errors:
        output.note(f"error: {summary.errors} samples met an error, which is no verdict; please report it with the run")
    raise typer.Exit(summary.exit_code(least))
