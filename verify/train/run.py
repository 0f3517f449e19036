"""A training from its recipe to measured files. A run folder holds

    results.sqlite    the recipe, digests of the data, and the figures of every epoch
    checkpoint.pt     where the training is; continued from there after an interruption
    model.*           the trained network as safetensors, .pt2 and ONNX
    certify/          the certification of model.onnx on the test data, a run of `verify certify`
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from verify.deadline import Deadline
from verify.errors import InputError, VerifyError
from verify.ir.load import from_factory
from verify.models import architectures
from verify.runs.certification.session import Session, prepare
from verify.runs.certification.summary import Summary
from verify.runs.engine.drive import OnProgress
from verify.runs.engine.files import writable_folder
from verify.runs.engine.run_folder import versions
from verify.runs.engine.store import FILE, Store
from verify.runs.request import CertifyRequest
from verify.train import checkpoint
from verify.train.data import TrainingSamples, load_samples
from verify.train.export import write_model
from verify.train.initialize import ibp_initialise
from verify.train.live import Live
from verify.train.loop import Trainer
from verify.train.parallel import Team, start
from verify.train.recipe import Recipe

MEETING = ".meeting"


@dataclass(frozen=True)
class Watch:
    """What is told while a training runs: the share of an epoch that a step was, and the figures of an epoch."""

    step: Callable[[float], None] = lambda share: None
    epoch: Callable[[dict[str, Any]], None] = lambda figures: None


def train(
    recipe: Recipe, folder: Path, *, resume: bool = False, device: str = "cpu", processes: int = 1,
    watch: Watch | None = None, time_limit: float | None = None,
) -> int:
    """Trains until the recipe's epochs are done and writes the model files into the run folder; how many epochs the
    model has been trained for.

    Args:
        recipe: what to do.
        folder: made if absent; one that holds a run already is continued with `resume`, and refused without.
        device: "cpu" or "cuda"; processes: how many train together, on GPUs one each.
        watch: told of steps and epochs; with several processes, of none.
        time_limit: seconds, or None; the training stops after the epoch in which they are over, with what is there.

    Raises InputError for what does not fit, Diverged where the loss is no longer finite; the last checkpoint stays, and
    where there is none yet, nothing.
    """
    if not resume and any((folder / name).is_file() for name in (FILE, checkpoint.FILE)):
        raise InputError(f"{folder} holds a run already; continue it with --resume, or name another folder")
    if processes < 1 or (device == "cuda" and processes > torch.cuda.device_count()):
        raise InputError(f"{processes} processes were asked for; give 1 or more, on GPUs at most one for each")
    if recipe.schedule.batch < processes:
        raise InputError(f"a batch of {recipe.schedule.batch} is too small for {processes} processes; enlarge it")
    is_new = not folder.exists()
    writable_folder(folder)
    try:
        if processes == 1:
            _work(Team(), device, recipe, folder, watch, time_limit)
        else:
            start(_work, processes, folder / MEETING, device, (recipe, folder, None, time_limit))
    except BaseException:
        if is_new:
            with suppress(OSError):  # it holds what was trained so far
                folder.rmdir()
        raise
    return (checkpoint.load(folder) or {"epoch": 0})["epoch"]


def certification(recipe: Recipe, folder: Path, device: str = "cpu") -> Session:
    """The certification of the trained model on the test data, ready to be run into a folder of its own."""
    clip = recipe.threat.clip
    return prepare(CertifyRequest(
        model=str(folder / "model.onnx"), data=recipe.data.test or recipe.data.train, eps=recipe.threat.eps,
        norm=recipe.threat.norm, clip=f"{clip[0]},{clip[1]}" if clip else "none",
        limit=recipe.certify.limit or None, methods=recipe.certify.methods, timeout=recipe.certify.timeout,
        device=device, threshold=recipe.model.threshold,
    ))


def certify(session: Session, place: Path, on_progress: OnProgress = lambda verdicts: None) -> dict[str, Summary]:
    """Runs a `certification`; continues one that was interrupted. The summaries by radius."""
    return session.run(place, on_progress, resume=(place / FILE).is_file())[1]


def _work(
    team: Team, device: str, recipe: Recipe, folder: Path, watch: Watch | None, time_limit: float | None
) -> None:
    """Trains in one of the processes; the first also writes checkpoints and reports."""
    watch, until = watch or Watch(), Deadline.after(time_limit)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    samples, held, digests = load_samples(recipe.data, recipe.seed)
    module, example = build(recipe, samples)
    place = torch.device(device)
    live = Live(module.to(place), example.to(place), recipe.model.threshold)
    trainer = Trainer(recipe, live, samples.to(place), held.to(place), team)
    state = checkpoint.load(folder)
    if not team.leads:
        _continue(trainer, state, None, recipe, folder, watch, until)
        return
    config = {"command": "train", **recipe.config, "digests": digests, "device": device, "processes": team.world}
    store = Store.open(folder, config, versions())
    try:
        with store:
            _continue(trainer, state, store, recipe, folder, watch, until)
    except VerifyError:
        if trainer.epoch == 0:  # nothing was recorded, and a mended recipe may use the folder
            (folder / FILE).unlink()
        raise
    trainer.keep()
    write_model(module, example, folder)


def _continue(
    trainer: Trainer, state: dict[str, Any] | None, store: Store | None, recipe: Recipe, folder: Path, watch: Watch,
    until: Deadline,
) -> None:
    """Epochs from the checkpoint on, until all are done or time is over in any process. The checkpoint comes before the
    record of its epoch, and carries it."""
    if state is not None:
        trainer.restore(state)
        if store is not None and _key(state["figures"]) not in set(store.keys()):
            store.put(_key(state["figures"]), state["figures"])
    while trainer.epoch < recipe.schedule.epochs:
        figures = trainer.run_epoch(watch.step)
        if store is not None:
            checkpoint.save(folder, {**trainer.state(), "figures": figures})
            store.put(_key(figures), figures)
        watch.epoch(figures)
        if trainer.team.any(until.is_over, next(trainer.live.module.parameters())):
            break


def _key(figures: dict[str, Any]) -> str:
    return f"epoch/{figures['epoch']:04d}"


def build(recipe: Recipe, samples: TrainingSamples) -> tuple[nn.Module, Tensor]:
    """The untrained module of a recipe and an example input (1, *shape), on the CPU.

    Raises InputError where the samples do not fit the network.
    """
    model, example = recipe.model, samples.x[:1]
    if ":" in model.network:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(recipe.seed)
            module, own = from_factory(model.network)
        if own.shape[1:] != example.shape[1:]:
            raise InputError(f"{model.network} takes samples of shape {tuple(own.shape[1:])}, but those of "
                             f"{recipe.data.train} have {tuple(example.shape[1:])}; give data that fits")
    else:
        shape = tuple(example.shape[1:])
        module = architectures.make(model.network, shape, model.outputs, recipe.seed, **model.options)
    if model.initialisation == "ibp":
        ibp_initialise(module, recipe.seed)
    if model.mean:
        module = architectures.normalized(module, model.mean, model.std)
    weights = [p for p in module.parameters() if p.requires_grad]
    if not weights or any(p.dtype != torch.float32 for p in weights):
        what = "weights of another type than float32" if weights else "no weights to be trained"
        raise InputError(f"{model.network} has {what}; give a float32 network with parameters that require gradients")
    try:
        with torch.no_grad():
            outputs = module.eval()(example).numel()
    except (RuntimeError, IndexError) as problem:
        first = str(problem).splitlines()[0]
        raise InputError(f"{model.network} does not take samples of shape {tuple(example.shape[1:])} ({first}); check "
                         "the data, and that mean and std have one number or one for each channel") from None
    classes = int(samples.y.max()) + 1
    if classes > max(2, outputs):
        raise InputError(f"the labels of {recipe.data.train} go up to {classes - 1}, but the network has {outputs} "
                         f"outputs; it needs {classes}, which model.outputs says of an architecture")
    return module, example
