"""Gradients node by node are those of automatic differentiation of the whole network."""

from __future__ import annotations

import pytest
import torch

import verify
from tests.ir.test_graph import residual_graph, weights
from tests.support.random_graphs import random_network
from verify.ir.gradient import with_gradient
from verify.ir.graph import Network


def agrees(network: Network, x: torch.Tensor) -> None:
    at = x.clone().requires_grad_()
    y = network(at)
    a = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    expected = torch.autograd.grad(y, at, a, allow_unused=True)[0] if y.requires_grad else None
    found, pull = with_gradient(network, x)
    assert torch.equal(found, y.detach())
    assert not found.requires_grad
    gradient = pull(a)
    zeros = torch.zeros_like(x)  # of a network that is constant, one may be missing and the other all zeros
    torch.testing.assert_close(*(zeros if one is None else one for one in (gradient, expected)), equal_nan=True)


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int) -> None:
    network = random_network(seed)
    shape = (3, *network.input_shape)
    agrees(network, torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=network.dtype))


def test_sums_of_branches_and_layers_without_a_closed_form() -> None:
    agrees(residual_graph().freeze(weights()), torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(2)))


def test_a_model_that_is_only_executed() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(3))
    network = verify.opaque(module, x)
    y, pull = with_gradient(network, x)
    at = x.clone().requires_grad_()
    out = module(at)
    torch.testing.assert_close(y, out.detach())
    torch.testing.assert_close(pull(torch.ones_like(y)), torch.autograd.grad(out.sum(), at)[0])
    assert with_gradient(verify.opaque(lambda x: torch.from_numpy(x.numpy() * 2), x), x)[1](torch.ones(5, 3)) is None
