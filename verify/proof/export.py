"""The network of a certificate: the IR in the few ops that the checker knows, as a header and named arrays.

One canonical node for each IR node, under its name, and two more for the factors of a product (see
verify.check.network for the fields). Weights are stored as they are; every op that moves, sums or averages entries
becomes a gather with its index written out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NoReturn

import numpy as np
import torch

from verify.errors import UnsupportedMethod
from verify.ir.graph import Network, Node
from verify.ops import (
    ELU,
    GELU,
    Add,
    Atan,
    AvgPool,
    BatchNorm,
    Ceil,
    Concat,
    Conv,
    ConvTranspose,
    Cos,
    Curve,
    Divide,
    Entrywise,
    Erf,
    Exp,
    Floor,
    HardSwish,
    JumpingLines,
    Linear,
    Log,
    MatMul,
    Max,
    Mish,
    Multiply,
    Op,
    Permute,
    Piecewise,
    Power,
    Product,
    Reshape,
    RoundToEven,
    Scale,
    Select,
    Shift,
    Sigmoid,
    Sin,
    Softplus,
    Softsign,
    Sum,
    Swish,
    Tanh,
    TanhGELU,
    axis_groups,
)

Shape = tuple[int, ...]
Fields = dict[str, Any]
KINDS = {np.dtype(np.float32): "<f4", np.dtype(np.float64): "<f8"}


def exported(network: Network) -> tuple[dict, dict[str, np.ndarray]]:
    """The header's "network" and its arrays, of the network as it was read (`unmerged`).

    Nodes that the output does not need are left out, so the output comes last. Raises UnsupportedMethod, naming the
    node, for what the checker does not know, and where the output is the input itself.
    """
    net = network.unmerged or network
    graph = net.graph
    if graph.output == graph.input:
        raise UnsupportedMethod(f"the network returns its input {graph.input} and has no node to certify")
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    store = _Store()
    nodes = [entry for node in graph.nodes if node.name in needed for entry in _entries(_Site(net, node, store))]
    return {"input": graph.input, "shape": list(graph.input_shape), "nodes": nodes}, store.arrays


def front_size(network: Network) -> int:
    """How many of the first nodes of "network" are a front; the factors of a product are nodes there too."""
    front = (network.unmerged or network).front
    return 0 if front is None else sum(3 if isinstance(node.op, Product) else 1 for node in front.graph.nodes)


class _Store:
    """The arrays by name; a name that other values have is numbered."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def put(self, name: str, array: np.ndarray) -> str:
        unique, count = name, 1
        while unique in self.arrays and not _same(self.arrays[unique], array):
            count += 1
            unique = f"{name}_{count}"
        self.arrays[unique] = array
        return unique


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


class _Site:
    """A node with its argument shapes and the arrays that its fields name."""

    def __init__(self, net: Network, node: Node, store: _Store):
        self.net, self.node, self.store = net, node, store
        self.given = [net.graph.shape_of(name) for name in node.inputs]

    def refuse(self, why: str) -> NoReturn:
        raise UnsupportedMethod(f"node {self.node.name} ({type(self.node.op).__name__}) {why}; "
                                "it has no place in a certificate")

    def weight(self, place: int, shape: Shape | None = None) -> str | None:
        """The name of a parameter of floats, stored as it is, or in the shape given; None where the node has no such
        parameter."""
        if place >= len(self.node.parameters):
            return None
        name = self.node.parameters[place]
        tensor = self.net.parameters[name]
        if tensor.dtype not in (torch.float32, torch.float64):
            self.refuse(f"has the parameter {name} of type {tensor.dtype}, neither float32 nor float64")
        array = tensor.detach().cpu().contiguous().numpy()
        array = array if shape is None else array.reshape(shape)
        return self.store.put(name, array.astype(KINDS[array.dtype]))

    def positions(self, place: int) -> np.ndarray:
        """A parameter that holds indices, as an array."""
        return self.net.parameters[self.node.parameters[place]].cpu().numpy()

    def index(self, role: str, array: np.ndarray) -> str:
        """Stores an array of indices in the certificate; its name."""
        if prod(array.shape) >= 1 << 31 or any(prod(shape) >= 1 << 31 for shape in self.given):
            self.refuse("has more entries than fit an int32 index")
        return self.store.put(f"{self.node.name}.{role}", np.ascontiguousarray(array, "<i4"))

    def gather(self, index: np.ndarray, divisor: np.ndarray | int = 1) -> Fields:
        """Fields of a gather; index (entries,) or (entries, size), divisor (entries,) or one for all."""
        index = index.reshape(prod(self.node.shape), -1)
        counts = np.broadcast_to(np.asarray(divisor), (len(index),))
        return {"op": "gather", "index": self.index("index", index), "divisor": self.index("divisor", counts)}


def _entries(site: _Site) -> list[Fields]:
    """The JSON entries of one node of the network in a certificate's header, its own last."""
    node = site.node
    if not all(prod(shape) for shape in (*site.given, node.shape)):
        site.refuse("has a shape without entries")
    for kind, write in _WRITERS.items():
        if isinstance(node.op, kind):
            own = {"name": node.name, "inputs": list(node.inputs), "shape": list(node.shape), **write(site, node.op)}
            factors = _factors(site, node.op) if isinstance(node.op, Product) else []
            return [*factors, {**own, "inputs": [entry["name"] for entry in factors] or own["inputs"]}]
    site.refuse("belongs to no family that the checker knows; ask for a verdict without a proof")


def _linear(site: _Site, op: Linear) -> Fields:
    return {"op": "linear", "weight": site.weight(0), "bias": site.weight(1)}


def _conv(site: _Site, op: Conv) -> Fields:
    return _convolution(site, op) | {"transposed": False}


def _conv_transpose(site: _Site, op: ConvTranspose) -> Fields:
    if any(e >= s for e, s in zip(op.output_padding, op.stride, strict=True)):
        site.refuse(f"has output padding {op.output_padding}, not less than its stride {op.stride}")
    return _convolution(site, op) | {"transposed": True}


def _convolution(site: _Site, op: Conv | ConvTranspose) -> Fields:
    return {
        "op": "conv", "weight": site.weight(0), "bias": site.weight(1), "stride": list(op.stride),
        "padding": list(op.padding), "dilation": list(op.dilation), "groups": op.groups,
    }


def _reshape(site: _Site, op: Reshape) -> Fields:
    return site.gather(np.arange(prod(op.shape)))


def _permute(site: _Site, op: Permute) -> Fields:
    return site.gather(_places(site.given[0]).transpose(op.order))


def _select(site: _Site, op: Select) -> Fields:
    return site.gather(site.positions(0))


def _concat(site: _Site, op: Concat) -> Fields:
    starts = np.cumsum([0, *map(prod, site.given)])
    parts = [start + _places(shape) for start, shape in zip(starts[:-1], site.given, strict=True)]
    return site.gather(np.concatenate(parts, op.axis))


def _sum(site: _Site, op: Sum) -> Fields:
    groups = axis_groups(site.given[0], op.axes, op.keepdim).numpy()
    return site.gather(groups, groups.shape[-1] if op.mean else 1)


def _avg_pool(site: _Site, op: AvgPool) -> Fields:
    """Windows as torch's avg_pool takes them: a divisor counts the padding or leaves it out, never what a window of
    ceil_mode has beyond it."""
    given, (channels, *lengths) = site.given[0], site.node.shape
    axes = len(lengths)
    members, divisor, places = np.ones((*lengths, *op.kernel), bool), np.ones(lengths, int), []
    for axis, (n, m, k, s, q) in enumerate(zip(given[1:], lengths, op.kernel, op.stride, op.padding, strict=True)):
        window = np.arange(m)[:, None] * s - q + np.arange(k)  # (outputs, kernel) along this axis
        inside = (window >= 0) & (window < n)
        counted = (window < n + q) if op.count_include_pad else inside
        others = [i for i in range(2 * axes) if i not in (axis, axes + axis)]
        members &= np.expand_dims(inside, others)
        places.append(np.expand_dims(window.clip(0, n - 1), others))
        divisor *= np.expand_dims(counted.sum(1), [i for i in range(axes) if i != axis])
    index = np.where(members, _places(given)[(slice(None), *places)], -1)
    return site.gather(index, np.tile(divisor.reshape(-1), channels))


def _add(site: _Site, op: Add) -> Fields:
    if any(shape != site.node.shape for shape in site.given):
        site.refuse("adds arguments of different shapes")
    return {"op": "add", "signs": list(op.signs)}


def _entrywise(kind: str, field: str) -> Callable[[_Site, Entrywise], Fields]:
    def write(site: _Site, op: Entrywise) -> Fields:
        return {"op": kind, field: site.weight(0, op.shape)}

    return write


def _norm(site: _Site, op: BatchNorm) -> Fields:
    if op.spatial != len(site.node.shape) - 1 or site.given[0] != site.node.shape:
        site.refuse("normalises along another axis than the first")
    roles = ("weight", "bias", "mean", "variance")
    return {"op": "norm", **{role: site.weight(i) for i, role in enumerate(roles)}, "eps": float(op.eps)}


def _piecewise(site: _Site, op: Piecewise) -> Fields:
    parts: dict[str, Sequence[Any]] = {"breakpoints": op.breakpoints, "slopes": op.slopes, "anchor": op.anchor}
    return {"op": "piecewise", **{field: [str(value) for value in values] for field, values in parts.items()}}


def _curve(site: _Site, op: Curve) -> Fields:
    """A function of the checker's list, by its class or, where it has settings, by these."""
    function, parameters = _FUNCTIONS.get(type(op)), ()
    if isinstance(op, Power):
        function, parameters = "power", (op.exponent,)
    elif isinstance(op, ELU):
        function, parameters = "elu", (op.alpha, op.scale, op.rate)
    elif isinstance(op, Swish):
        function, parameters = "swish", (op.beta,)
    elif isinstance(op, GELU):  # whose own rate stands for the root of 1/2
        function, parameters = ("gelu", ()) if op == GELU() else ("erf_gate", (op.rate,))
    elif isinstance(op, JumpingLines):
        function, parameters = "lines", (*op.places, *(number for line in op.lines for number in line), *op.values)
    if function is None:
        site.refuse("is no curve that the checker knows; ask for a verdict without a proof")
    return {"op": "curve", "function": function, "parameters": [str(value) for value in parameters]}


_FUNCTIONS: dict[type[Op], str] = {
    Exp: "exp", Log: "log", Sigmoid: "sigmoid", Tanh: "tanh", Softplus: "softplus", Erf: "erf", Sin: "sin", Cos: "cos",
    Atan: "atan", TanhGELU: "gelu_tanh", Mish: "mish", HardSwish: "hardswish", Softsign: "softsign", Floor: "floor",
    Ceil: "ceil", RoundToEven: "round",
}


def _product(site: _Site, op: Product) -> Fields:
    if not isinstance(op, Multiply | MatMul):
        site.refuse("pairs its entries in a way that the checker does not know")
    return {"op": "product", "pairing": "entrywise" if isinstance(op, Multiply) else "matrix"}


def _factors(site: _Site, op: Product) -> list[Fields]:
    """The two arguments of a product, which the IR holds side by side in one vector."""
    names, start, found = {node.name for node in site.net.graph.nodes}, 0, []
    for side, shape in (("first", op.left), ("second", op.right)):
        name = f"{site.node.name}.{side}"
        while name in names:
            name += "_"
        index = np.arange(start, start + prod(shape))[:, None]
        fields = {"op": "gather", "index": site.index(side, index), "divisor": site.index("once", np.ones(len(index)))}
        found.append({"name": name, "inputs": list(site.node.inputs), "shape": list(shape), **fields})
        start += prod(shape)
    return found


def _max(site: _Site, op: Max) -> Fields:
    groups = site.positions(0)
    return {"op": "max", "groups": site.index("groups", groups.reshape(-1, groups.shape[-1]))}


def _places(shape: Shape) -> np.ndarray:
    """The place of each entry in the flattened argument."""
    return np.arange(prod(shape)).reshape(shape)


_WRITERS: dict[type[Op], Callable[[_Site, Any], Fields]] = {
    Linear: _linear, Conv: _conv, ConvTranspose: _conv_transpose, Reshape: _reshape, Permute: _permute, Select: _select,
    Concat: _concat, Sum: _sum, AvgPool: _avg_pool, Add: _add, Scale: _entrywise("scale", "factor"),
    Divide: _entrywise("divide", "divisor"), Shift: _entrywise("shift", "offset"), BatchNorm: _norm,
    Piecewise: _piecewise, Max: _max, Curve: _curve, Product: _product,
}
