"""A domain on which every neuron is linear is a linear program over the input.

Its solution is a point of the set, and its row duals are multipliers of the split ranges and shares of the disjunct's
rows, which one pull in float64 turns into a bound: the solver's number is never the bound (Neumaier and Shcherbina
2004).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from verify.upper.duals.domains import Domains, Objective
from verify.upper.duals.dual import Dual, RelaxedDomains

PENALTY = 1e4  # price of leaving a split range, in units of the rows' largest change over the set
TINY = 1e-100
FAR = 3.0


class Leaf(NamedTuple):
    """The duals that are best on a domain, and where its least row is largest: share (rows,), multiplier (1, U), x
    (1, *input shape)."""

    share: Tensor
    multiplier: Tensor
    x: Tensor


def solve_leaf(dual: Dual, rows: Objective, offset: Tensor, domain: Domains, split: Tensor) -> Leaf:
    """Solves a domain without unstable tracked entries.

    Args:
        dual: in float64, over boxes.
        rows: those of one disjunct, (n, ...); offset (n,) is subtracted.
        domain: one, in float64.
        split: bool (U,), the tracked entries whose ranges are more than what follows from the others.

    An empty domain has multipliers that send its bound far down, as far as the penalty goes.
    """
    n = len(offset)
    many = torch.zeros(n, dtype=torch.long, device=offset.device)
    tops, constants = _linear(dual, rows, domain.take(many))
    tracked, forms, starts = [many[:0]], [tops[:0]], [constants[:0]]
    for layer in dual.layers.values():
        here = split[layer.span].nonzero().flatten()
        if len(here):
            a = offset.new_zeros((len(here), *dual.network.graph.shape_of(layer.source)))
            a.flatten(1)[torch.arange(len(here), device=a.device), layer.tracked[here]] = 1
            form, start = _linear(dual, Objective(layer.source, a), domain.take(torch.zeros_like(here)))
            tracked.append(layer.span.start + here)
            forms.append(form)
            starts.append(start)
    entry, matrix, start = torch.cat(tracked), torch.cat(forms), torch.cat(starts)
    radius = dual.radius[domain.owner].flatten()
    ranges = domain.low[0, entry] - start, domain.high[0, entry] - start
    x, share, press = _program(tops, constants - offset, radius, matrix, *ranges)
    multiplier = torch.zeros_like(domain.multiplier)
    multiplier[0, entry] = press
    center = dual.reference[dual.network.graph.input][domain.owner]
    return Leaf(share, multiplier, center + x.reshape(center.shape))


def _linear(dual: Dual, rows: Objective, domains: Domains) -> tuple[Tensor, Tensor]:
    """(coefficients, constants) of rows as functions of the input relative to the center: (n, inputs) and (n,)."""
    relaxed = RelaxedDomains(dual, domains)
    slope = domains.slope.clamp(relaxed.least, relaxed.most)
    pulled = relaxed.pull(rows, slope, torch.zeros_like(slope))
    return pulled.input.flatten(1), pulled.bound - relaxed.support(pulled.input)


def _program(
    tops: Tensor, constants: Tensor, radius: Tensor, matrix: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(x, share, press) of max t with t <= tops x + constants, |x| <= radius and low <= matrix x <= high.

    The ranges are elastic at a price, so that there always is a solution; a range at its low end has press >= 0.
    """
    import scipy.sparse as sp  # most searches end before they need a solver, and scipy takes 0.2 s to import

    from verify.solvers.highs import Highs
    from verify.solvers.model import LinearModel

    # all forms are scaled to a reach of 1 over the set; what lies more than FAR away never binds, or never holds
    scale = (matrix.abs() @ radius).clamp(min=TINY)
    size = float((tops.abs() @ radius).max().clamp(min=TINY))
    sides = (low / scale).clamp(-FAR, FAR), (high / scale).clamp(-FAR, FAR)
    levels = ((constants - constants.min()) / size).clamp(max=FAR)
    parts = (radius, *sides, matrix / scale[:, None], tops / size, levels)
    r, lows, highs, a, t, c = (part.cpu().numpy() for part in parts)
    model = LinearModel()
    inputs = model.add_columns(-r, r)
    top = model.add_columns(np.array([c.min() - 2]), np.array([c.max() + 2]))
    below, above = (model.add_columns(np.zeros_like(side), np.maximum(side, 0) + 2) for side in (lows, -highs))
    one, block = np.ones(len(lows)), sp.csr_matrix(a)
    model.add_rows(
        [(sp.csr_matrix(t), inputs), (sp.csr_matrix(-np.ones((len(c), 1))), top)], -c, np.full(len(c), np.inf)
    )
    model.add_rows([(block, inputs), (one, below)], lows, np.full_like(lows, np.inf))
    model.add_rows([(block, inputs), (-one, above)], np.full_like(highs, -np.inf), highs)
    cost = np.zeros(model.columns)
    cost[top], cost[below], cost[above] = 1.0, -PENALTY, -PENALTY
    solution = Highs(model.arrays(), presolve="off").maximise(cost)
    x = np.zeros(len(r)) if solution.x is None else np.clip(solution.x[inputs], -r, r)
    y = np.zeros(len(c) + 2 * len(lows)) if solution.duals is None else np.nan_to_num(solution.duals)
    share, lower, upper = np.split(y, [len(c), len(c) + len(lows)])
    share = np.maximum(-share, 0)
    share = share / share.sum() if share.sum() > 0 else np.full(len(c), 1 / len(c))
    press = np.maximum(-lower, 0) - np.maximum(upper, 0)
    x, share, press = (torch.from_numpy(part).to(tops) for part in (x, share, press))
    return x, share, press * size / scale
