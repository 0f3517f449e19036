"""Live networks: the module's own tensors, with the statistics that torch would take in training mode."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from tests.support.training import check_gradients, images, made, noise
from verify.errors import UnsupportedOp
from verify.train.initialize import ibp_initialise
from verify.train.live import BatchNetwork, Live, detached

NORMED = ["normed", "residual", "sequence", "volume"]


class Sequence(nn.Module):
    """BatchNorm1d over (batch, channels, length), without a learnt scale, and with an eps of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(6, 4, 2), nn.BatchNorm1d(4, eps=0.1, affine=False)
        self.last = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x.squeeze(1)))).flatten(1))


def fresh(name: str, seed: int = 0) -> nn.Module:
    """A module of its own, for tests that change it."""
    if name == "sequence":
        torch.manual_seed(seed)
        return Sequence().double()
    if name == "volume":
        torch.manual_seed(seed)
        inside = nn.Sequential(nn.Conv3d(1, 2, 2, 2), nn.BatchNorm3d(2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 4))
        return nn.Sequential(nn.Unflatten(2, (2, 3)), inside).double()
    return made(name, seed)


@pytest.mark.parametrize("name", NORMED)
def test_a_batch_network_is_the_module_in_training_mode(name: str) -> None:
    """On its own batch, and on others with those statistics; the running averages afterwards are torch's."""
    module, (x, _) = fresh(name), images(6, 4)
    twin, live = copy.deepcopy(module).train(), Live(module, x)
    before = {key: b.clone() for key, b in module.named_buffers()}
    for k in range(3):
        batch = images(6 - k, 4, seed=k)[0]
        network = live.on_batch(batch)
        assert isinstance(network, BatchNetwork)
        assert_close(network(batch), twin(batch))
        assert_close(network(batch.clone()), twin_with(twin, batch, batch))
        live.note(network)
    for (key, b), expected in zip(module.named_buffers(), twin.buffers(), strict=True):
        if b.is_floating_point():
            assert_close(b, expected)
            assert not torch.equal(b, before[key])
    assert_close(live.network()(x), twin.eval()(x))
    other = images(3, 4, seed=9)[0]
    assert_close(live.on_batch(x)(other), twin_with(twin, x, other))


def twin_with(module: nn.Module, batch: Tensor, x: Tensor) -> Tensor:
    """The module at x with the statistics of the batch: in eval mode, after a pass with momentum 1."""
    module = copy.deepcopy(module).train()
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    inputs: list[Tensor] = []
    for norm in norms:
        norm.momentum = 1.0
        norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    module(batch)
    for norm, seen in zip(norms, inputs, strict=True):  # torch keeps the unbiased variance, and normalises with this
        assert norm.running_var is not None
        norm.running_var.copy_(seen.transpose(0, 1).flatten(1).var(1, correction=0))
    return module.eval()(x)


@pytest.mark.parametrize("name", NORMED)
def test_gradients_flow_through_the_statistics(name: str) -> None:
    module, (x, _) = fresh(name), images(5, 4)
    live, other = Live(module, x), images(4, 4, seed=2)[0]
    weight = torch.randn((9, 4), generator=noise(3), dtype=torch.float64)

    def value() -> Tensor:
        network = live.on_batch(x)
        return (weight * torch.cat([network(x), network(other)])).sum()

    check_gradients(value, {**live.weights})
    twin = copy.deepcopy(module).train()
    own = torch.autograd.grad((weight[:5] * live.on_batch(x)(x)).sum(), list(live.weights.values()))
    expected = torch.autograd.grad((weight[:5] * twin(x)).sum(), list(twin.parameters()))
    assert_close(own, expected, rtol=1e-7, atol=1e-9)


def test_the_outputs_of_the_batch_are_kept_for_that_very_tensor() -> None:
    module, (x, _) = fresh("normed"), images(5, 4)
    live = Live(module, x)
    network = live.on_batch(x)
    assert network(x) is network(x)
    assert network(x.clone()) is not network(x)
    still = detached(network)
    assert still(x) is still(x)
    assert not still(x).requires_grad
    assert not still(x.clone()).requires_grad
    assert network(x).requires_grad
    assert all(p.data_ptr() == q.data_ptr() for p, q in zip(module.parameters(), live.weights.values(), strict=True))


def test_the_network_follows_the_module() -> None:
    module, (x, _) = fresh("residual"), images(5, 4)
    live = Live(module, x)
    for p in module.parameters():
        p.data.mul_(0.7)
    assert_close(live.network()(x), module.eval()(x))
    assert not torch.equal(live.on_batch(x)(x), live.network()(x))
    module.requires_grad_(False)
    assert live.weights == {}


def test_without_batch_norm_there_are_no_statistics() -> None:
    module, (x, _) = fresh("pooled"), images(5, 4)
    live = Live(module, x)
    network, before = live.on_batch(x), copy.deepcopy(module.state_dict())
    assert_close(network(x), module(x))
    live.note(network)
    live.estimate([x])
    assert_close(module.state_dict(), before, rtol=0, atol=0)
    assert not detached(network)(x).requires_grad


@pytest.mark.parametrize("name", NORMED)
def test_estimated_averages_are_means_over_batches(name: str) -> None:
    module = fresh(name)
    batches = [images(4, 4, seed=k)[0] for k in range(3)]
    live, twin = Live(module, batches[0]), copy.deepcopy(module).train()
    for part in twin.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.reset_running_stats()
            part.momentum = None  # torch's cumulative average
    for batch in batches:
        twin(batch)
    live.estimate(batches)
    for (key, b), expected in zip(module.named_buffers(), twin.buffers(), strict=True):
        if b.is_floating_point():
            assert_close(b, expected, msg=lambda text, key=key: f"{key}: {text}")
    live.estimate([])
    assert_close(live.network()(batches[0]), twin.eval()(batches[0]))


def test_a_weight_that_is_used_through_a_copy_is_refused() -> None:
    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 36))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) @ (self.weight**2).T

    with pytest.raises(UnsupportedOp, match="would not follow training"):
        Live(Squared(), torch.zeros(1, 1, 6, 6))


def test_initial_weights_for_interval_bounds() -> None:
    """Of deviation sqrt(2 pi) / inputs; a layer of them keeps the mean width of boxes (Shi et al. 2021)."""
    conv, last = nn.Conv2d(8, 64, 3), nn.Linear(64, 3000)
    module = nn.Sequential(conv, nn.Flatten(), last).requires_grad_(False)
    assert conv.bias is not None
    bias = conv.bias.clone()
    ibp_initialise(module, 5)
    for layer, count in ((conv, 72), (last, 64)):
        assert float(layer.weight.std()) == pytest.approx((2 * torch.pi) ** 0.5 / count, rel=0.04)
        assert abs(float(layer.weight.mean())) < 0.02 * (2 * torch.pi) ** 0.5 / count + 1e-3
    assert torch.equal(conv.bias, bias)
    widths = last.weight.abs().sum(1)  # of boxes of width 1 pushed through
    assert float(widths.mean()) / 2 == pytest.approx(1.0, rel=0.02)  # half of the neurons are active
    again = copy.deepcopy(module)
    ibp_initialise(again, 5)
    assert_close(again.state_dict(), module.state_dict(), rtol=0, atol=0)


def test_a_normalisation_used_twice_is_refused() -> None:
    norm = nn.BatchNorm1d(4)
    with pytest.raises(UnsupportedOp, match="used twice"):
        Live(nn.Sequential(nn.Linear(4, 4), norm, nn.ReLU(), nn.Linear(4, 4), norm), torch.zeros(2, 4))
