"""A certification from the user's texts to its store: everything is read and checked before anything is written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from verify.data import Dataset, load_data
from verify.errors import InputError
from verify.goals import Goal
from verify.ir.graph import Network
from verify.ir.load import load
from verify.ir.normalize import normalized
from verify.ir.original import original
from verify.ir.rewrite import simplify
from verify.problem import around
from verify.proof.prover import Source
from verify.rationals import rational, shown
from verify.registry import default_methods
from verify.runs.certification.cascade import Cascade
from verify.runs.certification.summary import Summary, summarize
from verify.runs.engine.drive import Tell
from verify.runs.engine.run_folder import ALONE, Help, Keep, folder_of
from verify.runs.evidence.certificates import Proving, check_certificates
from verify.runs.options import (
    asked_goal,
    batch_of,
    clip_of,
    device_of,
    entries_of,
    normalization_of,
    proof_config,
    proof_level,
)


@dataclass(frozen=True)
class Request:
    """What a user asks of `verify certify`, as texts; README and `--help` say what they mean."""

    model: str
    data: str
    eps: str
    weights: str | None = None
    norm: str = "linf"
    clip: str = "0,1"
    normalize: str | None = None
    limit: int | None = 100
    methods: str | None = None
    timeout: float = 10.0
    device: str = "cpu"
    level: str | None = None
    proofs: Path | None = None
    batch: int | None = None
    threshold: str | None = None
    within: str | None = None
    bounds: str | None = None
    trust_code: bool = False

    def as_json(self) -> dict[str, Any]:
        """The texts by name; what stands here by default is left out."""
        values = {**asdict(self), "proofs": None if self.proofs is None else str(self.proofs)}
        plain = asdict(Request("", "", ""))
        return {name: value for name, value in values.items() if value != plain[name]}


@dataclass(frozen=True)
class Session:
    """A request that has been read and checked."""

    request: Request
    data: Dataset
    cascade: Cascade
    batch: int

    @property
    def title(self) -> str:
        """One line that says what is asked."""
        ball = f"{self.request.norm} eps {self.request.eps}"
        clip = "no clip" if self.request.clip == "none" else f"clip [{self.request.clip}]"
        level = f", proved at level {self.cascade.proving.level}" if self.cascade.proving is not None else ""
        goal = f", {words}" if (words := self.cascade.goal.words) else ""
        model = named(self.request.model, self.request.weights)
        return f"{model} on {len(self.cascade.x)} samples of {self.data.name}, {ball}, {clip}{goal}{level}"

    @property
    def spelled(self) -> dict[str, str]:
        """The radii as the user wrote them, by their names in the results."""
        return {str(eps): text for text, eps in typed_radii(self.request.eps).items()}

    @property
    def warnings(self) -> list[str]:
        """What the user may not have meant."""
        radii, size = map(Fraction, self.cascade.problems), self.data.x[0].numel()
        return [*self.data.notes, *beyond(radii, clip_of(self.request.clip), self.request.norm, size)]

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the results: digests, rationals as texts, and every setting of every method."""
        clip = clip_of(self.request.clip)
        return {
            "command": "certify",
            "model": self.network.digest,
            "data": self.data.digest,
            "samples": len(self.cascade.x),
            "eps": list(self.cascade.problems),
            "norm": self.request.norm,
            "clip": None if clip is None else [str(end) for end in clip],
            "methods": {name: repr(method) for name, method in self.cascade.methods.items()},
            "timeout": self.request.timeout,
            "device": self.request.device,
            "batch": self.batch,
            **goal_config(self.cascade.goal),
            **proof_config(self.cascade.proving and self.cascade.proving.level, self.request.proofs),
        }

    @property
    def total(self) -> int:
        """How many outcomes there will be."""
        return len(self.cascade.x) * len(self.cascade.problems)

    @property
    def network(self) -> Network:
        """The network that is certified."""
        return next(iter(self.cascade.problems.values())).network

    def run(
        self, out: Path | None, tell: Tell = lambda verdicts: None, *, resume: bool = False, help: Help = ALONE
    ) -> tuple[Path, dict[str, Summary]]:
        """Certifies what the run folder lacks; the folder and the summaries of the whole run by radius.

        Args:
            out: the run folder, by default a new one in runs/; one that holds a run is continued with `resume`, and
                refused without.
            tell: is told the verdicts that have become final.
            help: who shares the work.
        """
        keep = Keep(folder_of(out, self.request.model, resume), self.config, self.request.as_json(), self.batch)
        check = partial(check_certificates, self.request.proofs)
        summaries = keep.carry_out(self.cascade, help, tell, summarize, check)
        return keep.folder, summaries


def prepare(request: Request) -> Session:
    """Reads model and data and checks that all fits. Raises VerifyError with one sentence where it does not."""
    names = request.methods or default_methods("certify")
    entries, clip, device = entries_of(names), clip_of(request.clip), device_of(request.device)
    level, radii = proof_level(request.level, request.proofs), radii_of(request.eps)
    network = simplify(network_of(request.model, request.weights, request.normalize, request.trust_code)).to(device)
    goal = asked_goal(network, request.threshold, request.within, request.bounds)
    data = samples_of(request.data, request.limit, network, goal, request.clip)
    problems = {str(eps): around(network, data.x, data.y, eps, request.norm, clip, goal) for eps in radii}
    methods = {name: entry.make(request.timeout) for name, entry in entries.items()}
    dear, file = {name for name, entry in entries.items() if not entry.batched}, Path(request.model)
    source = Source(file, whole=not request.normalize) if file.is_file() else None
    proving = None if level is None else Proving(level, request.proofs, source, request.timeout)
    is_onnx = request.model.endswith((".onnx", ".onnx.gz")) and not request.normalize
    replay = original(file) if is_onnx else None  # where the model is an ONNX file that is used as it is
    timeout, labels = request.timeout, labels_of(data)
    cascade = Cascade(problems, data.x, labels, methods, dear, replay, proving, timeout, goal)
    return Session(request, data, cascade, batch_of(request.batch, network))


def network_of(model: str, weights: str | None, normalize: str | None, trust_code: bool = False) -> Network:
    """The network of a model, with the normalisation of its data in front if one is given."""
    front = None if normalize is None else normalization_of(normalize)
    network = load(model, weights, trust_code)
    return network if front is None else normalized(network, *front)


def samples_of(source: str, limit: int | None, network: Network, goal: Goal, clip: str) -> Dataset:
    """The samples as the network takes them. Raises InputError for classes that are numbered from 1, and for bytes
    where the clip speaks of them as they are in the file."""
    data = load_data(source, limit, shape=network.input_shape, labelled=goal.has_labels)
    ends = clip_of(clip)
    if data.is_scaled and ends is not None and ends[1] > 1:
        raise InputError(f"{data.name} holds bytes, which are divided by 255, but the clip is [{clip}]; write --clip "
                         "0,1 and eps in these units, or save the pixels as floats if the network takes them up to 255")
    classes = max(2, network.outputs)
    if goal.has_labels and data.span == (1, classes):
        raise InputError(f"{data.name} has labels from 1 to {classes}, but classes are numbered from 0; subtract 1 "
                         "from the labels")
    return replace(data, x=fitted(data.x, network.input_shape))


def labels_of(data: Dataset) -> list[int | None]:
    """The class of each sample, None where it has none."""
    return [*data.y.tolist()] if len(data.y) else [None] * len(data.x)


def goal_config(goal: Goal) -> dict[str, str]:
    """What a run's configuration says of its goal: nothing where the largest output is the class."""
    return {"goal": goal.words} if goal.words else {}


def radii_of(text: str) -> list[Fraction]:
    """The radii of a comma list, ascending. Raises InputError for one that is named twice, and for what may be a number
    with a decimal comma."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 2 and parts[0] == "0" and parts[1].isdecimal():
        raise InputError(f"eps {text!r} may be 0.{parts[1]} or two radii; write 0.{parts[1]}, or the larger radius "
                         f"first: {int(parts[1])},0")
    zeros = next((part for part in parts if part.isdecimal() and len(part) > 1 and part[0] == "0"), None)
    if zeros is not None:
        raise InputError(f"eps {text!r} names the radius {zeros}; decimals have a point, radii no leading zeros")
    radii = [exact_eps(part) for part in parts]
    again = next((part for k, part in enumerate(parts) if radii[k] in radii[:k]), None)
    if again is not None:
        raise InputError(f"eps {again} is named twice; {text!r} names a radius twice, name each once")
    return sorted(radii)


def typed_radii(text: str) -> dict[str, Fraction]:
    """The same radii by the texts that name them, as they stand there."""
    radii_of(text)
    return {part.strip(): exact_eps(part.strip()) for part in text.split(",")}


def largest_radius(clip: tuple[Fraction, Fraction], norm: str, size: int) -> Fraction:
    """A radius that reaches every valid input from everywhere."""
    width = clip[1] - clip[0]
    return width * {"linf": 1, "l2": math.isqrt(size - 1) + 1, "l1": size}.get(norm, 1)


def beyond(radii: Iterable[Fraction], clip: tuple[Fraction, Fraction] | None, norm: str, size: int) -> list[str]:
    """A warning where a ball holds every valid input."""
    largest = max(radii)
    if clip is None or largest <= largest_radius(clip, norm, size):
        return []
    low, high = map(shown, clip)
    return [f"eps {shown(largest)} reaches every input of the clip [{low}, {high}] and further; eps is in the units of "
            "the inputs, for example 8/255"]


def named(model: str, weights: str | None) -> str:
    """The model for a title; whether a factory trained its weights is for its author to know."""
    own = ":" in model and weights is None and not Path(model).exists()
    return f"{model} (weights as the factory makes them)" if own else model


def exact_eps(text: str, name: str = "eps") -> Fraction:
    """eps, or the largest one, as a rational >= 0."""
    eps = rational(text, name)
    if eps < 0:
        raise InputError(f"{name} is {text} but must be at least 0")
    return eps


def fitted(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x (batch, *any) as (batch, *shape) where only axes of length 1 differ, or where the network takes flat vectors.

    Another reshape would guess at the meaning of the axes; the problem refuses it.
    """
    given = tuple(x.shape[1:])
    same = [n for n in given if n != 1] == [n for n in shape if n != 1]
    flat = len(shape) == 1 and x[0].numel() == shape[0]
    return x.reshape(len(x), *shape) if same or flat else x
