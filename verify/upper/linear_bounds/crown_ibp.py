"""Linear bounds over interval boxes, differentiable in the weights (Zhang et al. 2020, CROWN-IBP).

Every layer has its box from interval arithmetic, and only rows over the output are pulled back through lines of those
boxes: one walk instead of one for every layer, which is what a training step can afford. `backward` beside it is the
same bound for certification, where every neuron is bounded again and nothing is differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from verify.ir.graph import BoundGraph, Graph, Node
from verify.ops.affine import Affine
from verify.ops.base import RECTIFIER, Lines, Nonlinear, Op, Parameters, Relaxation
from verify.ops.base import IntervalBounds as Box
from verify.sets import InputSet
from verify.upper.linear_bounds.kernels import Corner, ThroughLines, ThroughReLU, dot
from verify.upper.linear_bounds.walk import Walk

Relax = Callable[[Nonlinear, Parameters, Box], Relaxation]

KINDS = 32  # up to so many kinds of rows, all of them are multiplied with every sample


def affine_end_bounds(network: BoundGraph, boxes: dict[str, Box], rows: Tensor, kind: Tensor | None = None) -> Tensor:
    """Upper bounds of rows over the output, merged with the affine layers that the network ends with; (batch, rows).

    The merging ("elision of the last layer", Gowal et al. 2018, section 3) lets what the rows share cancel.

    Args:
        boxes: of every value before those layers, at least.
        rows: (batch, rows, *output shape), or (kinds, rows, *output shape) where samples share them.
        kind: (batch,) which of the kinds a sample takes.

    Sound because a linear function on a box is maximal at a corner; trusts float rounding.
    """
    return affine_end_boxes(network, boxes, rows, kind).high


def affine_end_boxes(network: BoundGraph, boxes: dict[str, Box], rows: Tensor, kind: Tensor | None = None) -> Box:
    """Bounds of rows from both sides, as in `affine_end_bounds`."""
    walk = AffineEnd(network, rows)
    ends = walk.back({network.graph.output: rows}) | walk.ends
    center, radius = walk.total if kind is None else walk.total[kind], torch.zeros_like(walk.total[:1])
    for name, a in ends.items():
        middle, half = ((boxes[name].high + sign * boxes[name].low).flatten(1) / 2 for sign in (1, -1))
        center = center + _values(a.flatten(2), middle, kind)
        radius = radius + _values(a.flatten(2).abs(), half, kind)
    return Box(center - radius, center + radius)


def _values(rows: Tensor, x: Tensor, kind: Tensor | None) -> Tensor:
    """Rows (batch or kinds, rows, n) of x (batch, n), (batch, rows)."""
    if kind is None or len(rows) > KINDS:
        return dot(rows if kind is None else rows[kind], x)
    each = (x @ rows.flatten(0, 1).T).unflatten(1, rows.shape[:2])  # of every kind: a product without copies of rows
    return each.take_along_dim(kind[:, None, None], 1).squeeze(1)


def adaptive(op: Nonlinear, p: Parameters, box: Box) -> Relaxation:
    """The op's own relaxation, for ReLU the lines of CROWN."""
    return op.relax(p, box)


def crown_ibp_bounds(
    network: BoundGraph, inputs: InputSet, boxes: dict[str, Box], rows: Tensor, relax: Relax = adaptive
) -> Tensor:
    """Upper bounds of rows over the output by one backward pass over lines of the given boxes.

    rows: (batch, rows, *output shape), boxes of every value that a nonlinear op reads -> (batch, rows).
    Sound because each line bounds its neuron over its box, a coefficient >= 0 takes the upper line, another one the
    lower (CROWN, theorem 3.2), and the support function of the inputs bounds the rest; trusts float rounding.
    """
    walk = ThroughBoxes(network, rows, boxes, relax)
    source, last = network.graph.input, walk.back({network.graph.output: rows})
    if source not in last:
        return walk.total
    return walk.total + (_corner(last[source], boxes[source]) if inputs.is_box else inputs.support(last[source]))


class AffineEnd(Walk[Tensor]):
    """Rows (batch, rows, *shape) through the affine nodes at the end of a network; they stop at others, in `ends`.
    What biases add up to is `total`, (batch, rows)."""

    def __init__(self, network: BoundGraph, rows: Tensor):
        super().__init__(network)
        self.total, self.ends = rows.new_zeros(rows.shape[:2]), dict[str, Tensor]()
        self.settled: set[str] = set()  # affine nodes whose bias is in the total already

    def affine(self, node: Node, op: Affine, p: Parameters, rows: Tensor) -> Iterable[tuple[str, Tensor]]:
        bias = None if node.name in self.settled else op.bias(p)
        self.total = self.total if bias is None else self.total + _dot_bias(rows, bias)
        return _through_affine(self.network, node, op, p, rows)

    def cross(self, node: Node, op: Op, p: Parameters, rows: Tensor) -> Iterable[tuple[str, Tensor]]:
        self.ends[node.name] = rows
        return ()


class ThroughBoxes(AffineEnd):
    """The same rows through the lines of all nonlinear nodes over given boxes, which add to the total."""

    def __init__(self, network: BoundGraph, rows: Tensor, boxes: dict[str, Box], relax: Relax):
        super().__init__(network, rows)
        self.boxes, self.relax = boxes, relax

    def cross(self, node: Node, op: Op, p: Parameters, rows: Tensor) -> Iterable[tuple[str, Tensor]]:
        assert isinstance(op, Nonlinear)
        source = node.inputs[0]
        box = self.boxes[source]
        if op.mixes:
            part, added = through(rows, self.relax(op, p, box))
        else:
            bias = _bias_before(self.network, node)
            part, added = _through_each(rows, op, p, box, bias, self.relax)
            self.settled.update(() if bias is None else (source,))
        self.total = self.total + added
        return [(source, part)]


def _through_affine(
    network: BoundGraph, node: Node, op: Affine, p: Parameters, a: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """(argument, rows over it) for each argument; what is flattened maps is carried on to the maps."""
    graph, flat = network.graph, a.flatten(0, 1)
    weight = network.matrix(node)
    for k, name in enumerate(node.inputs):
        maps = None if weight is None else _flattened(graph, name)
        if weight is not None and maps is not None:
            yield maps.name, _to_maps(flat, weight, maps.shape).unflatten(0, a.shape[:2])
        else:
            yield name, op.adjoint(p, k, flat, graph.shape_of(name)).unflatten(0, a.shape[:2])


def _dot_bias(a: Tensor, bias: Tensor) -> Tensor:
    """Rows a (batch, rows, *shape) times a bias that broadcasts to the shape, (batch, rows)."""
    shape = a.shape[2:]
    if len(shape) > 1 and bias.shape == (shape[0], *[1] * (len(shape) - 1)):  # one number a channel
        return a.flatten(3).sum(3) @ bias.flatten()
    return a.flatten(2) @ bias.expand(shape).reshape(-1)


def _bias_before(network: BoundGraph, node: Node) -> Tensor | None:
    """The bias of the affine node that this nonlinear one reads, if nothing else reads it."""
    source = network.graph.by_name.get(node.inputs[0])
    if source is None or not isinstance(source.op, Affine):
        return None
    readers = sum(name == source.name for other in network.graph.nodes for name in other.inputs)
    return source.op.bias(network.of(source)) if readers == 1 else None


def _flattened(graph: Graph, name: str) -> Node | None:
    """The node whose maps (channels, height, width) this value is, flattened."""
    node = graph.by_name.get(name)
    if node is None or not (isinstance(node.op, Affine) and node.op.keeps_order) or len(node.shape) > 1:
        return None
    source = graph.by_name.get(node.inputs[0])
    return source if source is not None and len(source.shape) == 3 else None


def _to_maps(a: Tensor, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Rows a (n, outputs) through a weight over flattened maps of this shape: (n, *shape) with the channels last in
    memory, where convolutions are faster. It is the weight that is reordered, not the many rows."""
    channels, height, width = shape
    last = weight.unflatten(1, shape).permute(0, 2, 3, 1).flatten(1)
    return (a @ last).unflatten(1, (height, width, channels)).permute(0, 3, 1, 2)


def through(a: Tensor, relaxation: Relaxation) -> tuple[Tensor, Tensor]:
    """Rows a (batch, rows, *output shape) pulled through a relaxation to its argument, and what intercepts add, (batch,
    rows)."""
    up = a.clamp(min=0)
    added = dot(up.flatten(2), relaxation.upper_intercept.flatten(1))
    added = added + dot((a - up).flatten(2), relaxation.lower_intercept.flatten(1))
    owner = torch.arange(len(a), device=a.device).repeat_interleave(a.shape[1])
    return relaxation.pull(a.flatten(0, 1), owner).unflatten(0, a.shape[:2]), added


def _through_each(
    a: Tensor, op: Nonlinear, p: Parameters, box: Box, bias: Tensor | None, relax: Relax
) -> tuple[Tensor, Tensor]:
    """Rows a (batch, rows, *shape) pulled through an elementwise op to z - bias, z its argument in the box, and what
    intercepts and the bias add, (batch, rows)."""
    order = _order(a)
    low, high = (_flat(end[:, None], order).squeeze(1) for end in box)
    shift = a.new_zeros(()) if bias is None else bias
    shift = _flat(shift.expand(a.shape[2:])[None, None], order).flatten()
    if op.hinge == RECTIFIER and relax is adaptive:
        out, added = ThroughReLU.apply(_flat(a, order), low, high, shift)
        return _shaped(out, a, order), added
    lines = relax(op, p, Box(low, high))
    assert isinstance(lines, Lines)
    slope, intercept, upper_slope, upper_intercept = lines.parts
    rise, gap = upper_slope - slope, upper_intercept - intercept
    line = slope, torch.addcmul(intercept, slope, shift), rise, torch.addcmul(gap, rise, shift)
    out, added = ThroughLines.apply(_flat(a, order), *line)
    return _shaped(out, a, order), added


def _order(a: Tensor) -> list[int]:
    """The axes of a in the order of memory, so that maps with their channels last are flattened without a copy."""
    last = a.dim() == 5 and a.stride(2) == 1 and a.shape[2] > 1
    return [0, 1, 3, 4, 2] if last else list(range(a.dim()))


def _flat(a: Tensor, order: list[int]) -> Tensor:
    """(batch, rows, *shape) -> (batch, rows, entries in this order)."""
    return a.permute(order).flatten(2)


def _shaped(flat: Tensor, like: Tensor, order: list[int]) -> Tensor:
    """What `_flat` made of a tensor of the shape of `like`, undone."""
    back = sorted(range(len(order)), key=order.__getitem__)
    return flat.unflatten(2, [like.shape[axis] for axis in order[2:]]).permute(back)


def _corner(a: Tensor, box: Box) -> Tensor:
    """max of rows a (batch, rows, *shape) over boxes (batch, *shape); (batch, rows)."""
    order = _order(a)
    return Corner.apply(_flat(a, order), *(_flat(end[:, None], order).squeeze(1) for end in box))
