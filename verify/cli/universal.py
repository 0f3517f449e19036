"""`verify universal`: how many samples one perturbation fools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verify.cli import options
from verify.runs.request import UniversalRequest

OTHERS = ("set", "grid", "threshold", "within", "bounds", "methods", "timeout")  # say nothing of it


@options.shares(UniversalRequest, without=OTHERS)
def universal(
    *,
    eps: Annotated[str, typer.Option(
        metavar="E,..", help="radii in the input's own units, for example 2/255,8/255", show_default=False)],
    shared: dict[str, Any],
    timeout: Annotated[float, typer.Option(metavar="S", help="seconds for each eps")] = 60.0,
    out: Annotated[Path | None, typer.Option(
        metavar="DIR", help="folder for universal.json and deltas.npz", show_default=False)] = None,
    json: options.Json = False,
) -> None:
    """Look for one perturbation that fools many samples, and bound how many any one fools.

    A sample is fooled where its predicted class changes. The table has what algorithm 1 (UAP) and stochastic gradients
    (SGD-UAP) reach, an upper bound for all perturbations, and what perturbations of the samples' own reach.
    """
    from verify.cli import output
    from verify.report.universal import universal_table
    from verify.runs.studies.universal import plan_universal

    planned = plan_universal(UniversalRequest(**shared, eps=eps, timeout=timeout, out=out))
    output.warn(planned.warnings)
    with output.progress("radii", len(planned.radii)) as advance:
        found = planned.run(advance)
    if json:
        output.print_json(planned.as_json(found))
    else:
        output.show(universal_table(planned.title, found))
    if out is not None:
        output.note(f"kept in {out}")
