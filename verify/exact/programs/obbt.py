"""Progressive tightening of pre-activation bounds: interval and linear bounds first, then LPs where they leave doubt.

Tjeng, Xiao and Tedrake 2019, section 4.2: the cheapest bound that settles a neuron is enough, and a settled neuron
needs no binary.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import numpy as np
from torch import Tensor

from verify.deadline import NEVER, Deadline, deadline, within
from verify.errors import OutOfTime
from verify.ir.graph import BoundGraph
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds, Nonlinear
from verify.solvers.encoding import Boxes, encode_network
from verify.solvers.highs import Highs
from verify.solvers.objectives import SolverCase
from verify.solvers.repair import SafeBound
from verify.upper.linear_bounds.rounding import Rounding


def tighten(case: SolverCase, boxes: Boxes, notes: Counter[str], until: Deadline = NEVER) -> Boxes:
    """Boxes cut by two LPs for each entry on which a nonlinear node is undecided, while there is time; (batch of 1).

    Counts in `notes`: "tightening lps", "settled" entries that lost their binary, "decided before" entries that
    needed no LP, and "not tightened" entries that were left as they were. Values that are affine in a box of inputs are
    bounded exactly already.

    Sound because each new end is a bound rebuilt from LP duals, met with the old one; trusts float64 rounding.
    """
    boxes = dict(boxes)
    exact = _affine_values(case.network) if case.inputs.is_box else set()
    done: set[str] = set()
    rounding = Rounding.of(case.network, boxes[case.network.graph.input])
    assert rounding is not None
    for node, p in case.network.walk():
        if isinstance(node.op, Nonlinear) and node.inputs[0] not in done | exact:
            source = node.inputs[0]
            done.add(source)
            doubtful = node.op.unstable(p, boxes[source])
            notes["decided before"] += int((~doubtful).sum())
            if doubtful.any():
                with within(until), suppress(OutOfTime):
                    boxes[source] = _lp_box(case, boxes, source, doubtful, notes)
                notes["settled"] += int((doubtful & ~node.op.unstable(p, boxes[source])).sum())
        boxes[node.name] = boxes[node.name].meet(rounding.see(node, boxes))
    return boxes


def _lp_box(case: SolverCase, boxes: Boxes, name: str, doubtful: Tensor, notes: Counter[str]) -> IntervalBounds:
    """The box of one value, cut at its doubtful entries by LPs over one model kept in HiGHS."""
    model, columns = encode_network(case.network, case.inputs, boxes, until=name)
    arrays, places = model.arrays(), columns[name].ravel()
    highs, safe = Highs(arrays, relaxed=True), SafeBound(arrays)
    low, high = (v.clone().flatten() for v in boxes[name])
    entries = doubtful.flatten().nonzero().flatten().tolist()
    for done, i in enumerate(entries):
        if deadline().is_over:
            notes["not tightened"] += len(entries) - done
            break
        for sign in (1.0, -1.0):
            cost = np.zeros(len(arrays.low))
            cost[places[i]] = sign
            bound = safe.upper(cost, highs.maximise(cost).duals)
            notes["tightening lps"] += 1
            if sign > 0:
                high[i] = min(float(high[i]), bound)
            else:
                low[i] = max(float(low[i]), -bound)
    shape = boxes[name].low.shape
    return boxes[name].meet(IntervalBounds(low.reshape(shape), high.reshape(shape)))


def _affine_values(network: BoundGraph) -> set[str]:
    """Values that are affine in the input: their linear bounds over a box are exact."""
    found = {network.graph.input}
    for node, _ in network.walk():
        if isinstance(node.op, Affine) and found.issuperset(node.inputs):
            found.add(node.name)
    return found
