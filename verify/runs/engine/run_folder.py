"""A run that is kept: its folder, who works on it, and that it is the same when it is continued."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch

from verify.errors import InputError
from verify.runs.engine.cluster import Cluster
from verify.runs.engine.drive import OnProgress, certify
from verify.runs.engine.executors import Executor, Job, Processes, Serial
from verify.runs.engine.store import FILE, Store

T = TypeVar("T")


@dataclass(frozen=True)
class Parallelism:
    """Who shares the work: `workers` processes, or the workers of the Ray cluster at an address."""

    workers: int | None = None
    ray: str | None = None

    def executor(self, job: Job) -> Executor:
        """The workers. Raises InputError for more than one on a GPU."""
        if self.workers is not None and self.workers < 1:
            raise InputError(f"{self.workers} workers were asked for; give 1 or more")
        if self.ray is not None:
            return Cluster(job, self.ray, self.workers)
        device = job.device
        if device.type == "cuda" and (self.workers or 1) > torch.cuda.device_count():
            raise InputError(f"{self.workers} workers need a GPU each, but there are {torch.cuda.device_count()}")
        return Serial(job) if self.workers in (None, 1) else Processes(job, self.workers)


ONE_PROCESS = Parallelism()


@dataclass(frozen=True)
class RunFolder:
    """The folder in which the results of a job are stored, and what has to be the same when it is continued.

    Args:
        folder: of the run, see `folder_of`.
        config: what fixes the results; request: what the user typed.
        batch: samples of a batch.
    """

    folder: Path
    config: Mapping[str, Any]
    request: Mapping[str, Any]
    batch: int

    def carry_out(
        self, job: Job, parallelism: Parallelism, on_progress: OnProgress, summary: Callable[[Store], T],
        check: Callable[[Store], None] = lambda store: None,
    ) -> T:
        """Does what the run lacks; a summary of the whole run. `check` looks at a run before it goes on."""
        executor = parallelism.executor(job)  # first: where there are no workers, nothing is left in the folder
        try:
            with Store.open(self.folder, self.config, versions(), self.request, check) as store:
                certify(job, store, executor, self.batch, on_progress)
                return summary(store)
        finally:
            executor.close()


def folder_of(out: Path | None, model: str, resume: bool) -> Path:
    """The run folder. Raises InputError where it holds a run that is not to be continued, or none that is."""
    if out is None:
        if resume:
            raise InputError("--resume continues the run of a folder; name it with --out")
        return fresh_folder(model)
    if resume != (out / FILE).is_file():
        remedy = "leave out --resume" if resume else "continue it with --resume, or name another folder"
        raise InputError(f"{out} holds {'no run' if resume else 'a run already'}; {remedy}")
    return out


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute results, as far as they are installed; training needs no
    solver."""
    found = {"python": platform.python_version()}
    for name in ("verify-nn", "torch", "numpy", "highspy", "onnx"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def fresh_folder(model: str) -> Path:
    """A run folder that does not exist, named after the model and the time."""
    stem = Path(model.split(":")[-1]).stem or "run"
    base = Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    count, folder = 1, base
    while folder.exists():
        count += 1
        folder = base.with_name(f"{base.name}-{count}")
    return folder
