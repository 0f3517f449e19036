"""Problems in which few parameters vary: the network behind a perturbation, and the ranges of its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np
import torch
from torch import Tensor

from verify.fronts.base import Perturbation
from verify.fronts.reading import perturbation_of
from verify.goals import Aim
from verify.ir.front import behind
from verify.ir.graph import Network
from verify.ir.symbolic import SymbolicValue, variable
from verify.problem import Problem, robustness
from verify.rationals import Number, exact_array, rational
from verify.sets import Box

Ends = tuple[Fraction, Fraction]


def perturbed(
    network: Network,
    x: Tensor,
    y: Tensor | Sequence[int] | None,
    perturbation: Perturbation | str,
    clip: tuple[Number, Number] | None = (0, 1),
    target: Aim | None = None,
    *,
    wins: bool = False,
    threshold: Number | None = None,
    tolerance: Number | None = None,
    bounds: tuple[Number | None, Number | None] | None = None,
) -> Problem:
    """Does the answer to each sample stay, whatever the parameters of a perturbation are in their ranges?

    The variables are the image, flat and pinned to the sample, and after it the parameters; the problem's front makes
    the network's input of them.

    Args:
        network, x, y, target, wins, threshold, tolerance, bounds: as for `verify.robustness`.
        perturbation: of `verify.fronts`, such as Rotation("5deg") + PixelNoise("1/255"), or a text as `--set` takes it.
        clip: (low, high) range of valid inputs; what a perturbation moves out of it is clipped. None for no clip.

    Raises InputError for shapes, labels or values that do not fit.
    """
    plain = robustness(network, x, y, 0, "linf", clip, target, wins=wins, threshold=threshold, tolerance=tolerance,
                       bounds=bounds)
    ends = None if clip is None else (rational(clip[0], "clip"), rational(clip[1], "clip"))
    given = perturbation_of(perturbation) if isinstance(perturbation, str) else perturbation
    return in_front(plain, given, ends)


def in_front(plain: Problem, perturbation: Perturbation, clip: Ends | None) -> Problem:
    """A problem of single points, with the perturbation before the network."""
    x, network = plain.inputs.low, plain.network
    front, ranges = front_of(perturbation, network, clip), perturbation.ranges(network.input_shape)
    pixels = exact_array(x.flatten(1))
    low, high = (np.concatenate([pixels, np.broadcast_to(end, (len(x), len(end)))], 1)
                 for end in (ranges.low, ranges.high))
    return replace(plain, network=behind(network, front), inputs=Box(low, high, dtype=x.dtype).to(x.device))


def front_of(perturbation: Perturbation, network: Network, clip: Ends | None) -> Network:
    """The map of image and parameters, one flat vector, to an input of the network."""
    return _made(perturbation, network, clip).network()


def picture_of(perturbation: Perturbation, network: Network, clip: Ends | None) -> Network:
    """The same for images that are looked at and kept: rounding leaves none of them outside the clip."""
    found = _made(perturbation, network, clip)
    return (found if clip is None else found.clip(*clip)).network()


def _made(perturbation: Perturbation, network: Network, clip: Ends | None) -> SymbolicValue:
    """What becomes of an image. Means of pixels, and of pixels and the 0 outside, stay in a clip that holds 0."""
    shape, start = network.input_shape, prod(network.input_shape)
    given = variable((start + len(perturbation.ranges(shape).low),), network.dtype)
    x = given[:start].reshape(*shape)
    for part in perturbation.parts:
        end = start + len(part.ranges(shape).low)
        x, start = part.perturb(x, given[start:end]), end
        if clip is not None and (part.widens or not clip[0] <= 0 <= clip[1]):
            x = x.clip(*clip)
    return x


def unchanged(perturbation: Perturbation, x: Tensor) -> Tensor:
    """The samples x (batch, *shape) with parameters that change nothing, as points (batch, variables)."""
    neutral = perturbation.ranges(tuple(x.shape[1:])).neutral
    rest = torch.from_numpy(neutral.astype(np.float64)).to(x)
    return torch.cat([x.flatten(1), rest.expand(len(x), -1)], 1)
