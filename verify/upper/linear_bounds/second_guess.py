"""Lines and shares of each row's own, chosen where the row's last bound is attained."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds, Lines, Nonlinear, Parameters, Relaxation
from verify.upper.linear_bounds.backward import Backward, Trail

STEP = 0.5  # how far a guess moves slopes and shares; a whole step overshoots more often than half a one
GUESSES = 3  # where products have shares, which are many and begin in the middle


def second_guess(backward: Backward, trail: Trail, a: Tensor, owner: Tensor, direct: Tensor | None) -> Tensor:
    """Upper bounds of output rows over lines of each row's own; (rows,).

    A bound is the value of the relaxed network at the point of the set that maximises the pulled-back row. At that
    point each neuron takes the line that is tightest there, a step of the cutting plane method on the slopes, and each
    product the plane; the next guess begins where this one ends.
    Sound because any lines of the boxes give a bound; trusts float rounding.
    """
    last, mine, rows = backward, owner, torch.arange(len(owner), device=owner.device)
    best = a.new_full((len(owner),), inf)
    for _ in range(_guesses(backward.network)):
        points = backward.inputs.select(owner).maximiser(trail[backward.network.graph.input])
        last, mine = moved_to(backward, last, trail, owner, mine, points), rows
        bound, trail = last.maximum(backward.network.graph.output, a, rows, direct)
        best = best.fmin(bound)
    return best


def _guesses(network: BoundGraph) -> int:
    mixing = any(isinstance(node.op, Nonlinear) and node.op.mixes for node in network.graph.nodes)
    return GUESSES if mixing else 1


def moved_to(
    backward: Backward, last: Backward, trail: Trail, owner: Tensor, mine: Tensor, points: Tensor, step: float = STEP
) -> Backward:
    """Relaxations of each row over the boxes of `backward`, those of `last` (its samples mine (rows,) long) moved by a
    step towards what is tightest for rows with this trail at points of the set (rows, *input shape)."""
    network, again = backward.network, backward.spread(owner)
    values = {network.graph.input: points}
    for node, p in network.walk():
        arguments = [values[name] for name in node.inputs]
        if isinstance(node.op, Affine):
            values[node.name] = node.op.forward(p, *arguments)
            continue
        relaxation = last.relaxations[node.name].select(mine)
        values[node.name] = relaxation.at(arguments[0], trail[node.name])
        if isinstance(node.op, Nonlinear):
            box = backward.boxes[node.inputs[0]]
            relaxation = _moved(node.op, p, relaxation, box, owner, arguments[0], step)
        again.relax(node, relaxation)
    return again


def _moved(
    op: Nonlinear, p: Parameters, relaxation: Relaxation, box: IntervalBounds, owner: Tensor, at: Tensor, step: float
) -> Relaxation:
    """Each row's relaxation (rows, ...), moved a step toward the one that is closest to f at the points `at` (rows,
    *shape); lines of entries on which the op is linear for every sample stay as they are."""
    if not isinstance(relaxation, Lines):
        return op.nearer(p, IntervalBounds(box.low[owner], box.high[owner]), relaxation, at, step)
    if not op.linear_breakpoints:  # where a curve touches is dear to find for every row
        return relaxation
    where = op.unstable(p, box).any(0).flatten().nonzero().flatten()
    start = Lines(*(part.flatten(1)[:, where] for part in relaxation.parts))
    here = IntervalBounds(box.low.flatten(1)[owner][:, where], box.high.flatten(1)[owner][:, where])
    new = op.nearer(p, here, start, at.flatten(1)[:, where], step)
    assert isinstance(new, Lines)
    open_here = op.unstable(p, here)
    moved = (part.where(open_here, old) for part, old in zip(new.parts, start.parts, strict=True))
    pairs = zip(relaxation.parts, moved, strict=True)
    return Lines(*(old.flatten(1).index_copy(1, where, part).reshape(old.shape) for old, part in pairs))
