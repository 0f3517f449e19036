"""An attack on a data set from the user's texts to its store, and what its results add up to."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import fsum
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from verify.errors import InputError
from verify.runs.attack.doubts import Seen, are_probabilities, doubts
from verify.runs.attack.job import AttackJob
from verify.runs.attack.outcome import FALSIFIED, OPEN
from verify.runs.attack.pixels import Pictures
from verify.runs.attack.search import parts_of
from verify.runs.certification.confidence import clopper_pearson
from verify.runs.engine.drive import OnProgress
from verify.runs.engine.files import writable_folder, write_whole
from verify.runs.engine.run_folder import ONE_PROCESS, Parallelism, RunFolder, folder_of
from verify.runs.engine.store import Store
from verify.runs.options import batch_of, exact_eps
from verify.runs.request import AttackRequest
from verify.runs.subject import Subject, read

POINTS, IMAGES = "points.npz", "points"  # a file and a folder in the run's
UNIT = (Fraction(0), Fraction(1))


@dataclass(frozen=True)
class AttackSummary:
    """What the outcomes of all samples add up to.

    Args:
        samples, clean, robust: how many there are, are right as they are, and were not fooled besides.
        population: the interval of Clopper and Pearson for the accuracy under these attacks, 95 %.
        fooled, seconds: by attack, in their order.
        distance: median of the points of samples that were right, None where there are none.
        images: what the images of 8 bits do, with counts.
        warnings: why the robust accuracy may be lower than found.
        errors: samples that met an error.
        has_classes: whether samples have labels.
    """

    samples: int
    clean: int
    robust: int
    population: tuple[float, float]
    fooled: dict[str, int]
    seconds: dict[str, float]
    distance: float | None
    images: dict[str, int]
    warnings: list[str]
    errors: int
    has_classes: bool

    def as_json(self) -> dict[str, Any]:
        """The figures as values that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class AttackSession:
    """A request that has been read and checked."""

    request: AttackRequest
    subject: Subject
    job: AttackJob
    batch: int
    sums: bool

    @property
    def title(self) -> str:
        """One line that says what is asked."""
        return self.subject.title(f"{self.request.shape} eps {self.request.eps}")

    @property
    def warnings(self) -> list[str]:
        """What the user may not have meant."""
        return self.subject.warnings([exact_eps(self.request.eps)])

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the results."""
        methods = [repr(method) for method in self.job.methods]
        return {**self.subject.config, "eps": str(exact_eps(self.request.eps)), "methods": methods, "batch": self.batch}

    def run(
        self, out: Path | None, on_progress: OnProgress = lambda verdicts: None, *, resume: bool = False,
        parallelism: Parallelism = ONE_PROCESS,
    ) -> tuple[Path, AttackSummary]:
        """Attacks what the run folder lacks, and writes the points there; the folder and the summary."""
        folder = folder_of(out, self.request.model, resume)
        run = RunFolder(folder, self.config, self.request.as_json(), self.batch)
        job = replace(self.job, folder=folder / IMAGES)
        return folder, run.carry_out(job, parallelism, on_progress, self._summary, _with_images)

    def _summary(self, store: Store) -> AttackSummary:
        """The summary of the results in the store, whose points are written beside it."""
        results = sorted((r for key, r in store.items() if key.startswith("sample/")), key=lambda r: r["index"])
        _write_points(store, results)
        sound = [r for r in results if not r["error"]]
        robust, by = sum(r["verdict"] == OPEN for r in sound), Counter(r["method"] for r in sound if r["clean"])
        names = [method.name for method in self.job.methods]
        what = Seen(len(sound), robust, sum(r["is_flat"] for r in sound), sum(r["is_infinite"] for r in sound),
                    self.sums)
        seconds = {name: fsum(r["seconds"].get(name, 0.0) for r in sound) for name in names}
        far = [r["distance"] for r in sound if r["clean"] and r["method"] and r["distance"] is not None]
        told = doubts(self.job.methods, [r["method"] if r["clean"] else None for r in sound], what)
        return AttackSummary(
            len(results), sum(r["clean"] for r in sound), robust, clopper_pearson(robust, robust, len(sound)),
            {name: by[name] for name in names}, seconds, median(far) if far else None,
            dict(Counter(r["image"] for r in sound if r["image"])), told, len(results) - len(sound),
            any(r["label"] is not None for r in results),
        )


def prepare_attack(request: AttackRequest) -> AttackSession:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    entries, eps = request.entries, exact_eps(request.eps)
    for name, entry in entries.items():
        if entry.family != "lower":
            raise InputError(f"{name} is no attack; see `verify certify` for methods that bound")
    methods = tuple(part for entry in entries.values() for part in parts_of(entry.make(None)))
    names = [method.name for method in methods]
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise InputError(f"{again} is asked for twice, once by {request.attack}; name each attack once")
    subject = read(request)
    problem = subject.around(eps)
    with torch.no_grad():
        center = problem.inputs.nominal()[:1]
        sums = are_probabilities(problem, problem.network(center))
    front = subject.picture(eps)
    pictures = None if front is None else Pictures(front.to(subject.network.device), subject.samples)
    are_images = pictures is not None or problem.inputs.shape == subject.data.x.shape[1:]
    job = AttackJob(problem, subject.goal, subject.data.x, subject.labels, methods, request.timeout,
                    request.clip_ends == UNIT and are_images, pictures=pictures)
    return AttackSession(request, subject, job, batch_of(request.batch, subject.network), sums)


def _with_images(store: Store) -> None:
    """Makes the folder of the images."""
    writable_folder(store.folder / IMAGES)


def kept_in(folder: Path) -> str:
    """What a run left in its folder, in words."""
    places = [f"points in {folder / POINTS}"] if (folder / POINTS).is_file() else []
    places += [f"as images in {folder / IMAGES}"] if (folder / IMAGES).is_dir() else []
    return "; ".join([", ".join(places) or "no sample was fooled", f"run kept in {folder}"])


def _write_points(store: Store, results: list[dict[str, Any]]) -> None:
    """points.npz: index, label, x, point, and levels and variables where there are some, of the samples that were
    fooled; nothing where none was. The folder of the images goes where there are none."""
    fooled, images = [r for r in results if r["verdict"] == FALSIFIED], store.folder / IMAGES
    if not any(images.iterdir()):
        images.rmdir()
    if not fooled:
        return
    arrays = {name: [store.array(f"sample/{r['index']}", name) for r in fooled]
              for name in ("input", "witness", "levels", "variables")}
    kept = {"x" if name == "input" else "point" if name == "witness" else name: np.stack(values)  # pyright: ignore
            for name, values in arrays.items() if values and all(value is not None for value in values)}
    labels = {} if any(r["label"] is None for r in fooled) else {"y": np.array([r["label"] for r in fooled], np.int64)}
    file = io.BytesIO()
    np.savez(file, index=np.array([r["index"] for r in fooled], np.int64), **labels, **kept)
    write_whole(store.folder / POINTS, file.getvalue())
