"""Interval bounds: one box a layer, pushed through every operator (Gowal et al. 2018, IBP)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verify.bracket import Rigour
from verify.ir.graph import BoundGraph
from verify.method import Answer
from verify.ops.base import Interval as Box
from verify.problem import Problem
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


def row_bounds(spec: Specification, output: Box, inputs: Box) -> Tensor:
    """Upper bounds of every specification row over boxes of outputs and inputs; (cases, rows).

    Sound because a linear function on a box is maximal at a corner; trusts float rounding.
    """
    total = _corner(spec.output, output) - spec.offset
    return total if spec.input is None else total + _corner(spec.input, inputs)


def _corner(rows: Tensor, box: Box) -> Tensor:
    center = (box.low + box.high).flatten(1)[..., None] / 2
    radius = (box.high - box.low).flatten(1)[..., None] / 2
    return (rows @ center + rows.abs() @ radius).squeeze(2)


@dataclass(frozen=True)
class Interval:
    """Upper bounds by interval arithmetic: the cheapest and loosest certificate."""

    @property
    def name(self) -> str:
        return "Interval"

    def answer(self, problem: Problem) -> Answer:
        """The last affine layers are merged with the specification's rows, so that what rows share cancels.

        Sound because `interval_boxes` and `affine_end_bounds` are; trusts float64 rounding where it verifies
        (`confirmed`).
        """
        return Answer(upper=confirmed(problem, _case_bounds), rigour=Rigour.FLOAT)


def _case_bounds(problem: Problem) -> Tensor:
    """Upper bounds of every case, (cases,)."""
    inputs = Box(problem.inputs.low, problem.inputs.high)
    network, spec = problem.network, problem.spec
    rows = spec.output.unflatten(2, network.output_shape)
    total = affine_end_bounds(network, interval_boxes(network, inputs), rows) - spec.offset
    return spec.aggregate(total if spec.input is None else total + _corner(spec.input, inputs))
