"""What a search starts from: the relaxation of whole sets in two precisions, with ranges of optimised slopes.

The first sweep is CROWN's. Then, layer by layer, every neuron that is still undecided gets its two bounds again by a
descent on slopes of its own (Xu et al. 2021, alpha-CROWN), over the ranges of the layers before, which are by then as
tight as they will be.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from verify.deadline import check_time, deadline, within
from verify.errors import OutOfTime
from verify.ops.base import IntervalBounds
from verify.problem import Problem
from verify.upper.crown import cheap_forward, exact_values, sweep
from verify.upper.duals.domains import Domains
from verify.upper.duals.dual import Dual
from verify.upper.duals.factors import Layer
from verify.upper.duals.float64 import outward
from verify.upper.duals.prefix import Stage
from verify.upper.duals.proof_log import Branches, Lemma, SearchRecord, closed, rounded
from verify.upper.duals.prune import kept_entries, live_entries, pruned

STEPS = 10  # bounds of a neuron, its first included
SWEEPING, REFINING = 0.4, 0.6  # of the time that is left at each
FLOATS = 1 << 20  # of one layer's coefficients at a time


@dataclass(frozen=True)
class Root:
    """The cases of a problem, bounded as they are, for all that is to be asked of them.

    Args:
        problem: the cases in the precision of the dual.
        dual: in the network's precision, for descents; in float64 where values may be too large for it.
        in_float64: in float64 with its rounding, for what they are to prove; the same tracked entries.
        low, high: (cases, U) float64 ranges of the tracked entries.
    """

    problem: Problem
    dual: Dual
    in_float64: Dual
    low: Tensor
    high: Tensor

    @classmethod
    def of(
        cls, problem: Problem, steps: int = STEPS, record: SearchRecord | None = None,
    ) -> Root:
        """CROWN's ranges in float64, refined by descents of this many steps each while there is time.

        A record gets the tracked entries and what refined them.
        """
        broad = problem.in_float64.merged
        forward = cheap_forward(broad.network, broad.inputs)
        backward, boxes = sweep(broad.network, broad.inputs, forward, deadline().part(SWEEPING))
        assert backward.rounding is not None
        if any(_overflows(box, problem.network.dtype) for box in boxes.values()):  # exponentials of scores far apart
            problem = broad
        near = {name: outward(box, problem.network.dtype) for name, box in boxes.items()}
        live = live_entries(problem.network, near)
        network, near = pruned(problem.network, near, live)
        dual = Dual(network, problem.inputs, near)
        network, far = pruned(broad.network, boxes, live)
        wide = Dual(network, broad.inputs, far, dual, backward.rounding.kept(kept_entries(broad.network, live)))
        if record is not None:
            record.tracked = {name: _original(layer, live) for name, layer in dual.layers.items()}
        ranges = refine(dual, wide, wide.low, wide.high, steps, record)
        if record is not None:
            record.ranges.append(ranges)
        return cls(problem, dual, wide, *ranges)

    @property
    def stage(self) -> Stage:
        """The whole sets with their ranges, for rows over any value."""
        return Stage.of(self.dual, self.in_float64, IntervalBounds(self.low, self.high), self.dual.tracked)


def _overflows(box: IntervalBounds, dtype: torch.dtype) -> bool:
    """Whether squares of the ends of a box, which slopes are made of, are beyond this type."""
    return any(bool((end.abs() > torch.finfo(dtype).max ** 0.5).any()) for end in box)


def _original(layer: Layer, live: dict[str, Tensor]) -> Tensor:
    """The flat entries of a layer's tracked entries before entries were left out, (n,) long."""
    return live[layer.source][layer.tracked] if layer.source in live else layer.tracked


def refine(
    dual: Dual, wide: Dual, low: Tensor, high: Tensor, steps: int, record: SearchRecord | None = None
) -> IntervalBounds:
    """Ranges of the tracked entries, float64 (batch, U), tightened layer by layer from the given ones while there is
    time.

    A record gets every bound as a lemma; patches, whose duals are not those of the whole set, are not used then.
    Sound because `Stage.entries` is and a range is the intersection of two that hold; trusts float64 rounding.
    """
    ranges = IntervalBounds(low.clone(), high.clone())
    with within(deadline().part(REFINING)), suppress(OutOfTime):
        _refine(dual, wide, ranges, steps, record)
    return ranges


def _refine(dual: Dual, wide: Dual, ranges: IntervalBounds, steps: int, record: SearchRecord | None) -> None:
    """Tightens the ranges in place; they hold at any time."""
    exact = exact_values(dual.network) if dual.inputs.is_box else set()
    for layer in dual.layers.values():
        if layer.source in exact or not len(layer.tracked):
            continue
        stage = Stage.of(dual, wide, ranges, layer.span.start)
        stage = stage.before(layer.source) if record is None else stage
        open_here = layer.unstable(IntervalBounds(ranges.low[:, layer.span], ranges.high[:, layer.span]))
        owner, index = open_here.nonzero(as_tuple=True)
        for part in torch.arange(len(owner), device=owner.device).split(rows_at_once(stage.dual, layer.source)):
            check_time()
            _tighten(stage, layer, ranges, owner[part], index[part], steps, record)


def rows_at_once(dual: Dual, name: str) -> int:
    """How many rows over a value are best treated together."""
    return max(1, FLOATS // max(1, dual.widest(name)))


def _tighten(
    stage: Stage, layer: Layer, ranges: IntervalBounds, owner: Tensor, index: Tensor, steps: int,
    record: SearchRecord | None,
) -> None:
    """Tightens the ranges in place at these tracked entries (n,) of the layer that the stage ends at."""
    entry, breakpoint = layer.span.start + index, layer.breakpoint
    middle = (ranges.low[owner, entry] + ranges.high[owner, entry]) / 2
    # where the neuron may become linear comes first
    side = torch.where(middle < (0 if breakpoint is None else breakpoint), 1.0, -1.0).to(stage.domains.low)
    rest = torch.arange(len(owner), device=owner.device)
    for sign in (side, -side):
        if not len(rest):
            break
        sign, here, at = sign[rest], owner[rest], entry[rest]
        cutoff = None if breakpoint is None else sign * breakpoint
        used: list[Domains] = []
        adjust = partial(_noted, stage.dual, used) if record is not None else _as_they_are
        bound = stage.entries(layer.source, layer.tracked[index[rest]], sign, here, steps, cutoff, adjust)
        if record is not None:
            leaves = closed(stage.dual, torch.arange(len(rest)), used[0], len(record.ranges))
            record.lemmas.append(Lemma(here, at, sign, bound, Branches(len(rest)), leaves))
        up, infinity = sign > 0, torch.full_like(bound, torch.inf)
        old = IntervalBounds(ranges.low[here, at], ranges.high[here, at])
        new = old.meet(IntervalBounds(torch.where(up, -infinity, -bound), torch.where(up, bound, infinity)))
        ranges.low[here, at], ranges.high[here, at] = new
        rest = rest[layer.unstable(new)]


def _as_they_are(duals: Domains) -> Domains:
    return duals


def _noted(dual: Dual, used: list[Domains], duals: Domains) -> Domains:
    """The duals as a proof log holds them, added to what was used."""
    used.append(rounded(dual, duals))
    return used[-1]
