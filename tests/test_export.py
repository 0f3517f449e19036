"""The exported network in the checker's arithmetics against the IR, and the laws of the checker's affine ops."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod

import numpy as np
import pytest
import torch
from verify.models import bundled

from tests.support import small_nets
from tests.support.checked import FLOATS, RATIONALS, checked, evaluated
from tests.support.laws import EXAMPLES, rational_input
from tests.support.nets import nets
from verify.check.network import Network as Checked
from verify.check.ops import Affine
from verify.errors import UnsupportedMethod
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Graph, Network, Node
from verify.ir.load import load
from verify.ir.rewrite import simplify
from verify.ops import Affine as AffineOp
from verify.ops import (
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Curvature,
    Curve,
    Example,
    Linear,
    Parameters,
    Product,
    ReLU,
    Select,
)
from verify.proof.export import exported

NETS = cache(nets)
REFUSED = {"ConvTranspose-2"}  # its output padding is not less than its stride
EXACT = {n: e for n, e in EXAMPLES.items() if e.op.is_exact and n not in REFUSED}
SMOOTH = {n for n, e in EXAMPLES.items() if type(e.op).__module__.startswith("verify.ops.smooth.")}
CURVES = {n: e for n, e in EXAMPLES.items() if n in SMOOTH}
PRODUCTS = {n: e for n, e in EXAMPLES.items() if isinstance(e.op, Product)}
every_example = pytest.mark.parametrize("example", EXACT.values(), ids=EXACT.keys())
affine = {n: e for n, e in EXACT.items() if isinstance(e.op, AffineOp)}
every_affine = pytest.mark.parametrize("example", affine.values(), ids=affine.keys())


@dataclass(frozen=True)
class Unknown(Curve):
    """A curve that the checker has never heard of."""

    @property
    def curvature(self) -> tuple[Curvature, ...]:
        return (Curvature.CONVEX,)

    def forward(self, p: Parameters, *xs: torch.Tensor) -> torch.Tensor:
        return torch.cosh(xs[0])

    def derivative(self, piece: int, x: torch.Tensor) -> torch.Tensor:
        return torch.sinh(x)


def single(example: Example) -> Network:
    """The op alone; further arguments are copies of entries of the one input."""
    b = GraphBuilder("x", (sum(map(prod, example.shapes)),))
    starts = np.cumsum([0, *map(prod, example.shapes)])
    arguments = []
    for start, shape in zip(starts, example.shapes, strict=False):
        index = torch.arange(prod(shape)).reshape(shape) + int(start)
        arguments.append(b.add("part", Select(), ("x",), (b.parameter("i", index),)))
    names = tuple(b.parameter(f"p{i}", t) for i, t in enumerate(example.parameters))
    return b.finish(b.add("op", example.op, tuple(arguments), names))


def agree(network: Network, samples: int = 3, positive: bool = False) -> None:
    """In float64 the checker's network is the IR's; at positive inputs if it is of those alone."""
    x = np.random.default_rng(1).normal(0, 1, (samples, prod(network.input_shape)))
    x = np.abs(x) + 0.01 if positive else x
    ir = (network.unmerged or network).double()
    expected = ir(torch.from_numpy(x).reshape(samples, *network.input_shape)).flatten(1).numpy()
    found = evaluated(checked(network), FLOATS, x)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * (1 + np.abs(expected).max()))


def agree_exactly(network: Network) -> None:
    """In rationals the checker's network is the enclosure of the IR, a point but for batch norm's root."""
    x = rational_input(network.input_shape, 3)
    low, high = {network.graph.input: x}, {network.graph.input: x}
    for node, p in network.walk():
        found = [node.op.enclose(p, *(side[name] for name in node.inputs)) for side in (low, high)]
        low[node.name], high[node.name] = found[0][0], found[1][1]
    y = evaluated(checked(network, RATIONALS), RATIONALS, x.reshape(1, -1)).reshape(network.output_shape)
    assert (low[network.graph.output] <= y).all()
    assert (y <= high[network.graph.output]).all()
    if not any(isinstance(node.op, BatchNorm) for node in network.graph.nodes):
        assert (low[network.graph.output] == high[network.graph.output]).all()


@every_example
def test_every_op_means_the_same_to_the_checker(example: Example):
    agree(single(example))
    agree_exactly(single(example))
    header = exported(single(example))[0]
    assert json.loads(json.dumps(header)) == header


@pytest.mark.parametrize("example", CURVES.values(), ids=CURVES.keys())
def test_every_curve_is_the_same_function_to_the_checker(example: Example):
    assert exported(single(example))[0]["nodes"][-1]["op"] == "curve"
    agree(single(example), positive=True)


@pytest.mark.parametrize("example", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_every_product_is_the_same_to_the_checker(example: Example):
    assert [node["op"] for node in exported(single(example))[0]["nodes"]] == ["gather"] * 3 + ["product"]
    agree(single(example))
    agree_exactly(single(example))


@pytest.mark.parametrize("name", sorted(small_nets.NETWORKS))
def test_small_networks_are_the_same_in_floats_and_in_rationals(name: str):
    for seed in range(3):
        agree(small_nets.NETWORKS[name](seed))
        agree_exactly(small_nets.NETWORKS[name](seed))


@pytest.mark.parametrize("name", sorted(set(NETS()) - {"smooth"}))
def test_networks_of_every_family_are_the_same(name: str):
    agree(NETS()[name])
    agree(simplify(NETS()[name]))


@pytest.mark.parametrize("name", bundled())
def test_bundled_networks_are_the_same(name: str):
    agree(load(name))


def operators(network: Checked) -> list[Affine]:
    return [node.op for node in network.nodes if isinstance(node.op, Affine)]


def matrix(op: Affine, k: int, entries: int) -> np.ndarray:
    """A_k (outputs, entries) in rationals, by `linear` of unit vectors."""
    return op.linear(k, RATIONALS.of(np.eye(entries))).T


@every_affine
def test_adjoints_are_transposes_and_sizes_are_absolute_values(example: Example):
    network = checked(single(example), RATIONALS)
    node = network.nodes[-1]
    op = node.op
    assert isinstance(op, Affine)
    for k, name in enumerate(node.inputs):
        entries = network.entries(name)
        a = matrix(op, k, entries)
        x, y = (rational_input((2, n), seed) for n, seed in ((entries, 5), (node.entries, 6)))
        assert ((op.linear(k, x) * y).sum(1) == (x * op.adjoint(k, y)).sum(1)).all()
        assert (op.adjoint(k, RATIONALS.of(np.eye(node.entries))) == a).all()
        assert (op.absolute(k, x) == x @ np.abs(a).T).all()
        assert np.abs(a).max() <= op.largest
        assert max((a != 0).sum(0).max(), (a != 0).sum(1).max()) <= op.terms
    assert op.bias is None or (np.abs(op.bias) <= op.bias_size).all()


@every_affine
def test_floats_are_near_rationals(example: Example):
    exact, rounded = (checked(single(example), number) for number in (RATIONALS, FLOATS))
    for op, near in zip(operators(exact), operators(rounded), strict=True):
        assert (op.terms, op.steps, op.is_move) == (near.terms, near.steps, near.is_move)
    x = rational_input((2, sum(map(prod, example.shapes))), 7)
    wanted = evaluated(exact, RATIONALS, x).astype(np.float64)
    np.testing.assert_allclose(evaluated(rounded, FLOATS, x.astype(np.float64)), wanted, rtol=1e-13, atol=1e-13)


def test_what_the_checker_does_not_know_is_refused():
    for name in REFUSED:
        with pytest.raises(UnsupportedMethod, match=r"node op \(ConvTranspose\) has output padding"):
            exported(single(EXAMPLES[name]))
    with pytest.raises(UnsupportedMethod, match=r"node op .* is no curve that the checker knows"):
        exported(single(Example(Unknown(), (), ((3,),))))
    empty = Graph("x", (3,), (), "x").freeze({})
    with pytest.raises(UnsupportedMethod, match="returns its input x"):
        exported(empty)


def test_nodes_after_the_output_are_left_out():
    nodes = [Node(name, ReLU(), (source,), (), (3,)) for name, source in (("a", "x"), ("b", "a"), ("c", "a"))]
    header, arrays = exported(Graph("x", (3,), tuple(nodes), "b").freeze({}))
    assert [node["name"] for node in header["nodes"]] == ["a", "b"]
    assert arrays == {}


def test_shared_weights_are_stored_once_and_as_they_are():
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    nodes = [Node(name, Linear(), (source,), ("w",), (3,)) for name, source in (("a", "x"), ("b", "a"))]
    header, arrays = exported(Graph("x", (3,), tuple(nodes), "b").freeze({"w": weight}))
    assert [node["weight"] for node in header["nodes"]] == ["w", "w"]
    assert arrays["w"].dtype == np.dtype("<f4")
    assert arrays["w"].tobytes() == weight.numpy().tobytes()
    assert list(arrays) == ["w"]


def test_an_array_does_not_take_the_name_of_another():
    b = GraphBuilder("x", (4,))
    b.parameter("op.index", torch.ones(4, 4))
    at = b.add("fc", Linear(), ("x",), ("op.index",))
    network = b.finish(b.add("op", Select(), (at,), (b.parameter("i", torch.tensor([1, -1, 3])),)))
    _, arrays = exported(network)
    assert arrays["op.index"].dtype == np.float32
    assert arrays["op.index_2"].tolist() == [[1], [-1], [3]]
    agree(network)


def test_strides_that_leave_a_rest_reach_the_checker():
    """The last rows of a map may be met by no window; a transposed convolution may be longer than its reach."""
    rng = torch.Generator().manual_seed(2)
    for op, weight, shape in (
        (Conv((3, 2), (0, 1), (1, 2), 1), (2, 1, 2, 2), (1, 7, 6)),
        (ConvTranspose((3, 2), (0, 1), (2, 1), (1, 1), 1), (1, 2, 2, 3), (1, 3, 2)),
    ):
        agree(single(Example(op, (torch.randn(weight, generator=rng),), (shape,))))


@pytest.mark.parametrize("included", [True, False])
@pytest.mark.parametrize("ceil", [True, False])
def test_average_pools_of_every_kind(ceil: bool, included: bool):
    for kernel, stride, padding, shape in (((3, 2), (2, 3), (1, 1), (2, 6, 5)), ((2, 3), (3, 2), (1, 0), (1, 4, 6))):
        network = single(Example(AvgPool(kernel, stride, padding, ceil, included), (), (shape,)))
        agree(network)
        agree_exactly(network)


def test_weights_of_another_type_are_refused():
    b = GraphBuilder("x", (4,), torch.float16)
    network = b.finish(b.add("fc", Linear(), ("x",), (b.parameter("w", torch.ones(4, 4, dtype=torch.float16)),)))
    with pytest.raises(UnsupportedMethod, match=r"node fc \(Linear\) has the parameter w of type torch.float16"):
        exported(network)


def test_slopes_are_written_as_fractions():
    header, _ = exported(small_nets.NETWORKS["leaky"](0))
    pieces = [node for node in header["nodes"] if node["op"] == "piecewise"]
    assert all(node["slopes"] == ["1/8", "1"] and node["breakpoints"] == ["0"] for node in pieces)
    assert Fraction(pieces[0]["anchor"][0]) == 0
