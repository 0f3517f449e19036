"""Descends the dual: slopes and multipliers that make upper bounds small."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from verify.deadline import deadline, within
from verify.errors import OutOfTime
from verify.upper.duals.domains import Domains, Objective, Primal, Pulled
from verify.upper.duals.dual import Dual, RelaxedDomains

STEP = 0.5  # first step of a slope, in units of its own range
WARM = 0.3  # the same in a split domain, whose slopes are those of its parent
PRESS = 0.8  # first step of a multiplier, in units of the coefficients that it adds to
FADE = 0.2  # share of the first step that is left at the last
INERTIA, MEMORY = 0.3, 0.75  # of the mean gradient and of its largest size, as in AdaMax (Kingma and Ba 2015)
REACH = 12.0  # times the excess is what a step may promise
SHARE = 0.8  # of the time that is left; then the best so far is to be made something of
SPARSE = 0.7  # rows leave the batch once at most this share of them is undecided


class Optimised(NamedTuple):
    """The least bounds that were met (rows,), the domains with the duals that give them, and the relaxation at the last
    duals that were tried: coefficients of f at the tracked entries (rows, U), and where the bound is attained."""

    bound: Tensor
    domains: Domains
    a: Tensor
    primal: Primal

    def take(self, index: Tensor) -> Optimised:
        """The rows at these positions."""
        return Optimised(self.bound[index], self.domains.take(index), self.a[index], self.primal.take(index))


def optimise(
    dual: Dual, objective: Objective, domains: Domains, steps: int,
    cutoff: Tensor | None = None, split: Tensor | None = None, relaxed: RelaxedDomains | None = None,
) -> Optimised:
    """Bounds the rows of an objective on domains, then descends for some steps, at least 1 bound in all.

    Args:
        cutoff: (rows,) a row leaves as soon as its bound is below; None to use all steps.
        split: bool (rows, U), the tracked entries whose multipliers are free; None to keep them as they are.
        relaxed: of the domains, where it is known already.

    Where time is short it takes fewer steps. Sound because `RelaxedDomains.pull` is for any duals; trusts float
    rounding.
    """
    relaxed = RelaxedDomains(dual, domains) if relaxed is None else relaxed
    best = Best(objective, domains)
    with within(deadline().part(SHARE)):
        try:
            _descend(best, relaxed, objective, domains, steps, cutoff, split)
        except OutOfTime:
            if best.x is None:
                raise
    return best.result()


def _descend(
    best: Best, relaxed: RelaxedDomains, objective: Objective, domains: Domains, steps: int,
    cutoff: Tensor | None, split: Tensor | None,
) -> None:
    """The bounds of `optimise`, told to `best` one after the other."""
    descent = Descent(relaxed, objective, domains, split)
    steps = steps if descent.may_move else 1
    left = torch.arange(len(domains.owner), device=domains.owner.device)
    for k in range(steps):
        pulled = descent.relaxed.pull(descent.objective, descent.slope, descent.multiplier)
        primal = descent.relaxed.primal(descent.objective, pulled)
        best.see(left, pulled, primal, descent.slope, descent.multiplier)
        if k + 1 == steps:
            break
        if cutoff is not None:
            keep = (~(best.bound[left] < cutoff[left])).nonzero().flatten()
            if not len(keep):
                break
            if len(keep) <= SPARSE * len(left):
                left = left[keep]
                pulled, primal = pulled.take(keep), primal.take(keep)
                descent.keep(keep)
        # ranges of neurons are wanted tight, whatever they decide; bounds of split domains only low enough
        excess = None if cutoff is None or split is None else pulled.bound - cutoff[left]
        descent.step(pulled, primal, k, 1 - (1 - FADE) * k / (steps - 1), excess)


class Best:
    """The least bound of every row so far with its duals, and the last relaxation."""

    def __init__(self, objective: Objective, domains: Domains):
        self.domains = domains
        self.slope, self.multiplier = domains.slope.clone(), domains.multiplier.clone()
        self.bound = domains.low.new_full((len(domains.owner),), torch.inf)
        self.a, self.z = torch.zeros_like(self.slope), torch.zeros_like(self.slope)
        self.x: Tensor | None = None
        self.value = torch.zeros_like(objective.a)

    def see(self, left: Tensor, pulled: Pulled, primal: Primal, slope: Tensor, multiplier: Tensor | None) -> None:
        """Notes what the rows at these positions have reached; a bound that is NaN is never the least."""
        if self.x is None:
            self.x = torch.empty_like(primal.x)
        better = (pulled.bound < self.bound[left]).nonzero().flatten()
        if len(better) == len(self.bound):
            self.bound, self.slope = pulled.bound, slope
            self.multiplier = self.multiplier if multiplier is None else multiplier
        else:
            into = left[better]
            self.bound[into], self.slope[into] = pulled.bound[better], slope[better]
            if multiplier is not None:
                self.multiplier[into] = multiplier[better]
        if len(left) == len(self.bound):
            self.a, (self.z, self.x, self.value) = pulled.a, primal
        else:
            self.a[left], self.z[left], self.x[left], self.value[left] = pulled.a, *primal

    def result(self) -> Optimised:
        assert self.x is not None
        domains = self.domains._replace(slope=self.slope, multiplier=self.multiplier)
        return Optimised(self.bound, domains, self.a, Primal(self.z, self.x, self.value))


class Descent:
    """State of AdaMax for the slopes, as shares of their ranges, and the multipliers of the rows that are left."""

    def __init__(self, relaxed: RelaxedDomains, objective: Objective, domains: Domains, split: Tensor | None):
        self.relaxed, self.objective = relaxed, objective
        self.slope = domains.slope.clamp(relaxed.least, relaxed.most)
        self.span = relaxed.most - relaxed.least
        self.share = (self.slope - relaxed.least) / self.span.clamp(min=torch.finfo(self.span.dtype).tiny)
        # (rows, U) tracked entries whose multipliers are free as ones, or None for no change of multipliers
        self.split = None if split is None else split.to(self.slope)
        self.multiplier = None if split is None and not bool(domains.multiplier.any()) else domains.multiplier.clone()
        self.moments = [torch.zeros_like(self.slope) for _ in range(2 if split is None else 4)]
        self.length = STEP if split is None else WARM
        self.unit: Tensor | None = None  # (rows, U) scale of the multipliers

    @property
    def may_move(self) -> bool:
        """Whether there is anything to choose."""
        return self.split is not None or bool((self.span > 0).any())

    def step(self, pulled: Pulled, primal: Primal, k: int, rest: float, excess: Tensor | None = None) -> None:
        """One step down from the point where the bound is attained; rest is the share of the step length.

        excess (rows,) is how far the bounds lie above where they are wanted: a step that would lower a bound by far
        more than that, to first order, is shortened, as in Polyak's rule. Duals that are almost good enough are not
        thrown about.
        """
        gradient = self.relaxed.gradient(pulled, primal).mul_(self.span)
        moves = [(gradient, self._move(0, gradient, k, self.length * rest))]
        if self.split is not None:
            gradient = self._pressure(primal, self.split)
            moves.append((gradient, self._move(2, gradient, k, PRESS * rest) * self._unit(pulled)))
        if excess is not None:
            fall = torch.stack([torch.linalg.vecdot(*pair) for pair in moves]).sum(0)
            short = (REACH * excess / fall.clamp(min=torch.finfo(fall.dtype).tiny)).clamp(max=1)[:, None]
            moves = [(gradient, move * short) for gradient, move in moves]
        self.share.sub_(moves[0][1]).clamp_(0, 1)
        self.slope = torch.addcmul(self.relaxed.least, self.share, self.span)
        if self.multiplier is not None and self.split is not None:
            new = self.multiplier - moves[1][1]
            # a multiplier stops at zero, where the other end of the range takes over
            crossed = torch.lt(new * self.multiplier, 0, out=torch.empty_like(new))
            self.multiplier = new * (1 - crossed)

    def _pressure(self, primal: Primal, split: Tensor) -> Tensor:
        """The gradient of the bound in the multipliers."""
        assert self.multiplier is not None
        side = self.multiplier.sign()
        below, above = primal.z - self.relaxed.low, primal.z - self.relaxed.high
        up, down = side.clamp(min=0), side.clamp(max=0)
        # at zero the subdifferential is [above, below], and nothing moves where that holds 0
        rest = (below.clamp(max=0) + above.clamp(min=0)).mul_(1 - side.abs())
        return rest.addcmul_(up, below).addcmul_(down, above, value=-1).mul_(split)

    def _unit(self, pulled: Pulled) -> Tensor:
        """The scale of the multipliers: the size of the coefficients that they add to, at first."""
        if self.unit is None:
            self.unit = torch.empty_like(pulled.a)
            for layer in self.relaxed.dual.layers.values():
                a = pulled.a[:, layer.span]
                self.unit[:, layer.span] = a.square().mean(1, keepdim=True).sqrt()
        return self.unit

    def keep(self, index: Tensor) -> None:
        """Goes on with the rows at these positions only."""
        self.relaxed, self.objective = self.relaxed.take(index), self.objective.take(index)
        self.slope, self.share, self.span = self.slope[index], self.share[index], self.span[index]
        self.multiplier = None if self.multiplier is None else self.multiplier[index]
        self.split = None if self.split is None else self.split[index]
        self.unit = None if self.unit is None else self.unit[index]
        self.moments = [part[index] for part in self.moments]

    def _move(self, at: int, gradient: Tensor, k: int, length: float) -> Tensor:
        """What AdaMax subtracts: the mean of the gradients so far over their largest size, both fading."""
        mean, size = self.moments[at], self.moments[at + 1]
        mean.lerp_(gradient, 1 - INERTIA)
        torch.maximum(size.mul_(MEMORY), gradient.abs(), out=size)
        return mean / (size + torch.finfo(gradient.dtype).tiny) * (length / (1 - INERTIA ** (k + 1)))
