"""Forward linear bounds: every value as one affine form of the inputs with an error, at a cost in proportion to these.

A value lies within `error` of `middle + sum_j columns_j t_j` where t in [-1, 1]^inputs says where in its box the input
is. Only inputs that vary have columns; what rounding leaves of the others is error. Affine nodes map the form; at a
nonlinear node it becomes the mean of the two lines, and half of what lies between the lines is added to the error
(Singh et al. 2018, DeepZ, with the noise symbols of the neurons summed up; Xu et al. 2020, "forward mode LiRPA").
Looser than backward bounds by the cancellations that errors lose, but so cheap that it
decides most neurons before a backward row is spent on them, and the columns tell which input matters to which neuron.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph, Node
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds, Lines, Relaxation
from verify.upper.linear_bounds.rounding import Rounding, cost_of, gamma


@dataclass(frozen=True)
class Form:
    """|value - (middle + columns . t)| <= error for all t in [-1, 1]^columns.

    Args:
        middle, error: (batch, *shape); error None for 0.
        columns: (columns, batch, *shape), one for each input that varies.
    """

    middle: Tensor
    columns: Tensor
    error: Tensor | None

    @cached_property
    def size(self) -> Tensor:
        """|middle| + the sum of |columns|, (batch, *shape)."""
        return self.middle.abs() + self.reach

    @cached_property
    def reach(self) -> Tensor:
        """The sum of |columns|, (batch, *shape)."""
        return self.columns.abs().sum(0)

    @cached_property
    def box(self) -> IntervalBounds:
        """Bounds of the value. Sound because |t| <= 1; trusts float rounding."""
        radius = self.reach if self.error is None else self.reach + self.error
        return IntervalBounds(self.middle - radius, self.middle + radius)


class Forward:
    """Forms of the values of a graph over a batch of input boxes; lines are added as layers become known.

    The caller fills `rounding`, which is there for a network in float64.
    """

    def __init__(self, network: BoundGraph, box: IntervalBounds, varies: Tensor | None = None):
        """varies: bool (*input shape), the inputs that get columns; by default all."""
        self.network, self.rounding = network, Rounding.of(network, box)
        radius, source = (box.high - box.low) / 2, network.graph.input
        size = radius[0].numel()
        unit, error = torch.eye(size, dtype=radius.dtype, device=radius.device), None
        self.varying = torch.arange(size, device=radius.device)  # the inputs of the columns, (columns,)
        if varies is not None and not bool(varies.all()):
            self.varying = varies.flatten().nonzero().flatten()
            unit, error = unit[self.varying], torch.where(varies, torch.zeros_like(radius), radius)
        if self.rounding is not None:
            error = self.rounding.slack(source) if error is None else error + self.rounding.slack(source)
        columns = unit.reshape(-1, 1, *radius.shape[1:]) * radius
        self.forms = {source: Form((box.low + box.high) / 2, columns, error)}
        # of each nonlinear node: the gap of its lines by unit of its argument's width, and the argument's columns
        self.gaps: dict[str, tuple[Tensor, Tensor]] = {}

    def visit(self, node: Node) -> None:
        """Computes the form of an affine node, whose arguments must be known.

        Sound because |A x| <= |A| |x|; trusts float rounding, which in float64 is part of the error.
        """
        op, p = node.op, self.network.of(node)
        assert isinstance(op, Affine)
        forms = [self.forms[name] for name in node.inputs]
        columns, error = None, None
        for k, form in enumerate(forms):
            flat = op.linear(p, k, form.columns.flatten(0, 1)).reshape(*form.columns.shape[:2], *node.shape)
            columns = flat if columns is None else columns + flat
            if form.error is not None and self.rounding is None:
                more = op.absolute(p, k, form.error)
                error = more if error is None else error + more
        assert columns is not None
        if self.rounding is not None:
            error = self.rounding.affine(node, [form.size for form in forms], [form.error for form in forms])
        self.forms[node.name] = Form(op.forward(p, *(form.middle for form in forms)), columns, error)

    def box(self, name: str) -> IntervalBounds:
        """Bounds of a value by its form. Sound because |t| <= 1; trusts float rounding, except in float64."""
        form = self.forms[name]
        if self.rounding is None:
            return form.box
        slack = form.size * gamma(len(form.columns))
        return IntervalBounds(form.box.low - slack, form.box.high + slack)

    def relax(self, node: Node, box: IntervalBounds, lines: Relaxation) -> None:
        """Sets the form of a nonlinear node from a relaxation that holds over `box`, the bounds of its argument.

        Sound because the value lies between the two sides, hence within half their distance, which is linear and so
        largest at an end of the box (or at most what its own form says), of their mean; trusts float rounding.
        """
        form = self.forms[node.inputs[0]]
        if isinstance(lines, Lines):
            mean = (lines.upper_slope + lines.lower_slope) / 2
            offset = (lines.upper_intercept + lines.lower_intercept) / 2
            slope, rest = lines.upper_slope - lines.lower_slope, lines.upper_intercept - lines.lower_intercept
            error = (slope * box.low + rest).maximum(slope * box.high + rest) / 2
            self._note(node.name, error, box, form.columns)
            if form.error is not None:
                error = torch.addcmul(error, mean.abs(), form.error)
            if self.rounding is not None:
                error = error + cost_of(lines, form.size + self.rounding.sizes[node.inputs[0]])
            self.forms[node.name] = Form(torch.addcmul(offset, mean, form.middle), form.columns * mean, error)
            return
        upper, lower = (_side(form, lines, is_upper) for is_upper in (True, False))
        error = ((upper.columns - lower.columns).abs().sum(0) + upper.middle - lower.middle) / 2
        distance = error
        if upper.error is not None and lower.error is not None:
            error = error + upper.error.maximum(lower.error)
        if self.rounding is not None:
            error = error + cost_of(lines, form.size + self.rounding.sizes[node.inputs[0]])
        here = Form((upper.middle + lower.middle) / 2, (upper.columns + lower.columns) / 2, error)
        self.forms[node.name] = here
        self._note(node.name, distance, here.box, here.columns)

    def _note(self, name: str, gap: Tensor, box: IntervalBounds, columns: Tensor) -> None:
        self.gaps[name] = torch.where(box.is_wide, gap / (box.high - box.low), 0), columns

    def input_scores(self, weights: dict[str, Tensor], owner: Tensor) -> Tensor:
        """How much of the weighted gaps of the lines is due to each input's range; (rows, inputs).

        A neuron's gap is about proportional to the width of its argument, to which each input adds its column. Weights
        (rows, *shape) by the names of nonlinear nodes, what their gaps cost over the box of their owner, (rows,) long.
        A heuristic, it bounds nothing.
        """
        middle = self.forms[self.network.graph.input].middle.flatten(1)[owner]
        total = torch.zeros_like(middle[:, self.varying])
        for name, weight in weights.items():
            share, columns = (part.index_select(axis, owner) for axis, part in enumerate(self.gaps[name]))
            total = total + torch.einsum("bn,ibn->bi", (weight * share).flatten(1), columns.abs().flatten(2))
        return torch.zeros_like(middle).index_copy(1, self.varying, total)


def _side(form: Form, relaxation: Relaxation, is_upper: bool) -> Form:
    """The form of one side of a relaxation."""
    intercept = relaxation.upper_intercept if is_upper else relaxation.lower_intercept
    error = None if form.error is None else relaxation.absolute(form.error, is_upper)
    middle, columns = (relaxation.linear(part, is_upper) for part in (form.middle, form.columns))
    return Form(middle + intercept, columns, error)
