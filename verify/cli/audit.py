"""`verify audit`: another tool's verdicts, replayed and proved again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verify.cli.options import DECIDERS, METHODS_HELP


def audit(
    results: Annotated[Path, typer.Argument(
        metavar="RESULTS.csv", help="a tool's results in the competition's format", show_default=False)],
    folder: Annotated[Path, typer.Argument(
        metavar="FOLDER", help="the family that they are about, or a folder of families", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="RUN", help="run folder, made or continued", show_default=False)],
    witnesses: Annotated[Path | None, typer.Option(
        metavar="DIR", help="the tool's <onnx>_<vnnlib>.counterexample[.gz] files, or a folder of them per category",
        show_default=False)] = None,
    family: Annotated[list[str] | None, typer.Option(
        metavar="F", help="a category to audit; may be repeated; default all", show_default=False)] = None,
    timeout: Annotated[float | None, typer.Option(
        metavar="S", min=0.0, help="seconds for every row; default those of instances.csv")] = None,
    methods: Annotated[str, typer.Option(metavar="A,B,..", help=METHODS_HELP)] = DECIDERS,
) -> None:
    """Audit another tool's verdicts: replay every sat, prove every unsat again.

    Each row ends as confirmed, refuted or open with a reason, also in RUN/audit.csv. The same command continues an
    audit that was interrupted. The exit code is 1 if a row is refuted.
    """
    from verify.cli import output
    from verify.report.audit import audited
    from verify.runs.competition.audit import exit_code, plan

    planned = plan(results, folder, family or [], methods, timeout=timeout, witnesses=witnesses)
    with output.progress("rows", len(planned.claims)) as advance:
        findings = planned.run(out, advance)
    output.show(audited(findings))
    output.note(f"run kept in {out}")
    raise typer.Exit(exit_code(findings))
