"""`verify attack`: how many samples of a data set are fooled."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from verify.cli import options
from verify.cli.running import Running
from verify.registry import METHODS
from verify.runs.request import AttackRequest

ATTACKS = ", ".join(name for name, entry in METHODS.items() if entry.family == "lower")


@options.shares(AttackRequest, without=("methods",))
def attack(
    *,
    eps: Annotated[str, typer.Option(
        metavar="E", help=options.EPS_HELP, show_default=False)],
    shared: dict[str, Any],
    attack: Annotated[str, typer.Option(
        metavar="A,B,..", help=f"in order, each on what those before left open; among {ATTACKS}")] = "autoattack",
    batch: Annotated[int | None, typer.Option(
        metavar="N", min=1, help="samples that are attacked at once; default 128, fewer of large networks",
        show_default=False)] = None,
    workers: options.Workers = None,
    ray: options.Ray = None,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Attack a data set: clean accuracy, and robust accuracy at most.

    Points that fool the model are kept in the run folder: exactly in points.npz, and pictures as images of 8 bits in
    points/.
    Models that no front-end reads are attacked too.
    """
    from verify.cli import output
    from verify.report.attack import attacked
    from verify.runs.attack.session import kept_in, prepare_attack

    session = prepare_attack(AttackRequest(**shared, eps=eps, attack=attack, batch=batch))
    folder, summary = Running(workers, ray, out, resume, json=json).carry_out(session, attacked)
    output.warn(summary.warnings)
    output.note(kept_in(folder))
    raise typer.Exit(4 if summary.errors else 0)
