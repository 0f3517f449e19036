"""Rewrites keep the function; the network as it was read stays at hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from verify.errors import InputError
from verify.ir.builder import GraphBuilder
from verify.ir.graph import Network
from verify.ir.rewrite import simplify
from verify.ir.torch_export import trace, trace_graph
from verify.ops import (
    Add,
    BatchNorm,
    Conv,
    ConvTranspose,
    Divide,
    Entrywise,
    Linear,
    Op,
    Permute,
    ReLU,
    Reshape,
    Scale,
    Shift,
)


def _kinds(network: Network) -> list[type[Op]]:
    return [type(node.op) for node in network.graph.nodes]


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _same_function(network: Network, seed: int = 1) -> Network:
    """The simplified network, after a comparison on random inputs."""
    simple = simplify(network)
    x = _random(9, *network.input_shape, seed=seed).to(network.dtype)
    expected = network(x)
    assert (simple(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert simple.unmerged is network
    assert simple.output_shape == network.output_shape
    return simple


def _norm(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    for seed, (name, tensor) in enumerate(norm.state_dict().items()):
        if tensor.is_floating_point():
            value = _random(*tensor.shape, seed=seed)
            tensor.copy_(value.abs() + 0.2 if name == "running_var" else value)
    return norm


def test_batch_norm_goes_into_convolutions_and_linear_layers() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), _norm(nn.BatchNorm2d(4)), nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 2, groups=2, bias=False), _norm(nn.BatchNorm2d(6)), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 9, 5), _norm(nn.BatchNorm1d(5)),
    )
    simple = _same_function(trace(module, torch.rand(1, 2, 4, 4)))
    assert _kinds(simple) == [Conv, ReLU, ConvTranspose, ReLU, Reshape, Linear]


def test_a_chain_of_constants_goes_into_one_layer() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 2, bias=False)
            self.norm = _norm(nn.BatchNorm2d(3))
            self.register_buffer("gain", torch.tensor([[[2.0]], [[-1.0]], [[0.5]]]))

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x) * self.gain + 1) / 4

    torch.manual_seed(1)
    assert _kinds(_same_function(trace(Chain(), torch.rand(1, 1, 4, 4)))) == [Conv]


def test_what_varies_otherwise_than_by_channel_stays() -> None:
    builder = GraphBuilder("x", (2, 3))
    weight = builder.parameter("weight", _random(3, 3))
    layer = builder.add("layer", Linear(), ("x",), (weight,))
    rows = builder.add("rows", Scale((2, 1)), (layer,), (builder.parameter("by_row", _random(2, 1)),))
    layer = builder.add("again", Linear(), (rows,), (weight,))
    statistics = tuple(builder.parameter(f"n{i}", _random(2, seed=i).abs()) for i in range(4))
    normed = builder.add("norm", BatchNorm(1e-5, 1), (layer,), statistics)  # over rows, not over the layer's outputs
    assert _kinds(_same_function(builder.finish(normed))) == [Linear, Scale, Linear, BatchNorm]


@pytest.mark.parametrize("kind", [Scale, Divide, Shift])
def test_a_layer_that_others_read_stays(kind: type[Entrywise]) -> None:
    builder = GraphBuilder("x", (3,))
    layer = builder.add("layer", Linear(), ("x",), (builder.parameter("weight", _random(3, 3)),))
    moved = builder.add("moved", kind((3,)), (layer,), (builder.parameter("constant", _random(3)),))
    joined = builder.add("joined", Add((1, 1)), (moved, layer))
    network = builder.finish(joined)
    assert _kinds(_same_function(network)) == [Linear, kind, Add]
    assert _kinds(_same_function(builder.finish(moved))) == [Linear]


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (1, 1, 1)])
def test_equal_arguments_become_a_scale(signs: tuple[int, ...]) -> None:
    builder = GraphBuilder("x", (3,), torch.float64)
    total = builder.add("total", Add(signs), ("x",) * len(signs))
    simple = simplify(builder.finish(total))
    assert _kinds(simple) == [Scale]
    x = _random(4, 3).double()
    assert torch.equal(simple(x), sum(signs) * x)


def test_reshapes_merge_and_identities_vanish() -> None:
    builder = GraphBuilder("x", (2, 6))
    name = "x"
    for shape in ((3, 4), (12,), (2, 6)):
        name = builder.add("reshape", Reshape(shape), (name,))
    name = builder.add("permute", Permute((0, 1)), (name,))
    name = builder.add("relu", ReLU(), (name,))
    name = builder.add("flat", Reshape((12,)), (name,))
    name = builder.add("rows", Reshape((4, 3)), (name,))
    assert _kinds(_same_function(builder.finish(name))) == [ReLU, Reshape]


def test_a_reshape_that_others_read_stays() -> None:
    builder = GraphBuilder("x", (2, 3))
    flat = builder.add("flat", Reshape((6,)), ("x",))
    rows = builder.add("rows", Reshape((3, 2)), (flat,))
    back = builder.add("back", Reshape((6,)), (builder.add("relu", ReLU(), (rows,)),))
    assert _kinds(_same_function(builder.finish(builder.add("sum", Add((1, -1)), (flat, back))))) == [
        Reshape, Reshape, ReLU, Reshape, Add,
    ]


def test_an_output_that_is_an_identity_keeps_its_value() -> None:
    builder = GraphBuilder("x", (3,))
    relu = builder.add("relu", ReLU(), ("x",))
    network = builder.finish(builder.add("same", Reshape((3,)), (relu,)))
    assert _kinds(_same_function(network)) == [ReLU]


def test_weights_are_computed_in_double_and_stored_in_the_network_type() -> None:
    """Folding in float32 would round twice; the folded weight is the rounding of the exact product."""
    builder = GraphBuilder("x", (50,))
    weight, factor = _random(40, 50), _random(40, seed=2)
    layer = builder.add("layer", Linear(), ("x",), (builder.parameter("weight", weight),))
    scaled = builder.add("scaled", Scale((40,)), (layer,), (builder.parameter("factor", factor),))
    offset = builder.add("norm", BatchNorm(1e-3, 0), (scaled,), tuple(
        builder.parameter(f"n{i}", _random(40, seed=3 + i).abs()) for i in range(4)
    ))
    simple = _same_function(builder.finish(offset))
    assert {t.dtype for t in simple.parameters.values()} == {torch.float32}


def test_simplifying_twice_keeps_the_first_original() -> None:
    network = trace(nn.Sequential(nn.Conv1d(1, 2, 2), _norm(nn.BatchNorm1d(2))), torch.rand(1, 1, 5))
    assert simplify(simplify(network)).unmerged is network


def test_a_folding_that_would_overflow_is_left_out() -> None:
    builder = GraphBuilder("x", (2,))
    layer = builder.add("layer", Linear(), ("x",), (builder.parameter("weight", torch.full((2, 2), 1e30)),))
    scaled = builder.add("scaled", Scale((2,)), (layer,), (builder.parameter("factor", torch.full((2,), 1e30)),))
    assert _kinds(simplify(builder.finish(scaled))) == [Linear, Scale]


def test_a_bound_graph_is_not_rewritten() -> None:
    module = nn.Linear(3, 2)
    graph, constants = trace_graph(module, torch.rand(1, 3))
    bound: Any = graph.bind(constants | dict(module.named_parameters()))
    with pytest.raises(InputError, match="only a frozen network can be rewritten"):
        simplify(bound)


def test_a_residual_network_keeps_its_function() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
            self.norms = nn.ModuleList([_norm(nn.BatchNorm2d(3)), _norm(nn.BatchNorm2d(3))])

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(self.norms[0](self.first(x)))
            y = self.norms[1](self.second(y)) + x
            return F.relu(y + y).flatten(1)

    torch.manual_seed(3)
    simple = _same_function(trace(Block(), torch.rand(1, 3, 4, 4)))
    assert _kinds(simple) == [Conv, ReLU, Conv, Add, Scale, ReLU, Reshape]
