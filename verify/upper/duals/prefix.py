"""Whole sets with ranges that are final up to some layer, for rows over what comes behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from verify.ops.base import IntervalBounds
from verify.upper.duals.descent import optimise
from verify.upper.duals.domains import Domains, Objective
from verify.upper.duals.dual import Dual, RelaxedDomains
from verify.upper.duals.float64 import outward, replayed_on
from verify.upper.duals.receptive_field import cropped, cropped_rows, cropped_tracked, windows_of


@dataclass(frozen=True)
class Stage:
    """The relaxation of whole sets in two precisions.

    Args:
        dual: of the network, or of the network before one entry of a map.
        domains: the sets, in the precision of the search, with the slopes to begin with.
        near, far: the same with their lines, for the search and in float64.
        places: how many rows of `domains` a set has: 1, or the entries of a channel of the map.
    """

    dual: Dual
    domains: Domains
    near: RelaxedDomains
    far: RelaxedDomains
    places: int = 1

    @classmethod
    def of(cls, dual: Dual, wide: Dual, ranges: IntervalBounds, count: int) -> Stage:
        """Whole sets whose first `count` tracked entries have these ranges, float64 (batch, U), for rows before the
        others."""
        dual, exact = dual.first(count), IntervalBounds(ranges.low[:, :count], ranges.high[:, :count])
        whole = torch.arange(dual.inputs.batch, device=ranges.low.device)
        low, high = outward(exact, dual.low.dtype)
        domains = Domains(whole, low, high, dual.usual_slopes(low, high), torch.zeros_like(low))
        wider = Domains(whole, *exact, domains.slope.double(), domains.multiplier.double())
        return cls(dual, domains, RelaxedDomains(dual, domains), RelaxedDomains(wide.first(count), wider))

    def before(self, name: str) -> Stage:
        """The same for rows over single entries of a value: on what these depend on, where that is much less."""
        windows = windows_of(self.dual, name)
        if windows is None:
            return self
        small, wide = cropped(self.dual, name, windows), cropped(self.far.dual, name, windows)
        low, high, slope, none = (cropped_tracked(self.dual, small, windows, part) for part in self.domains[1:])
        near, far = cropped_rows(self.near, small, windows), cropped_rows(self.far, wide, windows)
        places = prod(self.dual.network.graph.shape_of(name)[1:])
        return Stage(small, Domains(near.owner, low, high, slope, none), near, far, places)

    def entries(
        self, name: str, index: Tensor, sign: Tensor, owner: Tensor, steps: int, cutoff: Tensor | None,
        adjust: Callable[[Domains], Domains] = lambda duals: duals,
    ) -> Tensor:
        """Upper bounds of sign * value at flat entries `index` of a value, all (n,); float64."""
        owner, index = owner * self.places + index % self.places, index // self.places
        a = torch.zeros((len(index), *self.dual.network.graph.shape_of(name)), dtype=sign.dtype, device=sign.device)
        a.flatten(1).scatter_(1, index[:, None], sign[:, None])
        return self.maxima(Objective(name, a), owner, steps, cutoff, adjust)

    def maxima(
        self, objective: Objective, owner: Tensor, steps: int, cutoff: Tensor | None = None,
        adjust: Callable[[Domains], Domains] = lambda duals: duals,
    ) -> Tensor:
        """Upper bounds of rows on the sets that own them by `optimise`, `replayed` with duals that may be adjusted
        before; float64 (rows,). The objective may be in float64 whatever the search's own precision.

        Sound because `replayed` is; trusts what it does.
        """
        near, domains = self.near.take(owner), self.domains.take(owner)
        name, a, direct = objective
        rows = Objective(name, a.to(domains.low), None if direct is None else direct.to(domains.low))
        goal = None if cutoff is None else cutoff.to(domains.low)
        found = optimise(self.dual, rows, domains, steps, goal, relaxed=near)
        return replayed_on(self.far.take(owner), objective, adjust(found.domains))
