"""A search for radii from the user's texts to its store, and what its results add up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verify.data import Dataset
from verify.errors import InputError
from verify.ir.rewrite import simplify
from verify.problem import around
from verify.rationals import shown
from verify.registry import default_methods
from verify.runs.certification.session import (
    beyond,
    exact_eps,
    goal_config,
    labels_of,
    largest_radius,
    named,
    network_of,
    samples_of,
)
from verify.runs.engine.drive import Tell
from verify.runs.engine.run_folder import ALONE, Help, Keep, folder_of
from verify.runs.engine.store import Store
from verify.runs.options import asked_goal, batch_of, clip_of, device_of, entries_of, share_of
from verify.runs.studies.radii import Radii


@dataclass(frozen=True)
class RadiusRequest:
    """What a user asks of `verify radius`, as texts; README and `--help` say what they mean."""

    model: str
    data: str
    most: str | None = None
    weights: str | None = None
    norm: str = "linf"
    clip: str = "0,1"
    normalize: str | None = None
    limit: int | None = 100
    methods: str | None = None
    timeout: float = 10.0
    tolerance: str = "1%"
    device: str = "cpu"
    batch: int | None = None
    threshold: str | None = None
    within: str | None = None
    bounds: str | None = None
    trust_code: bool = False

    def as_json(self) -> dict[str, Any]:
        """The texts by name; what stands here by default is left out."""
        plain = asdict(RadiusRequest("", ""))
        return {name: value for name, value in asdict(self).items() if value != plain[name]}


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
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class RadiusSession:
    """A request that has been read and checked."""

    request: RadiusRequest
    data: Dataset
    job: Radii
    batch: int

    @property
    def title(self) -> str:
        """One line that says what is asked."""
        clip = "no clip" if self.request.clip == "none" else f"clip [{self.request.clip}]"
        radii = f"{self.request.norm} radii up to {self.request.most or shown(self.job.most)}, {clip}"
        goal = f", {words}" if (words := self.job.goal.words) else ""
        model = named(self.request.model, self.request.weights)
        return f"{model} on {len(self.job.x)} samples of {self.data.name}, {radii}{goal}"

    @property
    def warnings(self) -> list[str]:
        """What the user may not have meant."""
        return [*self.data.notes, *beyond([self.job.most], self.job.clip, self.job.norm, self.job.x[0].numel())]

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the results."""
        clip = self.job.clip
        return {
            "command": "radius",
            "model": self.job.network.digest,
            "data": self.data.digest,
            "samples": len(self.job.x),
            "most": str(self.job.most),
            "norm": self.job.norm,
            "clip": None if clip is None else [str(end) for end in clip],
            "methods": {name: repr(method) for name, method in self.job.methods.items()},
            "tolerance": str(self.job.tolerance),
            "timeout": self.job.timeout,
            "device": self.request.device,
            "batch": self.batch,
            **goal_config(self.job.goal),
        }

    def run(
        self, out: Path | None, tell: Tell = lambda verdicts: None, *, resume: bool = False, help: Help = ALONE
    ) -> tuple[Path, RadiusSummary]:
        """Brackets what the run folder lacks; the folder and the summary. See `Session.run`."""
        folder = folder_of(out, self.request.model, resume)
        keep = Keep(folder, self.config, self.request.as_json(), self.batch)
        return folder, keep.carry_out(self.job, help, tell, summarize_radii)


def prepare_radius(request: RadiusRequest) -> RadiusSession:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    entries, clip = entries_of(request.methods or default_methods("radius")), clip_of(request.clip)
    device, tolerance = device_of(request.device), share_of(request.tolerance)
    if not tolerance > 0:
        raise InputError(f"the tolerance is {request.tolerance} but must be positive; write for example 1%")
    network = simplify(network_of(request.model, request.weights, request.normalize, request.trust_code)).to(device)
    goal = asked_goal(network, request.threshold, request.within, request.bounds)
    data = samples_of(request.data, request.limit, network, goal, request.clip)
    widest = request.most is None
    most = _largest(clip, request.norm, prod(network.input_shape)) if widest else exact_eps(request.most or "", "most")
    around(network, data.x, data.y, most, request.norm, clip, goal)  # refuses what does not fit
    if most == 0:
        raise InputError("the largest radius is 0; give a positive one with --most")
    dear = {name for name, entry in entries.items() if not entry.batched}
    methods = {name: entry.make(request.timeout) for name, entry in entries.items()}
    labels, norm = labels_of(data), request.norm
    job = Radii(network, data.x, labels, most, norm, clip, methods, dear, tolerance, request.timeout, goal)
    return RadiusSession(request, data, job, batch_of(request.batch, network))


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


def _largest(clip: tuple[Fraction, Fraction] | None, norm: str, size: int) -> Fraction:
    if clip is None:
        raise InputError("without a clip every radius is possible; give the largest one to look at with --most")
    return largest_radius(clip, norm, size)


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    array = np.array(values)
    return {"mean": float(array.mean()), "median": float(np.median(array)), "least": float(array.min()),
            "largest": float(array.max())}
