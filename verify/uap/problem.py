"""The question: how many of k samples does one perturbation of a ball fool, and how many can any of them fool?

    c* = max over ||delta|| <= eps of the number of samples i with violation_i(h(x_i + delta)) >= 0

With a clip, h is evaluated at x_i + delta moved into the range of valid inputs, entry by entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

from verify.errors import InputError
from verify.given import given
from verify.goals import goal_of
from verify.ir.front import behind
from verify.ir.graph import Network
from verify.ir.opaque.entry import Model
from verify.ir.symbolic import SymbolicValue, variable
from verify.problem import Problem, robustness
from verify.rationals import Number
from verify.sets import Ball, Box
from verify.sets.norms import Norm
from verify.upper.interval import least_violation


@dataclass(frozen=True)
class SharedProblem:
    """k samples, and the ball from which one perturbation of all of them comes.

    Args:
        each: the problems of the samples, in which every sample has a perturbation of its own.
        ball: of perturbations, a batch of one around zero.
    """

    each: Problem
    ball: Ball

    @property
    def count(self) -> int:
        """k, the number of samples."""
        return self.each.batch

    @property
    def x(self) -> Tensor:
        """The samples, (k, *shape)."""
        return self.each.inputs.nominal()

    @property
    def clip(self) -> tuple[Fraction, Fraction] | None:
        """The range of valid inputs, or None."""
        assert isinstance(self.each.inputs, Ball)
        return self.each.inputs.clip

    @property
    def network(self) -> Network:
        """h, of a network with a head its logits."""
        return self.each.network

    def moved(self, delta: Tensor, index: Tensor | None = None) -> Tensor:
        """The samples (at these positions) with the perturbation (*shape) added and clipped, in its floats."""
        return moved(self.x if index is None else self.x[index], delta, self.clip)

    def violations(self, delta: Tensor) -> Tensor:
        """The violation of every sample at one perturbation (*shape), as the network computes it; (k,)."""
        x = self.moved(delta)
        return self.each.violation(x)

    def fooled(self, delta: Tensor) -> Tensor:
        """Which samples a perturbation (*shape), moved into the ball, fools for certain; bool (k,).

        A sample counts where the network as it was read is fooled in its own precision, in float64, and in real
        arithmetic at the exact sum of sample and perturbation, within bounds on all rounding; of a model that is only
        executed, where that is fooled.
        """
        member = self.member(delta)
        if member is None:
            return torch.zeros(self.count, dtype=torch.bool, device=self.x.device)
        pairs = torch.stack([self.x, member.expand_as(self.x)], 1)
        joined = replace(self._joined, inputs=Box(pairs, pairs))
        wide, replayed = pairs.double(), joined.replayed(pairs) >= 0
        if joined.network.refusal:
            return replayed
        return replayed & (least_violation(joined, wide, wide) >= 0)

    def member(self, delta: Tensor) -> Tensor | None:
        """The perturbation (*shape) moved into the ball; None where rounding keeps it from being a member exactly."""
        inside = self.ball.project(delta[None].to(self.x))
        return inside[0] if bool(self.ball.contains(inside)) else None

    @cached_property
    def _joined(self) -> Problem:
        """The problems of the samples over pairs (sample, perturbation) as inputs."""
        whole = behind(self.network.unmerged or self.network, added(self.ball.shape, self.network.dtype, self.clip))
        pairs = torch.stack([self.x, torch.zeros_like(self.x)], 1)
        return Problem(whole, Box(pairs, pairs), self.each.spec, self.each.owner, self.count)


def moved(x: Tensor, delta: Tensor, clip: tuple[Fraction, Fraction] | None) -> Tensor:
    """x + delta, moved into the clip entry by entry."""
    return x + delta if clip is None else (x + delta).clamp(*map(float, clip))


def added(shape: tuple[int, ...], dtype: torch.dtype, clip: tuple[Fraction, Fraction] | None) -> Network:
    """What makes the network's input of a pair (sample, perturbation), (2, *shape) -> shape."""
    pair: SymbolicValue = variable((2, *shape), dtype)
    total = pair[0] + pair[1]
    return (total if clip is None else total.clip(*clip)).network()


def predictions(network: Network, x: Tensor) -> Tensor:
    """The class of every sample (k,) as the network predicts it; -1 where outputs are not finite."""
    with torch.no_grad():
        y = network(x.to(device=network.device, dtype=network.dtype))
        classes = torch.tensor(goal_of(network).classes(y), dtype=torch.long, device=network.device)
    return torch.where(y.flatten(1).isfinite().all(1), classes, -1)


def classes_before(network: Network, x: Tensor) -> Tensor:
    """The predictions (k,) that a perturbation is to change. Raises InputError for samples without one."""
    found = predictions(network, x)
    none = int((found < 0).sum())
    if none:
        raise InputError(f"the outputs are not finite on {none} of {len(x)} samples, so that they have no class to be "
                         "changed; mend the model, or leave these samples out")
    return found


def shared_problem(
    model: Network | Model, x: Tensor, y: Tensor | Sequence[int] | None, eps: Number, norm: str | Norm,
    clip: tuple[Number, Number] | None,
) -> SharedProblem:
    """The question of samples x (k, *shape), whose labels y (k,) are by default the network's predictions.

    Raises InputError where these do not fit.
    """
    network, x = given(model, x)
    start = robustness(network, x, torch.zeros(len(x), dtype=torch.long) if y is None else y, eps, norm, clip)
    inputs = start.inputs
    assert isinstance(inputs, Ball)
    if inputs.norm.counts:
        raise InputError(f"one perturbation of many samples takes no {inputs.norm} balls, in which a change has no end "
                         "but the clip of its sample; take linf, l2 or l1")
    if y is None:
        labels = classes_before(network, inputs.center)
        start = robustness(network, inputs.center, labels, eps, norm, clip)
    ball = Ball(torch.zeros_like(inputs.center[:1]), inputs.eps, inputs.norm, None)
    return SharedProblem(start, ball)
