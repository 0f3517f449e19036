"""Interval bounds: one box a layer, pushed through every operator (Gowal et al. 2018, IBP)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verify.bracket import Rigour
from verify.ir.graph import BoundGraph
from verify.method import Answer
from verify.ops.base import IntervalBounds
from verify.problem import Problem
from verify.registry import Entry
from verify.sets.base import box_support
from verify.spec import Specification
from verify.upper.linear_bounds.crown_ibp import affine_end_bounds
from verify.upper.linear_bounds.rounding import FLOOR, Rounding


def interval_boxes(network: BoundGraph, inputs: IntervalBounds) -> dict[str, IntervalBounds]:
    """Bounds of every value of the graph over a batch of input boxes, by node name.

    Sound because each operator's interval contains its values over its arguments' boxes; trusts float rounding.
    """
    boxes = {network.graph.input: inputs}
    for node, p in network.walk():
        boxes[node.name] = node.op.interval(p, *(boxes[name] for name in node.inputs))
    return boxes


def row_bounds(
    network: BoundGraph, boxes: dict[str, IntervalBounds], spec: Specification, rounding: Rounding | None,
) -> Tensor:
    """Upper bounds of every specification row over boxes of all values, by node name; (cases, rows).

    The last affine layers are merged with the rows, so that what rows share cancels. Infinite where boxes are, and
    what they add up to is no number.
    Sound because `affine_end_bounds` is, and a linear function on a box is maximal at a corner; trusts float rounding,
    except with its terms.
    """
    total = affine_end_bounds(network, boxes, spec.output.unflatten(2, network.output_shape))
    source = network.graph.input
    if spec.input is not None:
        total = total + box_support(*boxes[source], spec.input)
    if rounding is not None:
        total = total + torch.einsum("cro,co->cr", spec.output.abs(), rounding.end().flatten(1)) + FLOOR
        if spec.input is not None:
            total = total + torch.einsum("cri,ci->cr", spec.input.abs(), rounding.start(source).flatten(1))
    return (total - spec.offset).nan_to_num(torch.inf, torch.inf, -torch.inf)


@Entry(
    name="interval", family="upper", place=30, batched=True,
    help="one box a layer: the cheapest and loosest bound (IBP)",
    defaults={"certify": 1, "train": 1, "pytest": 2, "gaps": 2},
)
@dataclass(frozen=True)
class Interval:
    """Upper bounds by interval arithmetic in float64: the cheapest and loosest certificate."""

    @property
    def name(self) -> str:
        return "Interval"

    def answer(self, problem: Problem) -> Answer:
        """Sound because `case_bounds` is; trusts what `Rounding` does."""
        return Answer(upper=case_bounds(problem), rigour=Rigour.FLOAT)


def case_bounds(problem: Problem) -> Tensor:
    """Upper bounds of every case in float64, (cases,).

    Sound because intervals are rounded outward and `row_bounds` is; trusts what `Rounding` does.
    """
    wide = problem.in_float64.merged
    return wide.spec.aggregate(_enclosed_rows(wide, IntervalBounds(wide.inputs.low, wide.inputs.high), wide.spec))


def least_violation(problem: Problem, low: Tensor, high: Tensor) -> Tensor:
    """Lower bounds in real arithmetic of violation_i(x, h(x)) at low_i <= x <= high_i (cases, *shape), h the network as
    it was read, float64 (cases,).

    Sound because they are interval bounds from the other side; trusts what `Rounding` does.
    """
    wide = problem.in_float64  # merging would tighten boxes of many points, and these hold one
    spec = wide.spec
    moved = None if spec.input is None else -spec.input
    turned = Specification(-spec.output, -spec.offset, spec.disjunct, spec.mask, moved)
    return spec.aggregate(-_enclosed_rows(wide, IntervalBounds(low, high), turned))


def _enclosed_rows(problem: Problem, inputs: IntervalBounds, spec: Specification) -> Tensor:
    """Upper bounds of rows over boxes of a problem in float64, (cases, rows)."""
    network, boxes = problem.network, {problem.network.graph.input: inputs}
    rounding = Rounding.of(network, inputs)
    assert rounding is not None
    for node in network.graph.nodes:
        boxes[node.name] = rounding.see(node, boxes)
    return row_bounds(network, boxes, spec, rounding)
