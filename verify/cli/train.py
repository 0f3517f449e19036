"""`verify train`: train a network against its threat, and certify what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verify.cli.options import Threshold

if TYPE_CHECKING:
    from verify.train.recipe import Recipe


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="a .toml file, or a bundled recipe's name",
                                           show_default=False)],
    data: Annotated[str | None, typer.Option(
        metavar="DATA", help="training data instead of the recipe's, its test part too if it has one")] = None,
    test: Annotated[str | None, typer.Option(metavar="DATA", help="test data instead of the recipe's")] = None,
    threshold: Threshold = None,
    within: Annotated[str | None, typer.Option(hidden=True)] = None,
    bounds: Annotated[str | None, typer.Option(hidden=True)] = None,
    out: Annotated[Path | None, typer.Option(
        metavar="RUN", help="run folder; by default a new one in runs/", show_default=False)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in the folder")] = False,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu or cuda")] = "cpu",
    processes: Annotated[int, typer.Option(metavar="N", min=1, help="that train together, on GPUs one each")] = 1,
    timeout: Annotated[float | None, typer.Option(
        metavar="S", min=0, show_default=False,
        help="seconds for the training, which stops after the epoch in which they are over")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON instead of the table")] = False,
) -> None:
    """Train a network by a recipe, write it as safetensors, .pt2 and ONNX, and certify it on the test data.

    The table is measured by `verify certify` on the file model.onnx. An interrupted run continues with --resume.
    """
    from verify.cli import output
    from verify.errors import InputError
    from verify.report.training import epoch_line
    from verify.runs.engine.run_folder import fresh_folder
    from verify.runs.options import device_of
    from verify.train import run
    from verify.train.recipe import find_recipe, with_data, with_threshold

    if within is not None or bounds is not None:
        raise InputError("verify train minimises losses of classes, and a regressor has none; train it elsewhere and "
                         "ask `verify certify` with --within or --bounds")
    given = with_threshold(with_data(find_recipe(recipe), data, test), threshold)
    device_of(device)
    if resume and out is None:
        raise InputError("--resume continues the run in a folder; name it with --out RUN")
    folder = out or fresh_folder(str(recipe if recipe.suffix == ".toml" else f"{recipe}.toml"))
    with output.epochs(given.schedule.epochs) as bar:
        watch = run.Watch(bar.step, lambda figures: bar.epoch(figures, epoch_line(figures)))
        done = run.train(given, folder, resume=resume, device=device, processes=processes, watch=watch,
                         time_limit=timeout)
    if done < given.schedule.epochs:
        output.warn([f"the time limit was reached after {done} of {given.schedule.epochs} epochs; the model is what "
                     f"they made, and --resume --out {folder} continues"])
    output.note(f"trained; model.safetensors, model.pt2 and model.onnx are in {folder}")
    _certify(given, folder, device, epochs=done, json=json)


def _certify(given: Recipe, folder: Path, device: str, epochs: int, json: bool) -> None:
    """Certifies the model that so many epochs made, shows the table, and ends with its exit code."""
    from verify.cli import output
    from verify.report.table import certification as table
    from verify.runs.certification.summary import exit_code
    from verify.train import run

    # what is trained further is another model
    place = folder / ("certify" if epochs >= given.schedule.epochs else f"certify-after-{epochs}")
    session = run.certification(given, folder, device)
    output.warn(session.warnings)
    with output.verdicts(session.total) as on_progress:
        summaries = run.certify(session, place, on_progress)
    if json:
        found = {"title": session.title, "run": str(folder), "config": given.config}
        (summary,) = summaries.values()
        output.print_json({**found, **summary.as_json()})
    else:
        output.show(table(session.title, summaries))
    output.note(f"run kept in {folder}")
    raise typer.Exit(exit_code(summaries.values(), None))
