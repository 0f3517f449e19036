"""What a request speaks of: the network, the goal and the samples, read and checked against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from verify.data import Dataset, load_data
from verify.errors import InputError
from verify.fronts.perturbed import unchanged
from verify.fronts.reading import is_perturbation, perturbation_of
from verify.goals import Goal
from verify.ir.front import normalized
from verify.ir.graph import Network
from verify.ir.load import load
from verify.ir.opaque.entry import attackable
from verify.ir.rewrite import simplify
from verify.problem import Problem, around
from verify.rationals import shown
from verify.runs.options import asked_goal, device_of, normalization_of
from verify.runs.request import BALL, Request
from verify.runs.surroundings import Surroundings
from verify.sets.around import kind_of
from verify.sets.norms import norm_of


@dataclass(frozen=True)
class Subject:
    """What was asked, the network on its device, the goal of its outputs, and the samples as it takes them."""

    request: Request
    network: Network
    goal: Goal
    data: Dataset

    @property
    def labels(self) -> list[int | None]:
        """The class of each sample, None where it has none."""
        return [*self.data.y.tolist()] if len(self.data.y) else [None] * len(self.data.x)

    @property
    def config(self) -> dict[str, Any]:
        """What fixes the results of a run: digests, rationals as texts. Each command adds its own."""
        asked, clip, words = self.request, self.request.clip_ends, self.goal.words
        return {
            "command": asked.command,
            "model": self.network.digest,
            "data": self.data.digest,
            "samples": len(self.data.x),
            "norm": asked.norm,
            **({} if asked.set == BALL else {"set": asked.set, "set file": _digest(asked.set)}),
            "clip": None if clip is None else [str(end) for end in clip],
            **({} if asked.grid is None else {"grid": asked.grid}),
            "timeout": asked.timeout,
            "device": asked.device,
            **({"goal": words} if words else {}),  # nothing where the largest output is the class
        }

    @cached_property
    def surroundings(self) -> Surroundings:
        """What `--set` names."""
        return Surroundings(self.request.set, self.request.norm, self.request.clip_ends, self.request.grid)

    @property
    def points(self) -> Tensor:
        """The samples as points of the problems."""
        found = self.surroundings.perturbation
        return self.data.x if found is None else unchanged(found, self.data.x)

    def picture(self, eps: Fraction) -> Network | None:
        """What makes images of the problem's variables at this radius, where these are images and parameters."""
        return self.surroundings.picture(self.network, eps)

    @property
    def samples(self) -> Problem:
        """The problem of the samples alone."""
        asked = self.request
        return around(self.network, self.data.x, self.data.y, 0, asked.norm, asked.clip_ends, self.goal)

    def around(self, eps: Fraction) -> Problem:
        """The problem of all samples in their sets at this radius."""
        return self.surroundings.around(self.samples, eps)

    def title(self, radii: str) -> str:
        """One line that says what is asked of which samples."""
        asked = self.request
        clip = "no clip" if asked.clip == "none" else f"clip [{asked.clip}]"
        goal = f", {words}" if (words := self.goal.words) else ""
        own = ":" in asked.model and asked.weights is None and not Path(asked.model).exists()
        model = f"{asked.model} (weights as the factory makes them)" if own else asked.model  # it may have trained them
        return f"{model} on {len(self.data.x)} samples of {self.data.name}, {radii}, {clip}{goal}"

    def warnings(self, radii: Iterable[Fraction]) -> list[str]:
        """What the user may not have meant: also a ball that holds every valid input, and a model that is only
        executed."""
        largest, clip, size = max(radii), self.request.clip_ends, self.data.x[0].numel()
        is_ball = self.request.set == BALL
        notes = [*self.data.notes, *filter(None, [self.network.refusal])]
        if not is_ball or clip is None or largest <= largest_radius(clip, self.request.norm, size):
            return notes
        low, high = map(shown, clip)
        return [*notes, f"eps {shown(largest)} reaches every input of the clip [{low}, {high}] and further; "
                "eps is in the units of the inputs, for example 8/255"]


def read(request: Request, *, simplified: bool = True) -> Subject:
    """Reads model and data and checks that they fit. Raises VerifyError with one sentence where they do not."""
    device, clip = device_of(request.device), request.clip_ends
    if not request.timeout > 0:
        raise InputError(f"timeout is {request.timeout:g} but must be a positive number of seconds; write for example "
                         "10")
    if request.set != BALL and request.norm != "linf":
        raise InputError(f"--norm is of balls, and --set asks for {request.set}; leave out one of the two")
    if request.grid is not None and not request.grids:
        raise InputError(f"verify {request.command} knows no grid, and would answer for all inputs between its points; "
                         "leave out --grid")
    if request.grid is not None and is_perturbation(request.set):
        raise InputError(f"--grid is of the inputs' own entries, and --set {request.set} varies parameters; leave out "
                         "one of the two")
    (perturbation_of if is_perturbation(request.set) else kind_of)(request.set)  # refused before anything is read
    reader = attackable if request.attacks else load
    network = network_of(request.model, request.weights, request.normalize, request.trust_code, reader)
    network = (simplify(network) if simplified else network).to(device)
    goal = asked_goal(network, request.threshold, request.within, request.bounds)
    return Subject(request, network, goal, samples_of(request, network, goal, clip))


def network_of(
    model: str, weights: str | None, normalize: str | None, trust_code: bool = False,
    reader: Callable[[str, str | None, bool], Network] = load,
) -> Network:
    """The network of a model, with the normalisation of its data in front if one is given. With `attackable` as the
    reader it may be one that is only executed."""
    front = None if normalize is None else normalization_of(normalize)
    network = reader(model, weights, trust_code)
    return network if front is None else normalized(network, *front)


def samples_of(
    request: Request, network: Network, goal: Goal, clip: tuple[Fraction, Fraction] | None
) -> Dataset:
    """The samples as the network takes them. Raises InputError for classes that are numbered from 1, and for bytes
    where the clip speaks of them as they are in the file."""
    data = load_data(request.data, request.limit, shape=network.input_shape, labelled=goal.has_labels)
    if data.is_scaled and clip is not None and clip[1] > 1:
        raise InputError(f"{data.name} holds bytes, which are divided by 255, but the clip is [{request.clip}]; write "
                         "--clip 0,1 and eps in these units, or save the pixels as floats if the network takes them "
                         "up to 255")
    classes = max(2, network.outputs)
    if goal.has_labels and data.span == (1, classes):
        raise InputError(f"{data.name} has labels from 1 to {classes}, but classes are numbered from 0; subtract 1 "
                         "from the labels")
    return replace(data, x=fitted(data.x, network.input_shape))


def fitted(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x (batch, *any) as (batch, *shape) where only axes of length 1 differ, or where the network takes flat vectors.

    Another reshape would guess at the meaning of the axes; the problem refuses it.
    """
    given = tuple(x.shape[1:])
    same = [n for n in given if n != 1] == [n for n in shape if n != 1]
    flat = len(shape) == 1 and x[0].numel() == shape[0]
    return x.reshape(len(x), *shape) if same or flat else x


def largest_radius(clip: tuple[Fraction, Fraction], norm: str, size: int) -> Fraction:
    """A radius that reaches every valid input from everywhere."""
    return norm_of(norm).across(clip[1] - clip[0], size)


def _digest(text: str) -> str | None:
    """SHA-256 of the files that a set, or the parts of a perturbation, name; None where they name none."""
    parts = text.split("+") if is_perturbation(text) else [text]
    files = [Path(part.partition(":")[2]) for part in parts]
    found = [sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
    return "+".join(found) or None
