"""Linear bounds (CROWN / DeepPoly) with all intermediate layers bounded by themselves.

One sweep through the graph: each nonlinear node's input gets an interval, the entries on which the node is not linear
are bounded again by backward rows, and the tightened box gives the node's lines. What is already decided by a cheaper
bound is never bounded again, and every box is the intersection of all that is known.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf, prod
from typing import Literal

import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.deadline import NEVER, Deadline, deadline, within
from verify.errors import LATE, InputError, OutOfTime
from verify.ir.graph import BoundGraph
from verify.method import Answer
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds, Nonlinear, Parameters
from verify.problem import Problem
from verify.registry import Entry
from verify.sets import InputSet
from verify.spec import Specification
from verify.upper import interval
from verify.upper.linear_bounds.backward import Backward
from verify.upper.linear_bounds.confirm import FIRST, confirmed
from verify.upper.linear_bounds.forward import Forward
from verify.upper.linear_bounds.front import Rest, front_nodes
from verify.upper.linear_bounds.rounding import Rounding
from verify.upper.linear_bounds.second_guess import second_guess
from verify.upper.linear_bounds.settled import Settled, once, reflected

CASES = 256  # cases bounded together, at most,
NEURONS = {"cpu": 1 << 18, "cuda": 1 << 22}  # and their neurons: each brings its lines and the windows that rows read
SMALL = 2048  # neurons up to which float64 costs about what float32 does
LARGE = 1 << 16  # neurons from which on interval bounds are taken before linear ones where time is short
FORMS = 1 << 27  # floats of one value's forward bounds, beyond which they are not cheap
CHEAPER = 64  # neurons for each input from which on forward bounds are taken as well
LINEAR = 0.9  # of the time, after which an interval bound is taken in the stead of a linear one
TIGHTENING = 0.75  # of the time that is left, after which boxes stay as they are and the rows are bounded


@Entry(
    name="crown", family="upper", place=40, batched=True,
    help="linear bounds backward through the network (CROWN, DeepPoly)",
    verdict={"goal": "decide"}, value={"goal": "optimum"},
    defaults={"radius": 2, "certify": 3, "train": 3, "pytest": 3, "gaps": 3},
)
@dataclass(frozen=True)
class CROWN:
    """Upper bounds by backward linear relaxation in float64, all intermediate layers included.

    Args:
        goal: "optimum" bounds all cases as well as it can; "decide" gives an interval bound to those that float32 does
            not sink below 0 on large networks, where float64 takes several times as long.

    Raises InputError for another goal.
    """

    goal: Literal["decide", "optimum"] = "optimum"

    def __post_init__(self) -> None:
        if self.goal not in ("decide", "optimum"):
            raise InputError(f"CROWN has goal={self.goal!r}; choose among decide, optimum")

    @property
    def name(self) -> str:
        return "CROWN"

    def answer(self, problem: Problem) -> Answer:
        """Where time is short the boxes of the last layers are interval bounds, and cases that come late have no bound.

        Sound because `linear_row_bounds` is in float64; trusts what `Rounding` does.
        """
        is_small = problem.network.dtype == torch.float64 or neurons(problem.network) <= SMALL
        if is_small or self.goal == "optimum":
            bound = _case_bounds if self.goal == "decide" else _least_bounds
            return _answered(problem.in_float64.merged, bound, 1.0)
        return _answered(problem, _confirmed, FIRST)


def _confirmed(problem: Problem) -> Tensor:
    """Upper bounds of every case, float64 (cases,): linear ones where float32 sinks them below 0, else interval bounds.

    Sound because both are in float64; trusts what `Rounding` does.
    """
    upper = confirmed(problem, _case_bounds)
    rest = (~upper.isfinite()).nonzero().flatten()
    if len(rest):
        upper[rest] = interval.case_bounds(problem.in_float64.merged.select(rest))
    return upper


def _answered(problem: Problem, bound: Callable[[Problem], Tensor], share: float) -> Answer:
    """The bounds of all cases, as many at once as is best; share is the part of a bound's time for its first sweep."""
    upper = torch.full((problem.cases,), torch.inf, dtype=torch.float64, device=problem.owner.device)
    together, is_late = max(1, min(CASES, _together(problem.network))), False
    for index in torch.arange(problem.cases, device=problem.owner.device).split(together):
        with within(deadline().part(len(index) / (problem.cases - int(index[0])))) as limit:
            soon = limit.part(LINEAR * share * TIGHTENING)
            upper[index] = _in_time(problem.select(index), bound)
            is_late = is_late or soon.is_over
    return Answer(upper=upper, rigour=Rigour.FLOAT, notes={"stopped": LATE} if is_late else {})


def _in_time(problem: Problem, bound: Callable[[Problem], Tensor]) -> Tensor:
    """Upper bounds of every case, (cases,): linear ones, interval bounds where there is no time, or inf. Of a large
    network, of which a part may take longer than what is left for them, interval bounds are taken first."""
    upper = torch.full((problem.cases,), torch.inf, dtype=torch.float64, device=problem.owner.device)
    is_first = deadline() < NEVER and neurons(problem.network) > LARGE
    with suppress(OutOfTime):
        upper = interval.case_bounds(problem) if is_first else upper
        with within(deadline().part(LINEAR)):
            return bound(problem)
    with suppress(OutOfTime):
        return upper if is_first else interval.case_bounds(problem)
    return upper


def _together(network: BoundGraph) -> int:
    """How many cases are best bounded together."""
    return NEURONS.get(network.device.type, NEURONS["cuda"]) // max(1, neurons(network))


def _case_bounds(problem: Problem) -> Tensor:
    """Upper bounds of every case, (cases,)."""
    return problem.spec.aggregate(linear_row_bounds(problem.network, problem.inputs, problem.spec))


def _least_bounds(problem: Problem) -> Tensor:
    """The same, as small as they get."""
    return problem.spec.aggregate(linear_row_bounds(problem.network, problem.inputs, problem.spec, -inf))


def linear_boxes(network: BoundGraph, inputs: InputSet, share: float = TIGHTENING) -> dict[str, IntervalBounds]:
    """Bounds of every value of the graph, by node name, for a batch of sets, each (batch, *shape). Once this
    share of the time that is left is over, the boxes of the layers to come are interval bounds.

    Sound because a box is the intersection of an interval bound and backward linear bounds; trusts float rounding,
    and in float64 what `Rounding` does.
    """
    return sweep(network, inputs, cheap_forward(network, inputs), deadline().part(share))[1]


def linear_row_bounds(network: BoundGraph, inputs: InputSet, spec: Specification, wanted: float = 0.0) -> Tensor:
    """Upper bounds of every row of a specification, (cases, rows); -inf on padding. See `linear_bounds`."""
    return linear_bounds(network, inputs, spec, wanted=wanted)[0]


def linear_bounds(
    network: BoundGraph, inputs: InputSet, spec: Specification, until: Deadline | None = None, wanted: float = 0.0
) -> tuple[Tensor, dict[str, IntervalBounds]]:
    """Upper bounds of every row of a specification, (cases, rows), -inf on padding; and the boxes of `linear_boxes`,
    which are tightened until then, by default for most of the time that is left.

    The smallest of three: the interval bound of the output box, backward rows over the lines of the tight boxes, and,
    for rows that these do not bring below what is wanted and where time is left, backward rows over each row's own
    lines, chosen where the second bound is attained (`second_guess`).
    Sound because each of the three is (see `interval.row_bounds` and `Backward.maximum`); trusts float rounding, and in
    float64 what `Rounding` does.
    """
    until = deadline().part(TIGHTENING) if until is None else until
    backward, boxes = sweep(network, inputs, cheap_forward(network, inputs), until)
    output = network.graph.output
    owner, place = spec.mask.nonzero(as_tuple=True)
    a = spec.output[owner, place].reshape(-1, *network.output_shape)
    direct = None if spec.input is None else spec.input[owner, place].reshape(-1, *network.input_shape)
    bounds, trail = backward.maximum(output, a, owner, direct)
    bounds = bounds - spec.offset[owner, place]
    bounds = bounds.fmin(interval.row_bounds(network, boxes, spec, backward.rounding)[owner, place])
    rest = (bounds >= wanted).nonzero().flatten()
    if len(rest) and not until.is_over:
        trail, direct = {name: rows[rest] for name, rows in trail.items()}, None if direct is None else direct[rest]
        with suppress(OutOfTime):
            second = second_guess(backward, trail, a[rest], owner[rest], direct) - spec.offset[owner, place][rest]
            bounds[rest] = bounds[rest].fmin(second)
    values = torch.full(spec.offset.shape, -torch.inf, dtype=a.dtype, device=a.device)
    values[owner, place] = bounds
    return values, boxes


def neurons(network: BoundGraph) -> int:
    """Entries of all nonlinear nodes of one sample."""
    return sum(prod(node.shape) for node in network.graph.nodes if isinstance(node.op, Nonlinear))


def cheap_forward(network: BoundGraph, inputs: InputSet) -> Forward | None:
    """Forward bounds where they cost little beside backward ones: a column for each input that varies, against a row
    for each undecided neuron, of which there may be as many as neurons. Backward rows are taken in parts, columns all
    at once, so that there must be room for them."""
    varies = inputs.varies.any(0)
    columns, widest = int(varies.sum()), max((prod(node.shape) for node in network.graph.nodes), default=1)
    if columns * CHEAPER > neurons(network) or columns * widest * inputs.batch > FORMS:
        return None
    return Forward(network, IntervalBounds(inputs.low, inputs.high), varies)


def sweep(
    network: BoundGraph, inputs: InputSet, forward: Forward | None = None, until: Deadline = NEVER
) -> tuple[Backward, dict[str, IntervalBounds]]:
    """Boxes of every value and a `Backward` with the lines of every nonlinear node.

    With `forward`, which gets its lines here, its bounds decide neurons before backward rows are spent on them; those
    of a front that is not linear get no others, and rows that bound neurons behind it stop there. From `until` on the
    boxes are interval bounds alone.
    Sound because a box is the intersection of interval, forward and backward bounds; trusts float rounding, and in
    float64 what `Rounding` does.
    """
    boxes = {network.graph.input: IntervalBounds(inputs.low, inputs.high)}
    rounding = Rounding.of(network, boxes[network.graph.input]) if forward is None else forward.rounding
    backward = Backward(network, inputs, boxes, until, rounding)
    settled = Settled(network, exact_values(network) if inputs.is_box else set(), inputs.batch)
    front = None if forward is None else front_nodes(network)
    for node, p in network.walk():
        backward.visit(node)
        forward = None if until.is_over else forward
        source = node.inputs[0]
        if isinstance(node.op, Nonlinear) and not settled.entries[source].all():
            if forward is not None:
                boxes[source] = boxes[source].meet(forward.box(source))
            if front is None or node.name not in front.names:
                boxes[source] = _tightened(backward, settled, node.op, p, source)
        if rounding is None:
            boxes[node.name] = node.op.interval(p, *(boxes[name] for name in node.inputs))
        else:
            boxes[node.name] = rounding.see(node, boxes, backward.reference[node.name])
        settled.visit(node)
        if isinstance(node.op, Nonlinear):
            backward.relax(node, node.op.relax(p, boxes[source]))
        if forward is not None and isinstance(node.op, Nonlinear):
            forward.relax(node, boxes[source], backward.relaxations[node.name])
        elif forward is not None:
            forward.visit(node)
        if forward is not None and front is not None and node.name == front.last:
            reference = backward.reference[node.name]
            rest = Rest.of(node.name, forward.forms[node.name], reference, rounding)
            backward.rest = rest.entries(backward.kept.get(node.name))
    return backward, boxes


def _tightened(backward: Backward, settled: Settled, op: Nonlinear, p: Parameters, name: str) -> IntervalBounds:
    """The box of an op's input `name`, met with backward bounds of the entries on which its lines depend."""
    box = backward.boxes[name]
    wanted = op.unstable(p, box) & ~settled.entries[name]
    mirrors = None if op.decides else settled.mirrors(name)
    owner, index = once(wanted, mirrors).flatten(1).nonzero(as_tuple=True)
    if not owner.numel():
        return box
    new = IntervalBounds(box.low.flatten(1).clone(), box.high.flatten(1).clone())
    known = IntervalBounds(new.low[owner, index], new.high[owner, index])
    is_open = partial(op.unstable, p) if op.decides else None
    new.low[owner, index], new.high[owner, index] = backward.extremes(name, owner, index, known, is_open)
    if not op.decides:
        settled.add(name, wanted)
    box = box.meet(IntervalBounds(new.low.reshape(box.low.shape), new.high.reshape(box.high.shape)))
    return reflected(box, mirrors)


def exact_values(network: BoundGraph) -> set[str]:
    """Values whose interval over a box of inputs is attained entry by entry: one affine map of independent entries.

    The input's entries vary independently, and so do those of affine nodes that do not mix; one further affine node is
    bounded exactly by an interval, since each of its entries is one linear function of a box.
    """
    independent, exact = {network.graph.input}, {network.graph.input}
    for node, _ in network.walk():
        if isinstance(node.op, Affine) and len(node.inputs) == 1 and node.inputs[0] in independent:
            exact.add(node.name)
            if not node.op.mixes:
                independent.add(node.name)
    return exact
