"""Neurons of a convolutional feature map, each with the patch of the input that it sees.

In a chain of convolutions and activations a neuron depends on a window of every map before it. All neurons of a map
share one small network from a window of the input to one place; they differ in the numbers that the windows hold. So
rows over single neurons are bounded on that network, with one "sample" for each place of each sample's map.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from verify.ir.graph import BoundGraph, Graph, Node
from verify.ops.affine import Affine
from verify.ops.base import Reach
from verify.sets import Box
from verify.upper.duals.activation import ActivationLayer
from verify.upper.duals.dual import Dual, RelaxedDomains
from verify.upper.linear_bounds.rounding import Rounding

SHARE = 0.5  # of the input that a window may cover to be worth while
FLOATS = 1 << 24  # of the windows of one map


class ReceptiveField(NamedTuple):
    """Rows and columns [place * stride + offset, ... + size) of a map (channels, *extent), for every place."""

    stride: tuple[int, ...]
    offset: tuple[int, ...]
    size: tuple[int, ...]

    def before(self, reach: Reach) -> ReceptiveField:
        """What an op of this reach reads for this window of its output."""
        return ReceptiveField(
            tuple(m * s for m, s in zip(self.stride, reach.stride, strict=True)),
            tuple(o * s - q for o, s, q in zip(self.offset, reach.stride, reach.padding, strict=True)),
            reach.of(self.size),
        )

    def cut(self, values: Tensor, places: tuple[int, ...]) -> Tensor:
        """Windows of maps (batch, channels, *extent), zero outside: (batch * places, channels, *size)."""
        extent = values.shape[2:]
        ends = [(n - 1) * m + o + k for n, m, o, k in zip(places, *self, strict=True)]
        pad = [(max(0, -o), max(0, end - n)) for o, end, n in zip(self.offset, ends, extent, strict=True)]
        values = F.pad(values, (*pad[1], *pad[0]))
        first = [before + o for (before, _), o in zip(pad, self.offset, strict=True)]
        views = values[:, :, first[0] :, first[1] :].unfold(2, self.size[0], self.stride[0])
        views = views.unfold(3, self.size[1], self.stride[1])[:, :, : places[0], : places[1]]
        return views.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def windows_of(dual: Dual, source: str) -> dict[str, ReceptiveField] | None:
    """The windows that one entry of a value depends on, by value; None where the value is no map at the end of a chain
    of convolutions and activations by turns, or where its windows are no small part of the input."""
    graph = dual.network.graph
    if len(graph.shape_of(source)) != 3 or not dual.inputs.is_box:
        return None
    found, name, padded = {source: ReceptiveField((1, 1), (0, 0), (1, 1))}, source, False
    while name != graph.input:
        node = graph.by_name[name]
        (before, *others), reach, layer = node.inputs, node.op.reach(dual.network.of(node)), dual.layers.get(name)
        # beside a map all is zero, which activations keep up there, but no affine op does that looks at the map too
        if reach is None or others or (padded if layer is None else layer.breakpoint is None):
            return None
        found[before], padded = found[name].before(reach), layer is None and any(reach.padding)
        name = before
    area = dual.inputs.batch * prod(graph.shape_of(source)[1:])
    floats = max(area * graph.shape_of(key)[0] * prod(window.size) for key, window in found.items())
    is_small = prod(found[graph.input].size) <= SHARE * prod(graph.input_shape[1:])
    return found if is_small and floats <= FLOATS else None


def cropped(dual: Dual, source: str, windows: dict[str, ReceptiveField]) -> Dual:
    """The dual of the network from a window of the input to one place of the value."""
    graph, places = dual.network.graph, dual.network.graph.shape_of(source)[1:]
    out, nodes, start = copy(dual), [], 0
    out.layers, out.mixing = {}, {}
    for node in graph.nodes:
        if node.name not in windows:
            continue
        shape = (node.shape[0], *windows[node.name].size)
        op = node.op.unpadded() if isinstance(node.op, Affine) else node.op
        nodes.append(Node(node.name, op, node.inputs, node.parameters, shape))
        if node.name in dual.layers:
            count = prod(shape)
            tracked = torch.arange(count, device=dual.low.device)
            layer, span = dual.layers[node.name], slice(start, start + count)
            out.layers[node.name] = replace(layer, tracked=tracked, span=span, slope=dual.radius.new_zeros(count))
            start = span.stop
    small = Graph(graph.input, (graph.input_shape[0], *windows[graph.input].size), tuple(nodes), source)
    out.network, out.tracked = BoundGraph(small, dual.network.parameters), start
    low, high = (windows[graph.input].cut(end, places) for end in (dual.inputs.low, dual.inputs.high))
    out.inputs = Box(low, high)
    out.reference = {name: windows[name].cut(dual.reference[name], places) for name in (graph.input, source)}
    out.radius = windows[graph.input].cut(dual.radius, places)
    out.starts = cropped_tracked(dual, out, windows, dual.starts)
    if dual.rounding is not None:
        ends = {name: windows[name] for name in (graph.input, source)}
        at_layers = {name: windows[name] for name in out.layers}
        out.rounding = Rounding(
            dual.rounding.network,
            {name: window.cut(dual.rounding.sizes[name], places) for name, window in ends.items()},
            {source: ends[source].cut(dual.rounding.errors[source], places)} if source in dual.rounding.errors else {},
            {name: window.cut(dual.rounding.fields[name], places) for name, window in at_layers.items()},
        )
    return out


def cropped_rows(relaxed: RelaxedDomains, small: Dual, windows: dict[str, ReceptiveField]) -> RelaxedDomains:
    """Samples as rows of the `cropped` dual, relaxed, one for each place; outside the maps all is zero."""
    out = copy(relaxed)
    out.dual, out.owner = small, torch.arange(len(small.radius), device=small.radius.device)
    for name in ("low", "high", "gap", "breakpoint", "base"):
        setattr(out, name, cropped_tracked(relaxed.dual, small, windows, getattr(relaxed, name)))
    for name in ("slope", "least", "most"):
        setattr(out, name, cropped_tracked(relaxed.dual, small, windows, getattr(relaxed, name), linear=True))
    return out


def cropped_tracked(
    whole: Dual, small: Dual, windows: dict[str, ReceptiveField], values: Tensor, linear: bool = False
) -> Tensor:
    """Numbers of the tracked entries (batch, U) at the tracked entries of the `cropped` dual (places, its tracked
    entries). Entries that are no tracked entries of the whole dual have the slopes of their pieces if `linear`, and
    zero else."""
    parts = [small.radius.flatten(1)[:, :0]]
    graph, places = whole.network.graph, whole.network.graph.shape_of(small.network.graph.output)[1:]
    for name in small.layers:
        layer = whole.layers[name]
        assert isinstance(layer, ActivationLayer)
        rest = layer.slope if linear else torch.zeros_like(layer.slope)
        full = rest.repeat(len(values), 1).index_copy_(1, layer.tracked, values[:, layer.span])
        parts.append(windows[name].cut(full.reshape(-1, *graph.shape_of(name)), places).flatten(1))
    return torch.cat(parts, 1)
