"""`verify vnncomp`: whole benchmark families of the verification competition."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verify.cli.options import DECIDERS, METHODS_HELP, Level


def vnncomp(
    folder: Annotated[Path, typer.Argument(
        metavar="FOLDER", help="a family (instances.csv, onnx/, vnnlib/) or a folder of families", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="RUN", help="run folder, made or continued", show_default=False)],
    family: Annotated[list[str] | None, typer.Option(
        metavar="F", help="a family to run; may be repeated; default all", show_default=False)] = None,
    timeout: Annotated[float | None, typer.Option(
        metavar="S", min=0.0, help="seconds for every instance; default those of instances.csv")] = None,
    shard: Annotated[str, typer.Option(
        metavar="I/N", help="every N-th instance from the I-th; all shards may share one run folder")] = "1/1",
    methods: Annotated[str, typer.Option(metavar="A,B,..", help=METHODS_HELP)] = DECIDERS,
    proof: Annotated[Path | None, typer.Option(
        metavar="DIR", help="prove every unsat again and keep its certificate here", show_default=False)] = None,
    level: Level = None,
) -> None:
    """Decide whole benchmark families in one process, each instance under its own time limit.

    RUN/results.csv is in the competition's format. The same command continues a run that was interrupted. Where a
    family has expected.csv, verdicts and seconds are compared with it; the exit code is 1 if a verdict is wrong.
    """
    from verify.cli import output
    from verify.report.vnncomp import campaign
    from verify.runs.competition.scores import exit_code, scores, summary_lines
    from verify.runs.competition.vnncomp import plan
    from verify.runs.options import proof_level, shard_of

    planned = plan(folder, family or [], methods, timeout=timeout, shard=shard_of(shard),
                   level=proof_level(level, proof), proofs=proof)
    with output.progress("instances", len(planned.instances)) as advance:
        results = planned.run(out, advance)
    output.warn(summary_lines(results))
    found = scores(planned.instances, results)
    output.show(campaign(found))
    output.note(f"run kept in {out}")
    raise typer.Exit(exit_code(found))
