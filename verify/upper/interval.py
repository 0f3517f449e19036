"""Interval bounds: one box a layer, pushed through every operator (Gowal et al. 2018, IBP)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verify.bracket import Rigour
from verify.ir.graph import BoundGraph
from verify.method import Answer
from verify.ops.base import Interval as Box
from verify.problem import Problem
from verify.sets.base import box_support
from verify.spec import Specification
from verify.upper.confirm import confirmed
from verify.upper.crown_ibp import affine_end_bounds


def interval_boxes(network: BoundGraph, inputs: Box) -> dict[str, Box]:
    """Bounds of every value of the graph over a batch of input boxes, by node name.

    Sound because each operator's interval contains its values over its arguments' boxes; trusts float rounding.
    """
    boxes = {network.graph.input: inputs}
    for node, p in network.walk():
        boxes[node.name] = node.op.interval(p, *(boxes[name] for name in node.inputs))
    return boxes


def row_bounds(network: BoundGraph, boxes: dict[str, Box], spec: Specification) -> Tensor:
    """Upper bounds of every specification row over boxes of all values, by node name; (cases, rows).

    The last affine layers are merged with the rows, so that what rows share cancels.
    Sound because `affine_end_bounds` is, and a linear function on a box is maximal at a corner; trusts float rounding.
    """
    total = affine_end_bounds(network, boxes, spec.output.unflatten(2, network.output_shape)) - spec.offset
    return total if spec.input is None else total + box_support(*boxes[network.graph.input], spec.input)


@dataclass(frozen=True)
class Interval:
    """Upper bounds by interval arithmetic: the cheapest and loosest certificate."""

    @property
    def name(self) -> str:
        return "Interval"

    def answer(self, problem: Problem) -> Answer:
        """Sound because `interval_boxes` and `row_bounds` are; trusts float64 rounding where it verifies
        (`confirmed`)."""
        return Answer(upper=confirmed(problem, case_bounds), rigour=Rigour.FLOAT)


def case_bounds(problem: Problem) -> Tensor:
    """Upper bounds of every case, (cases,)."""
    inputs = Box(problem.inputs.low, problem.inputs.high)
    return problem.spec.aggregate(row_bounds(problem.network, interval_boxes(problem.network, inputs), problem.spec))
