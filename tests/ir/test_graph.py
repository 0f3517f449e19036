"""The graph: what it refuses, what a network keeps, and the batch axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from verify.errors import InputError
from verify.ir.graph import Graph, Network, Node
from verify.ops import Add, Conv, LeakyReLU, Linear, Max, ReLU, Reshape, pool_groups


def residual_graph() -> Graph:
    """Convolution, ReLU, a residual sum, max pooling and a linear layer, on (1, 4, 4)."""
    conv = Conv((1, 1), (1, 1), (1, 1), 1)
    return Graph("x", (1, 4, 4), (
        Node("conv", conv, ("x",), ("conv.weight", "conv.bias"), (2, 4, 4)),
        Node("relu", ReLU(), ("conv",), (), (2, 4, 4)),
        Node("sum", Add((1, 1)), ("conv", "relu"), (), (2, 4, 4)),
        Node("pool", Max(), ("sum",), ("groups",), (2, 2, 2)),
        Node("flat", Reshape((8,)), ("pool",), (), (8,)),
        Node("out", Linear(), ("flat",), ("out.weight", "out.bias"), (3,)),
    ), "out")


def weights(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv.weight": (2, 1, 3, 3), "conv.bias": (2,), "out.weight": (3, 8), "out.bias": (3,)}
    found = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {**found, "groups": pool_groups((2, 4, 4), (2, 2), (2, 2), (0, 0))}


def by_hand(w: dict[str, Tensor], x: Tensor) -> Tensor:
    functional = torch.nn.functional
    z = functional.conv2d(x, w["conv.weight"], w["conv.bias"], padding=1)
    pooled = functional.max_pool2d(z + z.relu(), 2)
    return functional.linear(pooled.flatten(1), w["out.weight"], w["out.bias"])


def relu(name: str, source: str) -> Node:
    return Node(name, ReLU(), (source,), (), (2,))


@pytest.mark.parametrize(("nodes", "output", "message"), [
    ((relu("a", "x"), relu("a", "x")), "a", "two values named a"),
    ((relu("x", "x"),), "x", "two values named x"),
    ((relu("a", "b"), relu("b", "x")), "b", "node a reads b, which no earlier node makes"),
    ((relu("a", "a"),), "a", "node a reads a"),
    ((relu("a", "x"),), "b", "output b is made by no node"),
])
def test_a_graph_is_checked(nodes: tuple[Node, ...], output: str, message: str):
    with pytest.raises(InputError, match=message):
        Graph("x", (2,), nodes, output)


def test_a_network_computes_what_torch_computes():
    network = residual_graph().freeze(weights())
    x = torch.randn((7, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    assert network.outputs == 3
    torch.testing.assert_close(network(x), by_hand(weights(), x))


def test_a_batch_of_7_equals_7_of_1():
    network = residual_graph().freeze(weights())
    x = torch.randn((7, 1, 4, 4), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(network(x), torch.cat([network(x[i : i + 1]) for i in range(7)]))


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 1, 4, 5), (2, 16), (3,), ()])
def test_a_network_refuses_samples_of_another_shape(shape: tuple[int, ...]):
    network = residual_graph().freeze(weights())
    with pytest.raises(InputError, match=r"takes samples of shape \(1, 4, 4\)"):
        network(torch.zeros(shape))


def test_freeze_copies():
    values = weights()
    network = residual_graph().freeze({**values, "unused": torch.tensor(torch.nan)})
    x = torch.ones((1, 1, 4, 4))
    before, digest = network(x), network.digest
    for tensor in values.values():
        tensor.zero_()
    assert torch.equal(network(x), before)
    assert residual_graph().freeze(weights()).digest == digest
    assert "unused" not in network.parameters
    assert not any(t.requires_grad for t in network.parameters.values())


@pytest.mark.parametrize("build", [Graph.freeze, Graph.bind])
def test_a_missing_parameter_is_refused(build: Callable):
    values = weights()
    del values["out.bias"]
    with pytest.raises(InputError, match=r"needs parameter out\.bias"):
        build(residual_graph(), values)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_parameter_that_is_not_finite_is_refused(bad: float):
    values = weights()
    values["out.weight"][1, 2] = bad
    with pytest.raises(InputError, match=r"parameter out\.weight has a value that is not finite"):
        residual_graph().freeze(values)


def _one_bit(w: dict[str, Tensor]) -> None:
    at = w["conv.weight"][0, 0, 0]
    at[0] = torch.nextafter(at[0], torch.tensor(torch.inf))


def _negative_zero(w: dict[str, Tensor]) -> None:
    w["out.bias"][0] = -w["out.bias"][0]


def _other_group(w: dict[str, Tensor]) -> None:
    w["groups"][0, 0, 0, 0] = 1


@pytest.mark.parametrize("change", [_one_bit, _negative_zero, _other_group])
def test_the_digest_sees_every_bit_of_the_weights(change: Callable[[dict[str, Tensor]], None]):
    values, changed = weights(), weights()
    values["out.bias"][0] = changed["out.bias"][0] = 0
    change(changed)
    assert residual_graph().freeze(values).digest != residual_graph().freeze(changed).digest


def test_the_digest_sees_the_structure():
    graph, values = residual_graph(), weights()
    nodes = list(graph.nodes)
    others = [
        replace(graph, nodes=(nodes[0], replace(nodes[1], op=LeakyReLU(ReLU().slopes[1] / 2)), *nodes[2:])),
        replace(graph, nodes=(*nodes[:2], replace(nodes[2], op=Add((1, -1))), *nodes[3:])),
        replace(graph, nodes=(*nodes[:2], replace(nodes[2], inputs=("relu", "relu")), *nodes[3:])),
        replace(graph, input="y", nodes=(replace(nodes[0], inputs=("y",)), *nodes[1:])),
        replace(graph, output="flat"),
    ]
    digests = {g.freeze(values).digest for g in (graph, *others)}
    assert len(digests) == 1 + len(others)


def test_bind_is_differentiable_in_the_weights():
    values = {k: t.double().requires_grad_() if t.is_floating_point() else t for k, t in weights().items()}
    live = residual_graph().bind(values)
    assert live.parameters["conv.weight"] is values["conv.weight"]
    x = torch.randn((2, 1, 4, 4), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    names = [name for name, t in values.items() if t.is_floating_point()]

    def outputs(*tensors: Tensor) -> Tensor:
        return residual_graph().bind({**values, **dict(zip(names, tensors, strict=True))})(x)

    assert torch.autograd.gradcheck(outputs, tuple(values[name] for name in names))
    before = live(x).detach()
    with torch.no_grad():
        values["out.bias"] += 1
    torch.testing.assert_close(live(x), before + 1)


def test_double_and_dtype():
    network = residual_graph().freeze(weights())
    wide = network.double()
    assert (network.dtype, wide.dtype) == (torch.float32, torch.float64)
    x = torch.rand((2, 1, 4, 4), generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(wide(x.double()).float(), network(x))
    assert isinstance(wide, Network)
    assert wide.parameters["groups"].dtype == torch.long
