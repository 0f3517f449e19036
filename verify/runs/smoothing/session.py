"""Smoothing of a data set from the user's texts to its store, and what its results add up to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from math import fsum
from pathlib import Path
from typing import Any

from verify.errors import InputError
from verify.rationals import rational, shown
from verify.runs.engine.drive import OnProgress
from verify.runs.engine.run_folder import ONE_PROCESS, Parallelism, RunFolder, folder_of
from verify.runs.engine.store import Store
from verify.runs.options import exact_eps, typed_radii
from verify.runs.request import SmoothRequest
from verify.runs.smoothing.job import ABSTAINED, ERROR, SmoothingJob
from verify.runs.subject import Subject, read
from verify.smoothing.smoothing import Smoothing

ROWS = (Fraction(0), Fraction(1, 2), Fraction(1), Fraction(3, 2), Fraction(2))  # radii of the table, in sigmas
TOGETHER = 1  # samples of a task: one takes all draws


@dataclass(frozen=True)
class SmoothingSummary:
    """What the outcomes of all samples add up to.

    Args:
        samples, abstained, errors: how many there are, have no class, met an error.
        robust: by radius as it was typed, how many have their label everywhere within this L2 distance; None where the
            samples have no labels.
        mean_radius: of the samples that have their label, 0 for others (Zhai et al. 2020); of all where there are no
            labels.
        confidence: of each sample's answer; draws: noisy inputs for it.
        seconds: of all samples.
    """

    samples: int
    abstained: int
    errors: int
    robust: dict[str, int] | None
    mean_radius: float
    confidence: str
    draws: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The figures as values that JSON can hold."""
        return {"kind": "statistical", **asdict(self)}


@dataclass(frozen=True)
class SmoothingSession:
    """A request that has been read and checked, with the radii of its table by the texts that name them."""

    request: SmoothRequest
    subject: Subject
    job: SmoothingJob
    radii: dict[str, Fraction]

    @property
    def title(self) -> str:
        """One line that says what is asked."""
        return self.subject.title(f"l2, noise of sigma {self.request.sigma}, {self.request.draws} draws")

    @property
    def warnings(self) -> list[str]:
        """What the user may not have meant."""
        return [*self.subject.data.notes, *filter(None, [self.subject.network.refusal])]

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the results."""
        return {**self.subject.config, "smoothing": repr(self.job.smoothing)}

    def run(
        self, out: Path | None, on_progress: OnProgress = lambda verdicts: None, *, resume: bool = False,
        parallelism: Parallelism = ONE_PROCESS,
    ) -> tuple[Path, SmoothingSummary]:
        """Smooths what the run folder lacks; the folder and the summary."""
        folder = folder_of(out, self.request.model, resume)
        run = RunFolder(folder, self.config, self.request.as_json(), TOGETHER)
        return folder, run.carry_out(self.job, parallelism, on_progress, self._summary)

    def _summary(self, store: Store) -> SmoothingSummary:
        results = [r for key, r in store.items() if key.startswith("sample/")]
        labelled = any(r["label"] is not None for r in results)
        right = [r["radius"] for r in results if r["prediction"] is not None
                 and (not labelled or r["prediction"] == r["label"])]
        robust = {text: sum(radius >= eps for radius in right) for text, eps in self.radii.items()}
        verdicts = [r["verdict"] for r in results]
        return SmoothingSummary(
            len(results), verdicts.count(ABSTAINED), verdicts.count(ERROR), robust if labelled else None,
            fsum(right) / max(1, len(results)), self.request.confidence, self.request.draws,
            fsum(r["seconds"] for r in results),
        )


def prepare_smoothing(request: SmoothRequest) -> SmoothingSession:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    sigma = exact_eps(request.sigma, "sigma")
    smoothing = Smoothing(sigma, request.draws, request.first, rational(request.confidence, "confidence"), request.seed)
    radii = typed_radii(request.eps) if request.eps else {shown(part * sigma): part * sigma for part in ROWS}
    subject = read(request)
    if subject.network.outputs < 2:
        raise InputError(f"{request.model} has one output, and smoothing counts votes for classes; give a model with "
                         "one output for each class")
    job = SmoothingJob(subject.network, smoothing, subject.data.x, subject.labels)
    return SmoothingSession(request, subject, job, radii)
