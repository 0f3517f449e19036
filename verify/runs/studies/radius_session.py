"""A search for radii from the user's texts to its store, and what its results add up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verify.errors import InputError
from verify.rationals import shown
from verify.runs.engine.drive import OnProgress
from verify.runs.engine.run_folder import ONE_PROCESS, Parallelism, RunFolder, folder_of
from verify.runs.engine.store import Store
from verify.runs.options import batch_of, exact_eps, share_of
from verify.runs.request import BALL, RadiusRequest
from verify.runs.studies.radii import Radii
from verify.runs.subject import Subject, largest_radius, read


@dataclass(frozen=True)
class RadiusSummary:
    """What the brackets of all samples add up to.

    Args:
        samples, clean: how many there are, and how many of them are classified rightly.
        closed, open, errors: how many brackets are narrow enough, are not, or met an error.
        lower, upper: mean, median, least and largest of the two ends over the samples, of the upper ones over those
            that have one; beyond: how many have none up to the largest radius that was asked for.
        seconds: of all samples together.
        reasons: why brackets are open, and what the errors were, with counts.
        results: of the samples, as the store has them, in their order.
    """

    samples: int
    clean: int
    closed: int
    open: int
    errors: int
    lower: dict[str, float]
    upper: dict[str, float]
    beyond: int
    seconds: float
    reasons: dict[str, int]
    results: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """The request as values that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class RadiusSession:
    """A request that has been read and checked."""

    request: RadiusRequest
    subject: Subject
    job: Radii
    batch: int

    @property
    def title(self) -> str:
        """One line that says what is asked."""
        asked, most = self.request, self.request.most or shown(self.job.most)
        radii = f"{asked.norm} radii up to {most}" if asked.set == BALL else f"{asked.set} times eps up to {most}"
        return self.subject.title(radii)

    @property
    def warnings(self) -> list[str]:
        """What the user may not have meant."""
        return self.subject.warnings([self.job.most])

    @property
    def config(self) -> dict[str, Any]:
        """All settings that determine the results, as JSON: a run continues only where they are the same."""
        return {
            **self.subject.config,
            "most": str(self.job.most),
            "methods": {name: repr(method) for name, method in self.job.methods.items()},
            "tolerance": str(self.job.tolerance),
            "batch": self.batch,
        }

    def run(
        self, out: Path | None, on_progress: OnProgress = lambda verdicts: None, *, resume: bool = False,
        parallelism: Parallelism = ONE_PROCESS,
    ) -> tuple[Path, RadiusSummary]:
        """Brackets what the run folder lacks; the folder and the summary. See `Session.run`."""
        folder = folder_of(out, self.request.model, resume)
        run = RunFolder(folder, self.config, self.request.as_json(), self.batch)
        return folder, run.carry_out(self.job, parallelism, on_progress, summarize_radii)


def prepare_radius(request: RadiusRequest) -> RadiusSession:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    entries, tolerance = request.entries, share_of(request.tolerance)
    if not tolerance > 0:
        raise InputError(f"the tolerance is {request.tolerance} but must be positive; write for example 1%")
    subject = read(request)
    most = _largest(request, subject) if request.most is None else exact_eps(request.most, "most")
    others = None if request.set == BALL else subject.surroundings
    subject.around(most)  # refuses what does not fit
    if most == 0:
        raise InputError("the largest radius is 0; give a positive one with --most")
    dear = {name for name, entry in entries.items() if not entry.batched}
    methods = {name: entry.make(request.timeout) for name, entry in entries.items()}
    network, x, labels, goal = subject.network, subject.data.x, subject.labels, subject.goal
    job = Radii(network, x, labels, most, request.norm, request.clip_ends, methods, dear, tolerance, request.timeout,
                goal, others)
    return RadiusSession(request, subject, job, batch_of(request.batch, network))


def summarize_radii(store: Store) -> RadiusSummary:
    """The summary of the results in the store of a `radius` run."""
    results = sorted((r for key, r in store.items() if key.startswith("sample/")), key=lambda r: r["index"])
    verdicts = Counter(r["verdict"] for r in results)
    sound = [r for r in results if r["verdict"] != "error"]
    return RadiusSummary(
        samples=len(results),
        clean=sum(r["label"] == r["prediction"] and r["upper"] != 0 for r in sound),
        closed=verdicts["closed"],
        open=verdicts["open"],
        errors=verdicts["error"],
        lower=_spread([float(Fraction(r["lower"])) for r in sound]),
        upper=_spread([r["upper"] for r in sound if r["upper"] is not None]),
        beyond=sum(r["upper"] is None for r in sound),
        seconds=sum(r["seconds"] for r in results),
        reasons=dict(Counter(
            r["error"] or r["reason"] or "the bounds leave a gap" for r in results if r["verdict"] != "closed"
        ).most_common()),
        results=results,
    )


def _largest(request: RadiusRequest, subject: Subject) -> Fraction:
    if request.set != BALL:
        return Fraction(1)  # the set as it is written
    if request.clip_ends is None:
        raise InputError("without a clip every radius is possible; give the largest one to look at with --most")
    return largest_radius(request.clip_ends, request.norm, prod(subject.network.input_shape))


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    array = np.array(values)
    return {"mean": float(array.mean()), "median": float(np.median(array)), "least": float(array.min()),
            "largest": float(array.max())}
