"""`verify explain`: why a sample of a run is as it is, and what to try next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a certify run", show_default=False)],
    sample: Annotated[int, typer.Argument(metavar="SAMPLE", min=0, help="its number", show_default=False)],
    eps: Annotated[str | None, typer.Option(
        metavar="E", help="one of the run's radii, where it has several", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(
        metavar="S", min=0.1, help="for a search that tells how fast the bound falls")] = 8.0,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of tables")] = False,
) -> None:
    """Explain a sample: best attack, bound before any split, unstable neurons, what blocks it, what to try next."""
    from dataclasses import asdict

    from verify.cli import output
    from verify.report.explain import explanation
    from verify.runs.certification import explain as explaining

    found = explaining.explain(run, sample, None if eps is None else _exact(eps), seconds)
    if json:
        values = asdict(found)
        if found.search is not None and found.search.estimate == float("inf"):
            values["search"]["estimate"] = None
        output.print_json(values)
    else:
        output.show(explanation(found))


def _exact(eps: str) -> str:
    from verify.rationals import rational

    return str(rational(eps, "eps"))
