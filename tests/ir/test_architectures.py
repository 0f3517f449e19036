"""The architectures: sizes counted by hand and published, seeds, traces, refusals, and normalization."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from verify.models import architectures
from verify.models.architectures import NAMES, Normalize, make, normalized

from verify import trace
from verify.errors import InputError
from verify.ir.torch_export import trace_graph
from verify.ops import BatchNorm, Scale, Shift

DIGITS, MNIST, CIFAR = (1, 8, 8), (1, 28, 28), (3, 32, 32)
ANY_SIZE = ("linear", "dense", "silu", "conv", "tutorial", "dm-large", "cnn7", "resnet-small")
ON_DIGITS = (*ANY_SIZE[:5], "transformer")
WITH_BATCH_NORM = [(name, {"batch_norm": True}) for name in ("tutorial", "dm-small", "dm-medium", "resnet-small")]
PARAMETERS = {  # for MNIST, layer by layer: weights and biases, and those of a batch norm
    "linear": 784 * 10 + 10,
    "dense": 784 * 50 + 50 + 50 * 50 + 50 + 50 * 10 + 10,
    "silu": 784 * 50 + 50 + 50 * 50 + 50 + 50 * 10 + 10,
    "transformer": 16 * 16 + 16 + 49 * 16 + 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 49 * 16 * 10 + 10,
    "conv": 9 * 8 + 8 + 9 * 8 * 16 + 16 + 14 * 14 * 16 * 50 + 50 + 50 * 10 + 10,
    "tutorial": (9 * 32 + 32 + 9 * 32 * 32 + 32 + 9 * 32 * 64 + 64 + 9 * 64 * 64 + 64
                 + 7 * 7 * 64 * 100 + 100 + 100 * 10 + 10),
    "dm-small": 16 * 16 + 16 + 16 * 16 * 32 + 32 + 10 * 10 * 32 * 100 + 100 + 100 * 10 + 10,
    "dm-medium": (9 * 32 + 32 + 16 * 32 * 32 + 32 + 9 * 32 * 64 + 64 + 16 * 64 * 64 + 64
                  + 4 * 4 * 64 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10),
    "dm-large": (9 * 64 + 64 + 9 * 64 * 64 + 64 + 9 * 64 * 128 + 128 + 2 * (9 * 128 * 128 + 128)
                 + 14 * 14 * 128 * 512 + 512 + 512 * 10 + 10),
    "cnn7": (9 * 64 + 64 + 9 * 64 * 64 + 64 + 9 * 64 * 128 + 128 + 2 * (9 * 128 * 128 + 128)
             + 14 * 14 * 128 * 512 + 512 + 512 * 10 + 10 + 2 * (64 + 64 + 3 * 128 + 512)),
    "resnet-small": (9 * 16 + 16 + 9 * 16 * 32 + 32 + 9 * 32 * 32 + 32 + 16 * 32 + 32
                     + 9 * 32 * 64 + 64 + 9 * 64 * 64 + 64 + 32 * 64 + 64 + 7 * 7 * 64 * 100 + 100 + 100 * 10 + 10),
}


def images(shape: tuple[int, ...], count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def hidden_shapes(module: nn.Module, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes of one sample behind every ReLU layer of a chain."""
    x, shapes = images(shape, 1), []
    for layer in module.eval().children():
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            shapes.append(tuple(x.shape[1:]))
    return shapes


def shaken(module: nn.Module) -> nn.Module:
    """The module in eval mode, with batch norms whose statistics and weights are not the initial ones."""
    generator = torch.Generator().manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                assert tensor is not None
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.3)
    return module.eval()


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_counted_by_hand(name: str) -> None:
    module = make(name, MNIST)
    assert count(module) == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,} parameters" in (architectures.BUILDERS[name].__doc__ or "")


@pytest.mark.parametrize(("name", "hidden", "parameters"), [
    ("dm-small", "8.3", "471"), ("dm-medium", "46.9", "1189"), ("dm-large", "229.9", "17191"),
])
def test_dm_networks_have_the_published_sizes(name: str, hidden: str, parameters: str) -> None:
    """Gowal et al. 2018, table 1 has, for CIFAR-10, 8.3K, 47K, 230K hidden units and 471K, 1.2M, 17M parameters."""
    module = make(name, CIFAR)
    units = sum(torch.Size(shape).numel() for shape in hidden_shapes(module, CIFAR))
    assert (f"{units / 1000:.1f}", f"{count(module) / 1000:.0f}") == (hidden, parameters)


@pytest.mark.parametrize(("name", "shapes"), [
    ("conv", [(8, 28, 28), (16, 14, 14), (50,)]),
    ("tutorial", [(32, 28, 28), (32, 14, 14), (64, 14, 14), (64, 7, 7), (100,)]),
    ("dm-small", [(16, 13, 13), (32, 10, 10), (100,)]),
    ("dm-medium", [(32, 26, 26), (32, 12, 12), (64, 10, 10), (64, 4, 4), (512,), (512,)]),
    ("dm-large", [(64, 28, 28), (64, 28, 28), (128, 14, 14), (128, 14, 14), (128, 14, 14), (512,)]),
    ("cnn7", [(64, 28, 28), (64, 28, 28), (128, 14, 14), (128, 14, 14), (128, 14, 14), (512,)]),
])
def test_layers_have_the_published_shapes(name: str, shapes: list[tuple[int, ...]]) -> None:
    assert hidden_shapes(make(name, MNIST), MNIST) == shapes


def test_the_digits_networks_are_these_layers_with_the_weights_that_torch_draws() -> None:
    def dense() -> nn.Sequential:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 10)
        )

    def conv() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 50), nn.ReLU(), nn.Linear(50, 10),
        )

    x = images(DIGITS, 5)
    for name, written in (("dense", dense), ("conv", conv)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            there = written()
        here = make(name, DIGITS, seed=4)
        assert list(here.state_dict()) == list(there.state_dict())
        assert all(torch.equal(t, there.state_dict()[key]) for key, t in here.state_dict().items())
        assert torch.equal(here(x), there(x))


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in NAMES), *WITH_BATCH_NORM])
def test_a_trace_is_the_module(name: str, options: dict[str, Any]) -> None:
    for shape in (*((DIGITS,) if name in ON_DIGITS else ()), MNIST, CIFAR):
        module = shaken(make(name, shape, outputs=7, seed=1, **options))
        x = images(shape, 3)
        graph, constants = trace_graph(module, x)
        state = dict(module.named_parameters()) | dict(module.named_buffers())
        assert not constants or name == "transformer"  # whose softmax and attention are composed
        with torch.no_grad():
            torch.testing.assert_close(graph.bind(constants | state)(x), module(x), atol=1e-5, rtol=1e-5)
        assert module(x).shape == (3, 7)


@pytest.mark.parametrize(("name", "options"), [("cnn7", {}), *WITH_BATCH_NORM])
def test_batch_norm_follows_every_hidden_layer_and_keeps_its_names(name: str, options: dict[str, Any]) -> None:
    module = make(name, MNIST, **options)
    kinds = {path: part for path, part in module.named_modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)}
    weighted = [part for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    assert len(kinds) == len(weighted) - 1
    graph, _ = trace_graph(module, images(MNIST, 1))
    traced = [node.parameters for node in graph.nodes if isinstance(node.op, BatchNorm)]
    own = [tuple(f"{path}.{key}" for key in ("weight", "bias", "running_mean", "running_var")) for path in kinds]
    assert sorted(traced) == sorted(own)
    assert set(graph.parameter_names) == {key for key in module.state_dict() if "num_batches" not in key}


@pytest.mark.parametrize("name", ANY_SIZE)
def test_a_small_image_is_enough_for_padded_networks(name: str) -> None:
    assert make(name, (2, 5, 7), outputs=3).eval()(images((2, 5, 7), 2)).shape == (2, 3)


def test_one_seed_gives_the_same_weights_and_another_others() -> None:
    first, again, other = (make("resnet-small", DIGITS, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert all(not torch.equal(first[key], other[key]) for key in first)


def test_the_global_generator_neither_changes_nor_matters() -> None:
    state = torch.random.get_rng_state()
    first = make("dense", DIGITS)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.rand(3)
        assert torch.equal(make("dense", DIGITS).state_dict()["1.weight"], first.state_dict()["1.weight"])


def test_widths_are_the_hidden_layers() -> None:
    assert hidden_shapes(make("dense", (6,), widths=[5, 4, 3]), (6,)) == [(5,), (4,), (3,)]
    assert count(make("dense", (6,), widths=())) == 6 * 10 + 10


@pytest.mark.parametrize(("arguments", "options", "message"), [
    (("dm-huge", MNIST), {}, r"no architecture 'dm-huge'; choose one of linear, dense, .*resnet-small"),
    (("dm-small", MNIST), {"width": 2}, "dm-small has no option 'width'; it takes batch_norm"),
    (("cnn7", MNIST), {"batch_norm": False}, "cnn7 has no option 'batch_norm'; it takes none"),
    (("linear", MNIST), {"shape": 2}, "linear has no option 'shape'; it takes none"),
    (("dm-small", DIGITS), {}, "architecture dm-small: a kernel of 4x4 does not fit into maps of 3x3"),
    (("conv", (784,)), {}, r"architecture conv: input shape \(784,\) is not that of an image"),
    (("transformer", DIGITS), {"patch": 3}, r"input shape \(1, 8, 8\) is not that of an image of patches of 3x3"),
    (("transformer", DIGITS), {"heads": 3}, "a width of 16 is not divided by 3 heads"),
    (("transformer", DIGITS), {"layers": 0}, "width, heads, layers, patch has the size 0"),
    (("dense", ()), {}, r"architecture dense is given the input shape \(\)"),
    (("dense", (1, 0, 8)), {}, "architecture dense: input shape has the size 0"),
    (("dense", (8.0,)), {}, r"input shape has the size 8\.0"),
    (("linear", MNIST, 0), {}, "outputs has the size 0"),
    (("dense", MNIST), {"widths": (50, -1)}, "widths has the size -1"),
    (("dense", MNIST), {"widths": "50"}, "widths is '50'; give a sequence"),
    (("dense", MNIST), {"widths": 50}, "widths is 50; give a sequence"),
    (("tutorial", MNIST), {"batch_norm": "no"}, "batch_norm is 'no'; give true or false"),
])
def test_what_does_not_fit_is_refused(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(*arguments, **options)


def test_normalization_is_a_shift_and_a_scale() -> None:
    mean, std = (0.49, 0.48, 0.45), (0.2, 0.25, 0.3)
    module = normalized(make("conv", CIFAR, seed=2), mean, std)
    x = images(CIFAR, 4)
    network = trace(module, x)
    assert [type(node.op) for node in network.graph.nodes[:2]] == [Shift, Scale]
    channels = [(x[:, k] - mean[k]) / std[k] for k in range(3)]
    expected = module[1](torch.stack(channels, dim=1))
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-5)
    assert [key for key in module.state_dict() if not key.startswith("1.")] == ["0.mean", "0.std"]
    assert module.state_dict()["0.std"].shape == (3, 1, 1)


@pytest.mark.parametrize(("mean", "std"), [
    ((0.5,), (0.5, 0.5)), ((), ()), ((0.5,), (0.0,)), ((0.5,), (-1.0,)), ((float("nan"),), (1.0,)),
    ((0.5,), (float("inf"),)),
])
def test_what_does_not_normalize_is_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="do not normalize"):
        Normalize(mean, std)
