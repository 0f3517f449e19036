"""`verify radius`: how far the nearest misclassified input is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from verify.cli import options
from verify.cli.running import Running
from verify.runs.request import RadiusRequest


@options.shares(RadiusRequest, without=("grid",))
def radius(
    *,
    most: Annotated[str | None, typer.Option(
        metavar="E", help="largest radius to look at; by default one that reaches the whole clip, of a --set 1",
        show_default=False)] = None,
    shared: dict[str, Any],
    tolerance: Annotated[str, typer.Option(
        metavar="P", help="how far the ends may lie apart, relative to the lower one")] = "1%",
    batch: Annotated[int | None, typer.Option(
        metavar="N", min=1, help="samples that are searched together; default 128, fewer of large networks",
        show_default=False)] = None,
    workers: options.Workers = None,
    ray: options.Ray = None,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Bracket the minimal adversarial distortion of every sample: verified below it, attacked above it.

    With --set the radius is the factor eps by which the numbers of the set are multiplied.
    The methods that take batches search a grid of radii; the others halve what is left until the ends are near enough.
    """
    from verify.cli import output
    from verify.report.radius import radii
    from verify.runs.studies.radius_session import prepare_radius

    session = prepare_radius(RadiusRequest(**shared, most=most, tolerance=tolerance, batch=batch))
    folder, summary = Running(workers, ray, out, resume, json=json).carry_out(session, radii)
    output.note(f"run kept in {folder}")
    raise typer.Exit(4 if summary.errors else 0)
