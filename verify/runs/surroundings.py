"""What surrounds samples at any radius, where that is no ball: the sets and perturbations that `--set` names."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

from verify.fronts.base import Perturbation
from verify.fronts.perturbed import in_front, picture_of
from verify.fronts.reading import is_perturbation, perturbation_of
from verify.ir.graph import Network
from verify.problem import Problem
from verify.sets.around import sets_around
from verify.sets.norms import norm_of
from verify.sets.samples import Samples

Ends = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Surroundings:
    """What may become of samples at a radius eps, by which the numbers of a set or a perturbation are multiplied.

    Args:
        text: what `--set` says, norm: of balls, clip: the range of valid inputs, or None, grid: see `Samples`.
    """

    text: str
    norm: str
    clip: Ends | None
    grid: int | None = None

    @cached_property
    def perturbation(self) -> Perturbation | None:
        """What the text names, where it is no set but maps images and parameters."""
        return perturbation_of(self.text) if is_perturbation(self.text) else None

    def around(self, samples: Problem, eps: Fraction) -> Problem:
        """The problem of samples, given as that of the samples alone, in their sets at this radius."""
        if self.perturbation is not None:
            return in_front(samples, self.perturbation.times(eps), self.clip)
        around = Samples(samples.inputs.nominal(), eps, norm_of(self.norm), self.clip, self.grid)
        return replace(samples, inputs=sets_around(self.text, around))

    def picture(self, network: Network, eps: Fraction) -> Network | None:
        """What makes images of the problem's variables at this radius, where these are images and parameters."""
        found = self.perturbation
        return None if found is None else picture_of(found.times(eps), network, self.clip)

    def seen(self, network: Network, eps: Fraction, point: Tensor) -> tuple[Tensor, tuple[float, ...] | None]:
        """The input (*shape) of the network that a point of a set at this radius is or makes; and the parameters that
        make it, None where there are none."""
        picture = self.picture(network, eps)
        if picture is None:
            return point, None
        size = math.prod(network.input_shape)
        with torch.no_grad():
            return picture.double()(point[None].double())[0].to(point), tuple(point[size:].tolist())

