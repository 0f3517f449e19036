"""`verify certify`: how many samples of a data set are robust."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verify.cli import options
from verify.runs.request import CertifyRequest

if TYPE_CHECKING:
    from verify.runs.certification.session import Session
    from verify.runs.certification.summary import Summary
    from verify.runs.engine.profile import Profile

    Summaries = dict[str, Summary]


@options.shares(CertifyRequest)
def certify(
    *,
    eps: Annotated[str, typer.Option(
        metavar="E,..", help="radius in the input's own units, for example 8/255, or several", show_default=False)],
    shared: dict[str, Any],
    batch: Annotated[int | None, typer.Option(
        metavar="N", min=1, help="samples that the other methods take at once; default 128, fewer of large networks",
        show_default=False)] = None,
    fail_under: Annotated[str | None, typer.Option(
        metavar="P", help="least verified share, 90% or 0.9: exit 1 if out of reach, 3 if still open")] = None,
    workers: options.Workers = None,
    ray: options.Ray = None,
    out: options.RunFolder = None,
    resume: options.Resume = False,
    proof: Annotated[Path | None, typer.Option(
        metavar="DIR", help="prove what is verified again and keep the certificates here", show_default=False)] = None,
    level: options.Level = None,
    estimate: Annotated[bool, typer.Option(
        "--estimate", help="say what time and memory it will take, from a few samples, and stop")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="say where the time went")] = False,
    json: options.Json = False,
) -> None:
    """Certify a data set: clean, attacked and verified accuracy.

    Every sample goes through the methods in order and stops at the first that decides it. Results are kept in the run
    folder; the same command with --out RUN --resume continues a run that was interrupted.
    """
    from verify.cli import output
    from verify.errors import InputError
    from verify.report.table import shortfall
    from verify.runs.certification.session import prepare
    from verify.runs.certification.summary import exit_code
    from verify.runs.engine.run_folder import Parallelism, fresh_folder
    from verify.runs.options import share_of

    least = None if fail_under is None else share_of(fail_under)
    session = prepare(CertifyRequest(**shared, eps=eps, level=level, proofs=proof, batch=batch))
    output.warn(session.warnings)
    if profile and (workers or 1, ray) != (1, None):
        raise InputError("--profile looks into one process; leave out --workers and --ray")
    if estimate:
        _estimate(session, workers or 1, json=json)
        return
    place = out if out or resume else fresh_folder(session.request.model)
    with output.kept(place if out is None else None), output.verdicts(session.total) as on_progress:
        work = partial(session.run, place, on_progress, resume=resume, parallelism=Parallelism(workers, ray))
        (folder, summaries), spent = _profiled(work) if profile else (work(), None)
    _show(session, folder, summaries, spent, json=json)
    for radius, summary in summaries.items():
        if missed := shortfall(summary, session.spelled[radius], least):
            output.note(missed)
    raise typer.Exit(exit_code(summaries.values(), least))


def _estimate(session: Session, workers: int, *, json: bool) -> None:
    from dataclasses import asdict

    from verify.cli import output
    from verify.runs.certification.estimate import estimate

    guess = estimate(session.cascade, session.batch, session.request.timeout, workers)
    output.print_json(asdict(guess)) if json else output.note(str(guess))


def _profiled(work: Callable[[], tuple[Path, Summaries]]) -> tuple[tuple[Path, Summaries], Profile]:
    """What the work gives, and where its time went, which the run folder keeps."""
    from verify.runs.engine.profile import FILE, by_file, profiled

    done, profiler = profiled(work)
    profiler.dump_stats(done[0] / FILE)
    return done, by_file(profiler)


def _show(session: Session, folder: Path, summaries: Summaries, spent: Profile | None, *, json: bool) -> None:
    from dataclasses import asdict

    from verify.cli import output
    from verify.report.profile import parts
    from verify.report.table import certification

    if json:
        profile = {} if spent is None else {"profile": asdict(spent)}
        radii = {eps: summary.as_json() for eps, summary in summaries.items()}
        found = {"title": session.title, "run": str(folder), "config": session.config}
        output.print_json({**found, **profile, "radii": radii})
    else:
        output.show(certification(session.title, {session.spelled[eps]: s for eps, s in summaries.items()}))
        if spent is not None:
            output.show(parts(spent))
    output.note(f"run kept in {folder}")
    if errors := sum(summary.errors for summary in summaries.values()):
        output.note(f"error: {errors} samples met an error, which is no verdict; please report it with the run")
