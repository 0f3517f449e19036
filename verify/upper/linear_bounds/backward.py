"""Backward linear bounds: rows over a node are pulled back to the input through one line on each side of each neuron.

With lines lower <= f <= upper over the box, a coefficient a >= 0 takes the upper line and a < 0 the lower one, so the
row's value never shrinks on its way to the input, where the set's support function ends it
(Zhang et al. 2018, CROWN, theorem 3.2; Singh et al. 2019, DeepPoly; Xu et al. 2020, on general graphs).
All values are taken relative to the network's own at the center of the set, see `Slopes`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from verify.deadline import NEVER, Deadline, check_time
from verify.ir.graph import BoundGraph, Node
from verify.ops.affine import Affine
from verify.ops.base import IntervalBounds, Lines
from verify.ops.linear_ops import Conv, Linear
from verify.sets import InputSet
from verify.upper.linear_bounds.probe import Probe
from verify.upper.linear_bounds.rounding import FLOOR, SUPPORT, Rounding
from verify.upper.linear_bounds.rows import WHOLE, Dense, Field, Rows, Slopes, Window, widened

CHUNK = 1 << 21  # bytes of one layer's coefficients at a time: small enough to stay in cache, large enough for BLAS
WIDE = 1 << 27  # the same on a GPU, which wants many at once
SPARSE = 0.75  # entries of a layer are dropped where at most this share of them is not constantly zero

Trail = dict[str, Tensor]  # rows (rows, *shape) by the name of the value that they multiply


class Backward:
    """Pulls rows back through a graph whose nonlinear nodes have lines; lines are added as layers become known.

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
        self.lines: dict[str, Lines] = {}
        self.slopes: dict[str, Slopes] = {}
        self._columns: dict[str, Tensor] = {}  # entries that rows over a value keep; the others meet only zero slopes
        self._weights: dict[str, Tensor] = {}  # weights of linear nodes, restricted to those entries
        self._uses = [name for node in network.graph.nodes for name in node.inputs] + [network.graph.output]

    def spread(self, owner: Tensor) -> Backward:
        """The same network with one sample for each row, owner (rows,) long, without lines."""
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

    def relax(self, node: Node, lines: Lines) -> None:
        """Sets the lines of a nonlinear node, which must have been visited."""
        source = node.inputs[0]
        self.lines[node.name] = lines
        rounding = None if self.rounding is None else self.rounding.fields[node.name]
        slopes = Slopes(lines, self.reference[source], self.reference[node.name], rounding)
        before = self.network.graph.by_name.get(source)
        chained = before is not None and isinstance(before.op, Linear) and self._uses.count(source) == 1
        if chained and len(node.shape) == 1 and lines.lower_index is None:
            parts = (lines.lower_slope, lines.upper_slope, slopes.gap_middle.values, slopes.gap_spread.values)
            alive = torch.stack([(part != 0).any(0) for part in parts]).any(0).nonzero().flatten()
            if len(alive) <= SPARSE * node.shape[0]:
                self._columns[source] = self._columns[node.name] = alive
                slopes = slopes.restricted(alive)
        self.slopes[node.name] = slopes

    def extremes(
        self, name: str, owner: Tensor, index: Tensor, known: IntervalBounds,
        is_open: Callable[[IntervalBounds], Tensor],
    ) -> IntervalBounds:
        """Bounds of single entries of a value: owner (n,), flat index (n,) long, known (n,) -> IntervalBounds of (n,).

        A ReLU can only be stable on the side where its reference value lies, so that side is bounded first. An entry
        that is then no longer open, by `is_open` of the bounds of (m,) entries, is pulled no further, already on its
        way: the bound that it has by then, over the boxes of the layers in between, is valid and decides it.
        From `until` on entries keep what is known of them.
        Sound because each line bounds its neuron over its box and a support function bounds the rest; trusts float
        rounding, except with its terms.
        """
        at = self.reference[name].flatten(1)[owner, index]
        bounds = IntervalBounds(known.low.clone(), known.high.clone())
        sign = torch.where(at < 0, 1.0, -1.0).to(at)
        cost = None if self.rounding is None else self.rounding.start(name).flatten(1) + FLOOR
        everything, step = torch.arange(len(owner), device=owner.device), self._step_size(name, single=True)
        for side, entries in ((sign, everything), (-sign, None)):
            entries = is_open(bounds).nonzero().flatten() if entries is None else entries
            entries = entries[self._by_place(name, owner[entries], index[entries])]
            for part in entries.split(step):
                if self.until.is_over:
                    return bounds
                probe = Probe(at[part], side[part], IntervalBounds(bounds.low[part], bounds.high[part]), is_open)
                units = self._units(name, owner[part], index[part], side[part])
                self._pull(dict([units]), probe, cost=None if cost is None else cost[owner[part], index[part]])
                bounds.low[part], bounds.high[part] = probe.settle()
        return bounds

    def _by_place(self, name: str, owner: Tensor, index: Tensor) -> Tensor:
        """An order of entries of a value in which those that look at the same window follow each other."""
        shape = self.network.graph.shape_of(name)
        area = prod(shape[1:]) if len(shape) == 3 else 1
        return (owner * area + index % area).argsort(stable=True)

    def maximum(self, name: str, a: Tensor, owner: Tensor, direct: Tensor | None = None) -> tuple[Tensor, Trail]:
        """Upper bounds of a . value + direct . input for rows a (rows, *shape), direct (rows, *input shape) or None,
        owner (rows,) long: (rows,), and the rows at each nonlinear node and at the input.

        Sound because each line bounds its neuron over its box and the support function bounds the rest; trusts float
        rounding, except with its terms.
        """
        step = self._step_size(name)
        bounds, trails = [], []
        source = self.network.graph.input
        for part in torch.arange(len(owner), device=owner.device).split(step):
            rows, trail = Dense(a[part], owner[part]), {}
            bound = rows.dot(Field(self.reference[name]))
            start: dict[str, Rows] = {name: self._restricted(name, rows)}
            if direct is not None:
                start[source] = Dense(direct[part], owner[part])
                bound = bound + start[source].dot(Field(self.reference[source]))
            bounds.append(bound + self._pull(start, trail=trail, cost=self._cost(name, rows, start.get(source))))
            trails.append(trail)
        return torch.cat(bounds), {key: torch.cat([trail[key] for trail in trails]) for key in trails[0]}

    def _cost(self, name: str, rows: Dense, direct: Rows | None) -> Tensor | None:
        """What it costs rows over a value, and others over the input, to begin; (rows,), or None without terms."""
        if self.rounding is None:
            return None
        cost = rows.size_dot(Field(self.rounding.start(name))) + FLOOR
        source = self.network.graph.input
        return cost if direct is None else cost + direct.size_dot(Field(self.rounding.start(source)))

    def _step_size(self, name: str, single: bool = False) -> int:
        """How many rows over a value, or over single entries of it, are best pulled together."""
        graph, low = self.network.graph, self.inputs.low
        floats = (CHUNK if low.device.type == "cpu" else WIDE) // low.element_size()
        begin = (1, 1) if single and len(graph.shape_of(name)) == 3 else (WHOLE, WHOLE)
        sizes: dict[str, tuple[int, ...]] = {name: begin}
        widest = 1
        for node in reversed(self._upstream(name)):
            size = sizes.get(node.name)
            if size is None:
                continue
            widest = max(widest, _area(node.shape, size))
            before = widened(node.op, self.network.of(node), size)
            for source in node.inputs:
                sizes[source] = tuple(map(max, before, sizes.get(source, (1, 1))))
        widest = max(widest, _area(graph.input_shape, sizes.get(graph.input, (1, 1))))
        return max(1, floats // widest)

    def _units(self, name: str, owner: Tensor, index: Tensor, sign: Tensor) -> tuple[str, Rows]:
        """Rows sign_i e_i over a value, already pulled through its node where that is a mere look-up."""
        node, shape = self.network.graph.by_name.get(name), self.network.graph.shape_of(name)
        if node is not None and isinstance(node.op, Linear) and len(shape) == 1:
            weights = self._restricted(node.inputs[0], Dense(self.network.of(node)[0][index], owner)).dense().a
            return node.inputs[0], Dense(weights * sign[:, None], owner)
        if len(shape) == 3:
            area, one = shape[1] * shape[2], sign[:, None, None, None]
            channel, place = index // area, torch.stack([index % area // shape[2], index % shape[2]], 1)
            if node is not None and isinstance(node.op, Conv) and node.op.groups == 1 and node.op.dilation == (1, 1):
                weights, offset = self.network.of(node)[0][channel] * one, (-node.op.padding[0], -node.op.padding[1])
                extent = self.network.graph.shape_of(node.inputs[0])[1:]
                rows = Window(weights, owner, place, node.op.stride, offset, extent, shape[1:], clean=False)
                return node.inputs[0], rows
            a = torch.zeros((len(index), shape[0], 1, 1), dtype=sign.dtype, device=owner.device)
            a = a.scatter(1, channel[:, None, None, None], one)
            return name, Window(a, owner, place, (1, 1), (0, 0), shape[1:], shape[1:])
        a = torch.zeros((len(index), prod(shape)), dtype=sign.dtype, device=owner.device)
        a = a.scatter(1, index[:, None], sign[:, None])
        return name, Dense(a.reshape(-1, *shape), owner)

    def _pull(
        self, start: dict[str, Rows], probe: Probe | None = None, trail: Trail | None = None, cost: Tensor | None = None
    ) -> Tensor:
        """Upper bounds of sums of rows over differences of values to their references; (rows,). The cost is added.

        A probe sees the bounds at each nonlinear node on the way and may drop rows; those that are left are returned.
        A trail receives the rows as they arrive at each nonlinear node and at the input.
        """
        graph, pending = self.network.graph, dict(start)
        first = next(iter(start.values()))
        added = torch.zeros(len(first.owner), dtype=first.a.dtype, device=first.a.device) if cost is None else cost
        crossed = 0
        for node in reversed(self._upstream(next(iter(start)))):
            here = pending.pop(node.name, None)
            if here is None:
                continue
            check_time()
            if trail is not None and not isinstance(node.op, Affine):
                trail[node.name] = self._expanded(node.name, here)
            pulled, more = self._step(node, here)
            for source, part in pulled:
                pending[source] = pending[source].plus(part) if source in pending else part
            if more is None:
                continue
            added, crossed = added + more, crossed + 1
            if probe is not None and crossed > 1:  # the first crossing repeats what the interval said
                keep = probe.see(added + sum(self._over_box(*item) for item in pending.items()))
                if keep is not None:
                    added, pending = added[keep], {source: part.take(keep) for source, part in pending.items()}
            if not len(added):
                return added
        last = pending.get(graph.input)
        bound = added if last is None else added + self._over_input(last)
        if trail is not None and last is not None:
            trail[graph.input] = last.dense().a
        if probe is not None:
            probe.see(bound)
        return bound

    def _over_box(self, name: str, rows: Rows) -> Tensor:
        """max of the rows over the box of a value, relative to its reference; (rows,)."""
        middle, radius = self._field(name)
        return rows.dot(middle) + rows.size_dot(radius)

    def _over_input(self, rows: Rows) -> Tensor:
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
            if name in self._columns:
                parts = parts[0][:, self._columns[name]], parts[1][:, self._columns[name]]
            self._fields[name] = Field(parts[0]), Field(parts[1])
        return self._fields[name]

    def _step(self, node: Node, rows: Rows) -> tuple[list[tuple[str, Rows]], Tensor | None]:
        """(argument, rows over it) for each argument of a node, and what its gaps add."""
        graph, p = self.network.graph, self.network.of(node)
        if isinstance(node.op, Linear) and len(node.shape) == 1:
            return [(node.inputs[0], Dense(rows.dense().a @ self._weight(node), rows.owner))], None
        if isinstance(node.op, Affine):
            out = []
            for k, source in enumerate(node.inputs):
                pulled = rows.adjoint(node.op, p, k, graph.shape_of(source))
                out.append((source, self._restricted(source, pulled)))
            return out, None
        slopes, source = self.slopes[node.name], node.inputs[0]
        if slopes.lines.lower_index is not None:
            pulled, more = rows.scatter(slopes, graph.shape_of(source))
        else:
            pulled, more = rows.through(slopes)
        return [(source, pulled if node.name in self._columns else self._restricted(source, pulled))], more

    def _restricted(self, name: str, rows: Rows) -> Rows:
        """Rows over a value without the entries that meet only zero slopes."""
        if name not in self._columns:
            return rows
        return Dense(rows.dense().a[:, self._columns[name]], rows.owner)

    def _expanded(self, name: str, rows: Rows) -> Tensor:
        """The coefficients over all entries of a value, (rows, *shape)."""
        a, columns = rows.dense().a, self._columns.get(name)
        if columns is None:
            return a
        whole = torch.zeros((len(a), *self.network.graph.shape_of(name)), dtype=a.dtype, device=a.device)
        return whole.index_copy(1, columns, a)

    def _weight(self, node: Node) -> Tensor:
        """The weight of a linear node between the entries that matter on either side, (outputs, inputs)."""
        weight = self._weights.get(node.name)
        if weight is None:
            weight, source = self.network.of(node)[0], node.inputs[0]
            if node.name in self._columns:
                weight = weight[self._columns[node.name]]
            if source in self._columns:
                weight = weight[:, self._columns[source]]
            # before its own lines are set, a node's rows may still be restricted: keep only final weights
            if self._is_settled(node):
                self._weights[node.name] = weight
        return weight

    def _is_settled(self, node: Node) -> bool:
        consumers = [n for n in self.network.graph.nodes if node.name in n.inputs]
        return all(isinstance(n.op, Affine) or n.name in self.slopes for n in consumers)

    def _upstream(self, name: str) -> tuple[Node, ...]:
        """The nodes up to `name` in topological order."""
        nodes = self.network.graph.nodes
        at = next((i for i, node in enumerate(nodes) if node.name == name), -1)
        return nodes[: at + 1]


def _area(shape: tuple[int, ...], size: tuple[int, ...]) -> int:
    """The entries of a value in a window of this size."""
    if len(shape) != 3:
        return prod(shape)
    return shape[0] * prod(min(n, extent) for n, extent in zip(size, shape[1:], strict=True))
