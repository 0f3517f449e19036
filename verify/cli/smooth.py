"""`verify smooth`: randomized smoothing, the answers that hold with a stated probability."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from verify.cli import options
from verify.cli.running import Running
from verify.runs.request import SmoothRequest

OTHERS = ("set", "norm", "clip", "grid", "threshold", "within", "bounds", "methods", "timeout")  # say nothing of noise


@options.shares(SmoothRequest, without=OTHERS)
def smooth(
    *,
    sigma: Annotated[str, typer.Option(
        metavar="S", help="standard deviation of the noise in the input's own units, for example 1/4",
        show_default=False)],
    shared: dict[str, Any],
    eps: Annotated[str | None, typer.Option(
        metavar="E,..", help="radii of the table; default 0 to 2 sigma", show_default=False)] = None,
    draws: Annotated[int, typer.Option(metavar="N", min=1, help="noisy inputs for each sample")] = 10_000,
    first: Annotated[int, typer.Option(metavar="N", min=1, help="others before them, which choose the class")] = 100,
    confidence: Annotated[str, typer.Option(metavar="C", help="with which each answer is right")] = "0.999",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="of the noise")] = 0,
    workers: options.Workers = None,
    ray: options.Ray = None,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    json: options.Json = False,
) -> None:
    """Smooth a model with Gaussian noise: the most probable class, and the L2 radius in which it stays.

    Answers are statistical, each right with the confidence that is asked, and speak of the smoothed classifier; they
    never count as proofs. Models that no front-end reads are smoothed too.
    """
    from verify.cli import output
    from verify.report.smoothing import smoothed
    from verify.runs.smoothing.session import prepare_smoothing

    asked = SmoothRequest(**shared, sigma=sigma, eps=eps, draws=draws, first=first, confidence=confidence, seed=seed)
    folder, summary = Running(workers, ray, out, resume, json=json).carry_out(prepare_smoothing(asked), smoothed)
    output.note(f"run kept in {folder}")
    raise typer.Exit(4 if summary.errors else 0)
