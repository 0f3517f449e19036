"""Backward linear bounds: rows over a node are pulled back to the input through one line on each side of each neuron.

With lines lower <= f <= upper over the box, a coefficient a >= 0 takes the upper line and a < 0 the lower one, so the
row's value never shrinks on its way to the input, where the set's support function ends it
(Zhang et al. 2018, CROWN, theorem 3.2; Singh et al. 2019, DeepPoly; Xu et al. 2020, on general graphs).
All values are taken relative to the network's own at the center of the set, see `Slopes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod

import torch
from torch import Tensor

from verify.deadline import NEVER, Deadline
from verify.ir.graph import BoundGraph, Node
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds, Lines, Op, Parameters, Relaxation
from verify.sets import InputSet
from verify.upper.linear_bounds.chunks import by_place, step_size
from verify.upper.linear_bounds.front import Rest
from verify.upper.linear_bounds.probe import Probe
from verify.upper.linear_bounds.rounding import FLOOR, SUPPORT, Rounding
from verify.upper.linear_bounds.rows import Dense, Field, Rows, Slopes, Window
from verify.upper.linear_bounds.walk import Walk

SPARSE = 0.75  # entries of a layer are dropped where at most this share of them is not constantly zero

Trail = dict[str, Tensor]  # rows (rows, *shape) by the name of the value that they multiply


class Backward:
    """Pulls rows back through a graph whose nonlinear nodes have relaxations, added as layers become known.

    With the terms of `rounding`, filled by the caller, bounds hold in real arithmetic (see
    `verify.upper.linear_bounds.rounding`).
    """

    def __init__(
        self, network: BoundGraph, inputs: InputSet, boxes: dict[str, IntervalBounds], until: Deadline = NEVER,
        rounding: Rounding | None = None,
    ):
        self.network, self.inputs, self.until, self.rounding = network, inputs, until, rounding
        self.boxes = boxes  # bounds of the values known so far, filled by the caller
        self._fields: dict[str, tuple[Field, Field]] = {}
        self.reference = {network.graph.input: (inputs.low + inputs.high) / 2}
        self.relaxations: dict[str, Relaxation] = {}
        self.slopes: dict[str, Slopes] = {}
        self.kept: dict[str, Tensor] = {}  # entries that rows over a value keep; the others meet only zero slopes
        self.rest: Rest | None = None  # where rows that bound single entries stop
        self._weights: dict[str, Tensor] = {}  # weights of linear nodes, restricted to those entries
        self._uses = [name for node in network.graph.nodes for name in node.inputs] + [network.graph.output]

    def spread(self, owner: Tensor) -> Backward:
        """The same network with one sample for each row, owner (rows,) long, without relaxations."""
        rounding = None if self.rounding is None else self.rounding.ends.select(owner)
        again = Backward(self.network, self.inputs.select(owner), {}, rounding=rounding)
        again.reference = {name: value[owner] for name, value in self.reference.items()}
        source = self.network.graph.input
        again.boxes[source] = IntervalBounds(again.inputs.low, again.inputs.high)
        return again

    def visit(self, node: Node) -> None:
        """Computes the reference value of a node; its arguments must have been visited."""
        arguments = (self.reference[name] for name in node.inputs)
        self.reference[node.name] = node.op.forward(self.network.of(node), *arguments)

    def relax(self, node: Node, relaxation: Relaxation) -> None:
        """Sets the relaxation of a nonlinear node, which must have been visited."""
        source = node.inputs[0]
        self.relaxations[node.name] = relaxation
        rounding = None if self.rounding is None else self.rounding.fields[node.name]
        slopes = Slopes(relaxation, self.reference[source], self.reference[node.name], rounding)
        before = self.network.graph.by_name.get(source)
        is_matrix = before is not None and self.network.matrix(before) is not None
        if is_matrix and self._uses.count(source) == 1 and isinstance(relaxation, Lines):
            gaps = slopes.gap_middle.values, slopes.gap_spread.values
            parts = (relaxation.lower_slope, relaxation.upper_slope, *gaps)
            alive = torch.stack([(part != 0).any(0) for part in parts]).any(0).nonzero().flatten()
            if len(alive) <= SPARSE * node.shape[0]:
                self.kept[source] = self.kept[node.name] = alive
                slopes = slopes.restricted(alive)
        self.slopes[node.name] = slopes

    def extremes(
        self, name: str, owner: Tensor, index: Tensor, known: IntervalBounds,
        is_open: Callable[[IntervalBounds], Tensor] | None,
    ) -> IntervalBounds:
        """Bounds of single entries of a value: owner (n,), flat index (n,) long, known (n,) -> IntervalBounds of (n,).

        A ReLU can only be stable on the side where its reference value lies, so that side is bounded first. An entry
        that is then no longer open, by `is_open` of the bounds of (m,) entries, is pulled no further, already on its
        way: the bound that it has by then, over the boxes of the layers in between, is valid and decides it.
        Where nothing decides an entry (None), both sides are bounded at once. From `until` on entries keep what is
        known of them.
        Sound because each line bounds its neuron over its box and a support function bounds the rest; trusts float
        rounding, except with its terms.
        """
        at = self.reference[name].flatten(1)[owner, index]
        bounds = IntervalBounds(known.low.clone(), known.high.clone())
        sign = torch.where(at < 0, 1.0, -1.0).to(at)
        cost = None if self.rounding is None else self.rounding.start(name).flatten(1) + FLOOR
        everything = torch.arange(len(owner), device=owner.device)
        step = step_size(self.network, self.inputs, name, single=True, until=self.rest and self.rest.name)
        both = is_open is None
        for side, entries in ((sign, everything), *(() if is_open is None else ((-sign, None),))):
            entries = is_open(bounds).nonzero().flatten() if entries is None and is_open is not None else everything
            entries = entries[by_place(self.network.graph.shape_of(name), owner[entries], index[entries])]
            for part in entries.split(max(1, step // 2) if both else step):
                if self.until.is_over:
                    return bounds
                rows = part.repeat(2) if both else part
                signs = torch.cat([side[part], -side[part]]) if both else side[part]
                probe = Probe(at[rows], signs, IntervalBounds(bounds.low[rows], bounds.high[rows]), is_open)
                units = self._units(name, owner[rows], index[rows], signs)
                self._bound(dict([units]), probe, cost=None if cost is None else cost[owner[rows], index[rows]])
                low, high = probe.settle()
                if both:
                    low, high = low.view(2, -1).amax(0), high.view(2, -1).amin(0)
                bounds.low[part], bounds.high[part] = low, high
        return bounds

    def maximum(self, name: str, a: Tensor, owner: Tensor, direct: Tensor | None = None) -> tuple[Tensor, Trail]:
        """Upper bounds of a . value + direct . input for rows a (rows, *shape), direct (rows, *input shape) or None,
        owner (rows,) long: (rows,), and the rows at each nonlinear node and at the input.

        Sound because each line bounds its neuron over its box and the support function bounds the rest; trusts float
        rounding, except with its terms.
        """
        step = step_size(self.network, self.inputs, name)
        bounds, trails = [], []
        source = self.network.graph.input
        for part in torch.arange(len(owner), device=owner.device).split(step):
            rows, trail = Dense(a[part], owner[part]), {}
            bound = rows.dot(Field(self.reference[name]))
            start: dict[str, Rows] = {name: self.restricted(name, rows)}
            if direct is not None:
                start[source] = Dense(direct[part], owner[part])
                bound = bound + start[source].dot(Field(self.reference[source]))
            bounds.append(bound + self._bound(start, trail=trail, cost=self._cost(name, rows, start.get(source))))
            trails.append(trail)
        return torch.cat(bounds), {key: torch.cat([trail[key] for trail in trails]) for key in trails[0]}

    def _cost(self, name: str, rows: Dense, direct: Rows | None) -> Tensor | None:
        """What it costs rows over a value, and others over the input, to begin; (rows,), or None without terms."""
        if self.rounding is None:
            return None
        cost = rows.size_dot(Field(self.rounding.start(name))) + FLOOR
        source = self.network.graph.input
        return cost if direct is None else cost + direct.size_dot(Field(self.rounding.start(source)))

    def _units(self, name: str, owner: Tensor, index: Tensor, sign: Tensor) -> tuple[str, Rows]:
        """Rows sign_i e_i over a value, already pulled through its node where that is a mere look-up."""
        node, shape = self.network.graph.by_name.get(name), self.network.graph.shape_of(name)
        if node is not None and (weight := self.network.matrix(node)) is not None:
            rows = self.restricted(node.inputs[0], Dense(weight[index], owner)).dense().a
            return node.inputs[0], Dense(rows * sign[:, None], owner)
        if len(shape) == 3:
            return self._unit_windows(name, node, owner, index, sign)
        a = torch.zeros((len(index), prod(shape)), dtype=sign.dtype, device=owner.device)
        a = a.scatter(1, index[:, None], sign[:, None])
        return name, self.restricted(name, Dense(a.reshape(-1, *shape), owner))

    def _unit_windows(
        self, name: str, node: Node | None, owner: Tensor, index: Tensor, sign: Tensor
    ) -> tuple[str, Rows]:
        """The rows of `_units` over a map, in windows."""
        shape = self.network.graph.shape_of(name)
        area, one = shape[1] * shape[2], sign[:, None, None, None]
        channel, place = index // area, torch.stack([index % area // shape[2], index % shape[2]], 1)
        if node is not None and isinstance(node.op, Affine):
            p = self.network.of(node)
            reach, weights = node.op.reach(p), node.op.unit_spread(p, channel)
            if reach is not None and weights is not None:
                offset, extent = tuple(-q for q in reach.padding), self.network.graph.shape_of(node.inputs[0])[1:]
                rows = Window(weights * one, owner, place, reach.stride, offset, extent, shape[1:], clean=False)
                return node.inputs[0], rows
        a = torch.zeros((len(index), shape[0], 1, 1), dtype=sign.dtype, device=owner.device)
        a = a.scatter(1, channel[:, None, None, None], one)
        return name, Window(a, owner, place, (1, 1), (0, 0), shape[1:], shape[1:])

    def _bound(
        self, start: dict[str, Rows], probe: Probe | None = None, trail: Trail | None = None, cost: Tensor | None = None
    ) -> Tensor:
        """Upper bounds of sums of rows over differences of values to their references; (rows,). The cost is added.

        A probe sees the bounds at each nonlinear node on the way and may drop rows; those that are left are returned.
        A trail receives the rows as they arrive at each nonlinear node and at the input.
        """
        first = next(iter(start.values()))
        added = torch.zeros(len(first.owner), dtype=first.a.dtype, device=first.a.device) if cost is None else cost
        walk = Propagation(self, added, probe, trail, self.rest if trail is None else None)
        last = walk.back(start).get(self.network.graph.input)
        if not len(walk.added):
            return walk.added
        bound = walk.added if last is None else walk.added + self.over_input(last)
        if trail is not None and last is not None:
            trail[self.network.graph.input] = last.dense().a
        if probe is not None:
            probe.see(bound)
        return bound

    def over_box(self, name: str, rows: Rows) -> Tensor:
        """max of the rows over the box of a value, relative to its reference; (rows,)."""
        middle, radius = self._field(name)
        return rows.dot(middle) + rows.size_dot(radius)

    def over_rest(self, rest: Rest, rows: Rows) -> Tensor:
        """max of the rows over the form of a value at which they stop, relative to its reference; (rows,)."""
        bound = rows.dot(Field(rest.middle)) + rows.size_dot(Field(rest.radius))
        return bound + sum(rows.dot(Field(column)).abs() for column in rest.columns)

    def over_input(self, rows: Rows) -> Tensor:
        """max of the rows over the input set, relative to its center; (rows,)."""
        name = self.network.graph.input
        if self.inputs.is_box:
            return rows.size_dot(self._field(name)[1])
        whole = rows.dense()
        support = self.inputs.select(whole.owner).support(whole.a.unsqueeze(1)).squeeze(1)
        if self.rounding is not None:
            support = support + SUPPORT * whole.size_dot(Field(self.rounding.slack(name)))
        return support - whole.dot(Field(self.reference[name]))

    def _field(self, name: str) -> tuple[Field, Field]:
        """(middle relative to the reference, radius) of the box of a value, which is final by now."""
        if name not in self._fields:
            low, high = self.boxes[name]
            parts = (low + high) / 2 - self.reference[name], (high - low) / 2
            if self.rounding is not None:
                parts = parts[0], parts[1] + self.rounding.slack(name)
            if name in self.kept:
                parts = parts[0][:, self.kept[name]], parts[1][:, self.kept[name]]
            self._fields[name] = Field(parts[0]), Field(parts[1])
        return self._fields[name]

    def restricted(self, name: str, rows: Rows) -> Rows:
        """Rows over a value without the entries that meet only zero slopes."""
        if name not in self.kept:
            return rows
        return Dense(rows.dense().a[:, self.kept[name]], rows.owner)

    def expanded(self, name: str, rows: Rows) -> Tensor:
        """The coefficients over all entries of a value, (rows, *shape)."""
        a, kept = rows.dense().a, self.kept.get(name)
        if kept is None:
            return a
        whole = torch.zeros((len(a), *self.network.graph.shape_of(name)), dtype=a.dtype, device=a.device)
        return whole.index_copy(1, kept, a)

    def weight(self, node: Node) -> Tensor | None:
        """The matrix (outputs, inputs) of a node that has one, between the entries that matter on either side."""
        weight = self._weights.get(node.name)
        if weight is None:
            weight, source = self.network.matrix(node), node.inputs[0]
            if weight is None:
                return None
            if node.name in self.kept:
                weight = weight[self.kept[node.name]]
            if source in self.kept:
                weight = weight[:, self.kept[source]]
            # before its own lines are set, a node's rows may still be restricted: keep only final weights
            if self._is_settled(node):
                self._weights[node.name] = weight
        return weight

    def _is_settled(self, node: Node) -> bool:
        consumers = [n for n in self.network.graph.nodes if node.name in n.inputs]
        return all(isinstance(n.op, Affine) or n.name in self.slopes for n in consumers)


class Propagation(Walk[Rows]):
    """Rows on their way through the lines of a `Backward`; `added` (rows,) is what they have left behind."""

    def __init__(
        self, backward: Backward, added: Tensor, probe: Probe | None, trail: Trail | None, rest: Rest | None = None
    ):
        super().__init__(backward.network)
        self.backward, self.added, self.probe, self.trail, self.rest = backward, added, probe, trail, rest
        self.crossings = 0

    def affine(self, node: Node, op: Affine, p: Parameters, rows: Rows) -> Iterable[tuple[str, Rows]]:
        if self._stops(node, rows):
            return []
        weight = self.backward.weight(node)
        if weight is not None:
            return [(node.inputs[0], Dense(rows.dense().a @ weight, rows.owner))]
        pulled = ((s, rows.adjoint(op, p, k, self.network.graph.shape_of(s))) for k, s in enumerate(node.inputs))
        return [(source, self.backward.restricted(source, part)) for source, part in pulled]

    def cross(self, node: Node, op: Op, p: Parameters, rows: Rows) -> Iterable[tuple[str, Rows]]:
        if self._stops(node, rows):
            return []
        if self.trail is not None:
            self.trail[node.name] = self.backward.expanded(node.name, rows)
        source = node.inputs[0]
        pulled, more = rows.cross(self.backward.slopes[node.name])
        self.added, self.crossings = self.added + more, self.crossings + 1
        is_cut = node.name in self.backward.kept
        return [(source, pulled if is_cut else self.backward.restricted(source, pulled))]

    def _stops(self, node: Node, rows: Rows) -> bool:
        """Whether rows end at this node; then what they are at most is added."""
        if self.rest is None or node.name != self.rest.name:
            return False
        self.added = self.added + self.backward.over_rest(self.rest, rows)
        return True

    def crossed(self, pending: dict[str, Rows]) -> dict[str, Rows]:
        # what nothing decides goes on whatever it reaches, and the first crossing repeats what the interval said
        if self.probe is None or self.probe.is_open is None or self.crossings == 1:
            return pending
        bound = self.added + sum(self.backward.over_box(*item) for item in pending.items())
        keep = self.probe.see(bound)
        if keep is None:
            return pending
        self.added = self.added[keep]
        return {name: part.take(keep) for name, part in pending.items()} if len(keep) else {}
