"""How many rows are best carried back together, and in which order single entries are taken."""

from __future__ import annotations

from math import prod

from torch import Tensor

from verify.ir.graph import BoundGraph, Node
from verify.ops.base import Op, Parameters
from verify.sets import InputSet

CHUNK = {"cpu": 1 << 21}  # bytes of one layer's coefficients at a time: in cache, and large enough for BLAS
LARGE = 1 << 27  # the same on other devices, which want many at once
WHOLE = 1 << 30  # the size of a window that covers its map


def step_size(
    network: BoundGraph, inputs: InputSet, name: str, single: bool = False, until: str | None = None
) -> int:
    """How many rows over a value, or over single entries of it, are best carried back together; until one value, if
    they stop there."""
    graph, low = network.graph, inputs.low
    floats = CHUNK.get(low.device.type, LARGE) // low.element_size()
    begin = (1, 1) if single and len(graph.shape_of(name)) == 3 else (WHOLE, WHOLE)
    sizes: dict[str, tuple[int, ...]] = {name: begin}
    widest = 1
    for node in reversed(_upstream(graph.nodes, name)):
        size = sizes.get(node.name)
        if size is None:
            continue
        widest = max(widest, _area(node.shape, size))
        if node.name == until:
            break
        before = _widened(node.op, network.of(node), size)
        for source in node.inputs:
            sizes[source] = tuple(map(max, before, sizes.get(source, (1, 1))))
    widest = max(widest, _area(graph.input_shape, sizes.get(graph.input, (1, 1))))
    return max(1, floats // widest)


def by_place(shape: tuple[int, ...], owner: Tensor, index: Tensor) -> Tensor:
    """An order of flat entries (n,) of a value of this shape, and of samples (n,), in which those that look at the same
    window follow each other."""
    area = prod(shape[1:]) if len(shape) == 3 else 1
    return (owner * area + index % area).argsort(stable=True)


def _upstream(nodes: tuple[Node, ...], name: str) -> tuple[Node, ...]:
    """The nodes up to `name` in topological order."""
    at = next((i for i, node in enumerate(nodes) if node.name == name), -1)
    return nodes[: at + 1]


def _widened(op: Op, p: Parameters, size: tuple[int, ...]) -> tuple[int, ...]:
    """The size of the window of an op's argument that one of this size of its value reads."""
    reach = op.reach(p)
    return (WHOLE, WHOLE) if reach is None else reach.of(size)


def _area(shape: tuple[int, ...], size: tuple[int, ...]) -> int:
    """The entries of a value in a window of this size."""
    if len(shape) != 3:
        return prod(shape)
    return shape[0] * prod(min(n, extent) for n, extent in zip(size, shape[1:], strict=True))
