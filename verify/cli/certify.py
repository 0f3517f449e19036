"""`verify certify`: how many samples of a data set are robust."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from verify.cli import options
from verify.cli.options import Bounds, Clip, Level, Model, Norm, Normalize, Threshold, TrustCode, Weights, Within
from verify.registry import default_methods


def certify(
    model: Model,
    data: options.Data,
    eps: Annotated[str, typer.Option(
        metavar="E,..", help="radius in the input's own units, for example 8/255, or several", show_default=False)],
    weights: Weights = None,
    trust_code: TrustCode = False,
    norm: Norm = "linf",
    clip: Clip = "0,1",
    normalize: Normalize = None,
    threshold: Threshold = None,
    within: Within = None,
    bounds: Bounds = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="number of samples, from the first")] = 100,
    methods: Annotated[str | None, typer.Option(
        metavar="A,B,..", help=f"{options.METHODS_HELP}; default {default_methods('certify')}")] = None,
    timeout: Annotated[float, typer.Option(
        metavar="S", min=0.001, help=options.TIMEOUT_HELP)] = 10.0,
    batch: Annotated[int | None, typer.Option(
        metavar="N", min=1, help="samples that the other methods take at once; default 128, fewer of large networks",
        show_default=False)] = None,
    fail_under: Annotated[str | None, typer.Option(
        metavar="P", help="least verified share, 90% or 0.9: exit 1 if out of reach, 3 if still open")] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu or cuda")] = "cpu",
    workers: options.Workers = None,
    ray: options.Ray = None,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    proof: Annotated[Path | None, typer.Option(
        metavar="DIR", help="prove what is verified again and keep the certificates here", show_default=False)] = None,
    level: Level = None,
    estimate: Annotated[bool, typer.Option(
        "--estimate", help="say what time and memory it will take, from a few samples, and stop")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="say where the time went")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of the table")] = False,
) -> None:
    """Certify a data set: clean, attacked and verified accuracy.

    Every sample goes through the methods in order and stops at the first that decides it. Results are kept in the run
    folder; the same command with --out RUN --resume continues a run that was interrupted.
    """
    from dataclasses import asdict

    from verify.cli import output
    from verify.errors import InputError
    from verify.report.profile import parts
    from verify.report.table import certification, shortfall
    from verify.runs.certification.estimate import estimate as estimated
    from verify.runs.certification.session import Request, prepare
    from verify.runs.certification.summary import exit_code
    from verify.runs.engine.profile import FILE, by_file, profiled
    from verify.runs.engine.run_folder import Help, fresh_folder
    from verify.runs.options import share_of

    least = None if fail_under is None else share_of(fail_under)
    session = prepare(Request(model, data, eps, weights, norm, clip, normalize, limit, methods, timeout, device,
                              level, proof, batch, threshold, within, bounds, trust_code))
    output.warn(session.warnings)
    if profile and (workers or 1, ray) != (1, None):
        raise InputError("--profile looks into one process; leave out --workers and --ray")
    if estimate:
        guess = estimated(session.cascade, session.batch, timeout, workers or 1)
        output.print_json(asdict(guess)) if json else output.note(str(guess))
        return
    place = out if out or resume else fresh_folder(model)
    with output.kept(place if out is None else None), output.verdicts(session.total) as tell:
        work = partial(session.run, place, tell, resume=resume, help=Help(workers, ray))
        (folder, summaries), profiler = profiled(work) if profile else (work(), None)
    found: dict[str, Any] = {"title": session.title, "run": str(folder), "config": session.config}
    spent = None if profiler is None else by_file(profiler)
    if profiler is not None and spent is not None:
        profiler.dump_stats(folder / FILE)
        found["profile"] = asdict(spent)
    if json:
        output.print_json({**found, "radii": {eps: summary.as_json() for eps, summary in summaries.items()}})
    else:
        output.show(certification(session.title, {session.spelled[eps]: s for eps, s in summaries.items()}))
        if spent is not None:
            output.show(parts(spent))
    output.note(f"run kept in {folder}")
    if errors := sum(summary.errors for summary in summaries.values()):
        output.note(f"error: {errors} samples met an error, which is no verdict; please report it with the run")
    for eps, summary in summaries.items():
        if missed := shortfall(summary, session.spelled[eps], least):
            output.note(missed)
    raise typer.Exit(exit_code(summaries.values(), least))
