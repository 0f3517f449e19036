"""The dual of the linear relaxation, for many domains at once: slopes and multipliers that a row may choose for itself.

A domain restricts the inputs of some neurons to parts of their ranges. Any slope of the free line of a hinge (a
function with one breakpoint, such as ReLU) and any multiplier of `low <= z <= high` give a valid bound on a row, so
both may be optimised by whatever means: Xu et al. 2021 (alpha-CROWN) for the slopes, Wang et al. 2021 (beta-CROWN) for
the multipliers of split neurons. Gradients need no autograd: by Danskin's theorem they are read off the primal point at
which the bound is attained, which one forward walk through the lines finds.

Everything is relative to the network's value at the center of each set, as in `backward`. Only the neurons that are
not linear on their whole range, the *tracked entries*, carry numbers of their own; a domain is a few vectors over them.
"""

from __future__ import annotations

from copy import copy
from math import prod

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds, Nonlinear, picked
from verify.ops.curve import Curve
from verify.ops.product import Product
from verify.sets import InputSet
from verify.upper.duals.activation import ActivationLayer, activation_layer
from verify.upper.duals.crossing import Crossing
from verify.upper.duals.domains import Domains, Objective, Primal, Pulled
from verify.upper.duals.factors import FactorLayer, Layer, factor_layer
from verify.upper.duals.substitution import Substitution
from verify.upper.duals.touching import Touching
from verify.upper.linear_bounds.rounding import FLOOR, SUPPORT, Rounding
from verify.upper.linear_bounds.rows import Slopes


class Dual:
    """A network over a batch of sets with known boxes: what all domains of these sets share."""

    def __init__(
        self, network: BoundGraph, inputs: InputSet, boxes: dict[str, IntervalBounds], like: Dual | None = None,
        rounding: Rounding | None = None,
    ):
        """boxes: of every nonlinear node's argument, each (batch, *shape). like: a dual of the same graph over boxes
        that contain these, whose tracked entries are taken. rounding: of the network over the boxes or larger ones,
        with which bounds hold in real arithmetic."""
        self.network, self.inputs, self.rounding = network, inputs, rounding
        self.reference = {network.graph.input: (inputs.low + inputs.high) / 2}
        self.radius = (inputs.high - inputs.low) / 2
        self.layers: dict[str, Layer] = {}
        self.mixing: dict[str, Slopes] = {}
        self.tracked = 0
        for node, p in network.walk():
            arguments = [self.reference[name] for name in node.inputs]
            self.reference[node.name] = node.op.forward(p, *arguments)
            if isinstance(node.op, Curve):
                box = boxes[node.inputs[0]]
                # the middle of a ball's hull may lie outside of the ball, and so beyond a neuron's box: there a neuron
                # that is linear on its box is its line, not f
                inside, line = (box.low <= arguments[0]) & (arguments[0] <= box.high), node.op.relax(p, box).parts[:2]
                on_line = line[0] * arguments[0] + line[1]
                self.reference[node.name] = torch.where(inside, self.reference[node.name], on_line)
                tracked = None if like is None else like.layers[node.name].tracked
                self.layers[node.name] = activation_layer(node.op, p, node.inputs[0], box, self.tracked, tracked)
                self.tracked = self.layers[node.name].span.stop
            elif isinstance(node.op, Product):
                tracked = None if like is None else like.layers[node.name].tracked
                parts = node.inputs[0], boxes[node.inputs[0]], arguments[0], self.tracked, tracked
                self.layers[node.name] = factor_layer(node.op, p, *parts)
                self.tracked = self.layers[node.name].span.stop
            elif isinstance(node.op, Nonlinear):
                relaxation = node.op.relax(p, boxes[node.inputs[0]])
                self.mixing[node.name] = Slopes(relaxation, arguments[0], self.reference[node.name])
        self.low = self._gathered({name: box.low for name, box in boxes.items()})
        self.high = self._gathered({name: box.high for name, box in boxes.items()})
        self.at = self._gathered(self.reference)
        self.value = self._gathered(self.reference, outputs=True)
        self.starts = torch.zeros_like(self.low)  # what rounding costs numbers over the tracked entries
        if rounding is not None:
            self.starts = self._gathered({layer.source: rounding.start(layer.source) for layer in self.layers.values()})

    def _gathered(self, values: dict[str, Tensor], outputs: bool = False) -> Tensor:
        """The tracked entries of the layers' inputs, or of the outputs where they are elementwise; (batch, U)."""
        parts = [self.radius.flatten(1)[:, :0]]
        for name, layer in self.layers.items():
            is_output = outputs and isinstance(layer, ActivationLayer)
            parts.append(values[name if is_output else layer.source].flatten(1)[:, layer.tracked])
        return torch.cat(parts, 1)

    def first(self, count: int) -> Dual:
        """The same without the layers behind the first `count` tracked entries, for rows over values that come before
        these."""
        out = copy(self)
        out.layers = {name: layer for name, layer in self.layers.items() if layer.span.stop <= count}
        for name in ("low", "high", "at", "value", "starts"):
            setattr(out, name, getattr(self, name)[:, :count])
        out.tracked = count
        return out

    def whole(self, owner: Tensor) -> Domains:
        """Whole sets as domains, with the slopes of `relax` and no multipliers; owner (rows,)."""
        low, high = self.low[owner], self.high[owner]
        return Domains(owner, low, high, self.usual_slopes(low, high), torch.zeros_like(low))

    def widest(self, name: str) -> int:
        """The largest number of entries among the values up to this one."""
        graph, size = self.network.graph, prod(self.network.input_shape)
        for node in graph.nodes:
            size = max(size, prod(node.shape))
            if node.name == name:
                break
        return size

    def usual_slopes(self, low: Tensor, high: Tensor) -> Tensor:
        """Slopes of the free lines to begin with on these ranges, (rows, U)."""
        slope = torch.zeros_like(low)
        for layer in self.layers.values():
            slope[:, layer.span] = layer.usual_slope(IntervalBounds(low[:, layer.span], high[:, layer.span]))
        return slope

    def unstable(self, low: Tensor, high: Tensor) -> Tensor:
        """The tracked entries on whose ranges f is not linear; bool (rows, U)."""
        parts = [torch.zeros_like(low[:, :0], dtype=torch.bool)]
        for layer in self.layers.values():
            parts.append(layer.unstable(IntervalBounds(low[:, layer.span], high[:, layer.span])))
        return torch.cat(parts, 1)


class RelaxedDomains:
    """Domains of a `Dual` with their fixed lines, ready for any slopes and multipliers."""

    def __init__(self, dual: Dual, domains: Domains):
        self.dual, self.owner = dual, domains.owner
        at, value = picked(dual.at, domains.owner), picked(dual.value, domains.owner)
        self.low, self.high = domains.low - at, domains.high - at
        # the line on the other side of the free one: its slope, and how far it lies above f at the reference
        self.slope, self.gap = torch.empty_like(self.low), torch.empty_like(self.low)
        # a free line of slope s lies base - s * breakpoint above f at the reference
        self.breakpoint, self.base = torch.empty_like(self.low), torch.empty_like(self.low)
        self.least, self.most = torch.empty_like(self.low), torch.empty_like(self.low)  # range of the free slope
        self.crossings: dict[str, Crossing] = {}  # of nodes that are no hinges
        for name, layer in dual.layers.items():
            span = layer.span
            box = IntervalBounds(domains.low[:, span], domains.high[:, span])
            if isinstance(layer, ActivationLayer) and layer.breakpoint is not None:
                self._fix(layer, layer.breakpoint, box, at[:, span], value[:, span])
                continue
            if isinstance(layer, FactorLayer):
                self.crossings[name] = layer.crossing(box, domains.owner)
            else:
                self.crossings[name] = Touching.of(layer, box, at[:, span], value[:, span])
            for part in (self.slope, self.gap, self.breakpoint, self.base, self.least):
                part[:, span] = 0
            self.most[:, span] = 1

    def _fix(self, layer: ActivationLayer, breakpoint: float, box: IntervalBounds, at: Tensor, value: Tensor) -> None:
        """The lines of a hinge."""
        span = layer.span
        line, near = layer.chord(box), torch.full_like(box.low, breakpoint).clamp(box.low, box.high)
        self.breakpoint[:, span], self.base[:, span] = near - at, layer.op.forward((), near) - value
        self.least[:, span], self.most[:, span] = layer.free_slopes(box)
        self.slope[:, span], self.gap[:, span] = line[0], line[0] * at + line[1] - value

    def take(self, index: Tensor) -> RelaxedDomains:
        """The rows at these positions; copies of one row are shared."""
        out = copy(self)
        out.owner = self.owner[index]
        out.crossings = {name: part.take(index) for name, part in self.crossings.items()}
        for name in ("low", "high", "slope", "gap", "breakpoint", "base", "least", "most"):
            part = getattr(self, name)
            is_shared = len(part) == 1 or part.stride(0) == 0
            setattr(out, name, part[:1].expand(len(index), -1) if is_shared else part[index])
        return out

    def pull(self, objective: Objective, slope: Tensor, multiplier: Tensor | None) -> Pulled:
        """Upper bounds of the rows for slopes within [least, most] and any multipliers, both (rows, U); None for zero.

        Sound because each line bounds its neuron over its range in the domain, `multiplier * z` is at least its minimum
        over that range, which is subtracted, and the support function bounds the rest; trusts float rounding, except
        where the dual has its terms.
        """
        dual, graph = self.dual, self.dual.network.graph
        bound = self._constant(objective)
        if dual.rounding is not None:
            bound = bound + self._cost(dual.rounding, objective, multiplier)
        if multiplier is not None:
            bound = bound - torch.linalg.vecdot(multiplier.clamp(min=0), self.low)
            bound = bound - torch.linalg.vecdot(multiplier.clamp(max=0), self.high)
        pending = {objective.name: objective.a}
        if objective.direct is not None:
            pending[graph.input] = objective.direct + pending.get(graph.input, 0)
        walk = Substitution(self, bound, slope, multiplier)
        last = walk.back(pending)[graph.input]
        bound = walk.bound
        if dual.rounding is not None:
            bound = bound + self.met(last, dual.rounding.slack(graph.input)) * (1 if dual.inputs.is_box else SUPPORT)
        return Pulled(bound + self.support(last), walk.a, walk.free, slope, walk.gap, walk.states, walk.mixing, last)

    def gradient(self, pulled: Pulled, primal: Primal) -> Tensor:
        """The derivative of the bounds by the slopes, or a direction in which they rise as well, (rows, U)."""
        found = (primal.z - self.breakpoint).mul_(pulled.free)
        for name, state in pulled.states.items():
            span = self.dual.layers[name].span
            found[:, span] = self.crossings[name].gradient(state, primal.z[:, span])
        return found

    def _cost(self, rounding: Rounding, objective: Objective, multiplier: Tensor | None) -> Tensor:
        """What it costs the rows of an objective and the multipliers to begin, (rows,)."""
        cost = self.met(objective.a, rounding.start(objective.name)) + FLOOR
        if objective.direct is not None:
            cost = cost + self.met(objective.direct, rounding.start(self.dual.network.graph.input))
        return cost if multiplier is None else cost + self.met(multiplier, self.dual.starts)

    def met(self, rows: Tensor, terms: Tensor) -> Tensor:
        """The sizes of rows (rows, *shape) times terms (batch, *shape), (rows,)."""
        return torch.linalg.vecdot(rows.flatten(1).abs(), picked(terms.flatten(1), self.owner))

    def primal(self, objective: Objective, pulled: Pulled) -> Primal:
        """The point of the relaxed network at which the rows attain their bounds."""
        dual, graph = self.dual, self.dual.network.graph
        x, z = self._maximiser(pulled.input), torch.zeros_like(pulled.a)
        values = {graph.input: x}
        for node, p in dual.network.walk():
            if objective.name in values:
                break
            here = values[node.inputs[0]]
            if isinstance(node.op, Affine):
                total = node.op.linear(p, 0, here)
                for k, name in enumerate(node.inputs[1:], 1):
                    total = total + node.op.linear(p, k, values[name])
                values[node.name] = total
            elif node.name in dual.mixing:
                at = dual.mixing[node.name]
                relaxation, sign = at.relaxation.select(self.owner), pulled.mixing.get(node.name, at.value[self.owner])
                values[node.name] = relaxation.at(here + at.at[self.owner], sign) - at.value[self.owner]
            else:
                layer, flat = dual.layers[node.name], here.flatten(1)
                span = layer.span
                z[:, span] = value = layer.pick(flat)
                if node.name in self.crossings:
                    state, unmet = pulled.states.get(node.name), here.new_zeros((len(here), *node.shape))
                    # what no row has met, the objective does not read
                    values[node.name] = unmet if state is None else self.crossings[node.name].value(state, here)
                    continue
                assert isinstance(layer, ActivationLayer)
                bent = torch.addcmul(pulled.gap[:, span], pulled.slope[:, span], value)
                straight = torch.addcmul(self.gap[:, span], self.slope[:, span], value)
                new = straight.lerp_(bent, pulled.free[:, span].sign().abs_())
                values[node.name] = layer.spread(flat, new).reshape(-1, *node.shape)
        value = values[objective.name] + picked(dual.reference[objective.name], self.owner)
        return Primal(z, x + picked(dual.reference[graph.input], self.owner), value)

    def _constant(self, objective: Objective) -> Tensor:
        """The rows at the reference, (rows,)."""
        constant = self._at_reference(objective.name, objective.a)
        if objective.direct is None:
            return constant
        return constant + self._at_reference(self.dual.network.graph.input, objective.direct)

    def _at_reference(self, name: str, a: Tensor) -> Tensor:
        """Rows a (rows, *shape) over a value, at the reference; owners come in any order."""
        return torch.linalg.vecdot(a.flatten(1), picked(self.dual.reference[name].flatten(1), self.owner))

    def support(self, a: Tensor) -> Tensor:
        """max of rows a (rows, *input shape) over their sets, relative to the centers; (rows,)."""
        dual = self.dual
        if dual.inputs.is_box:
            return torch.linalg.vecdot(a.flatten(1).abs(), picked(dual.radius.flatten(1), self.owner))
        support = dual.inputs.select(self.owner).support(a.unsqueeze(1)).squeeze(1)
        return support - self._at_reference(dual.network.graph.input, a)

    def _maximiser(self, a: Tensor) -> Tensor:
        """Where the rows a attain `support`, relative to the centers; (rows, *input shape)."""
        dual = self.dual
        if dual.inputs.is_box:
            return a.sign() * picked(dual.radius, self.owner)
        center = dual.reference[dual.network.graph.input]
        return dual.inputs.select(self.owner).maximiser(a) - center[self.owner]
