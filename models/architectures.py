"""Architectures to train, as plain torch modules with fresh weights: `make("dm-small", (1, 28, 28))`.

`make` calls the builder of that name, one of the functions below. `linear`, `dense` and `silu` take inputs of any
shape, the others images (channels, height, width); all return (batch, outputs). But for `silu` and `transformer` a
hidden layer is followed by ReLU, and with `batch_norm` by BatchNorm and ReLU. The numbers given are for MNIST: inputs
(1, 28, 28) and 10 outputs.

The published networks have the layers and the padding of their authors, so that results can be compared:

Gowal et al. 2018, "On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models";
Shi et al. 2021, "Fast Certified Robust Training with Short Warmup";
He et al. 2016, "Deep Residual Learning for Image Recognition";
Kolter and Madry 2018, "Adversarial Robustness: Theory and Practice" (NeurIPS tutorial).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from itertools import pairwise
from math import isfinite, prod
from typing import Any

import torch
from torch import Tensor, nn
from verify.models.transformer import Transformer

from verify.errors import InputError
from verify.ir.layers import Chain, layer
from verify.ops import Scale, Shift

Shape = tuple[int, ...]
Convolution = tuple[int, int, int, int]  # output channels, kernel, stride, padding


def make(name: str, input_shape: Sequence[int], outputs: int = 10, seed: int = 0, **options: Any) -> nn.Module:
    """A network of the architecture `name`, one of NAMES, in training mode, with parameters drawn from `seed`.

    input_shape: of one sample, without the batch axis. options: the keywords of that architecture's builder.
    The global generators stay as they are. Raises InputError for an unknown name or option, and for a shape or value
    that does not fit.
    """
    if name not in BUILDERS:
        raise InputError(f"there is no architecture {name!r}; choose one of {', '.join(NAMES)}")
    builder = BUILDERS[name]
    known = tuple(signature(builder).parameters)[2:]
    for option in options:
        if option not in known:
            raise InputError(f"architecture {name} has no option {option!r}; it takes {', '.join(known) or 'none'}")
    shape = tuple(input_shape)
    if not shape:
        raise InputError(f"architecture {name} is given the input shape (); give one axis at least")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reset the generators of GPUs as well
        try:
            _check_sizes("input shape", shape)
            _check_sizes("outputs", (outputs,))
            return builder(shape, outputs, **options)
        except InputError as problem:
            raise InputError(f"architecture {name}: {problem}") from None


def linear(shape: Shape, outputs: int) -> nn.Sequential:
    """Flatten, Linear: 7,850 parameters for MNIST."""
    return _plain(shape, outputs, (), ())


def dense(shape: Shape, outputs: int, *, widths: Sequence[int] = (50, 50)) -> nn.Sequential:
    """Flatten and fully connected layers, the hidden ones of these widths: 42,310 parameters for MNIST.

    For the digits (1, 8, 8) this is the network of the bundled digits-dense-*.
    """
    return _plain(shape, outputs, (), widths)


def conv(shape: Shape, outputs: int) -> nn.Sequential:
    """Two convolutions of 3x3, to 8 maps, then with stride 2 to 16, and 50 units: 158,608 parameters for MNIST.

    For the digits (1, 8, 8) this is the network of the bundled digits-conv-*.
    """
    return _plain(shape, outputs, ((8, 3, 1, 1), (16, 3, 2, 1)), (50,))


def tutorial(shape: Shape, outputs: int, *, batch_norm: bool = False) -> nn.Sequential:
    """Four convolutions of 3x3, to 32, 32 (stride 2), 64, 64 (stride 2) maps, and 100 units. Kolter and Madry 2018.

    For MNIST maps of 28x28, 14x14, 14x14, 7x7 and 379,702 parameters.
    """
    return _plain(shape, outputs, ((32, 3, 1, 1), (32, 3, 2, 1), (64, 3, 1, 1), (64, 3, 2, 1)), (100,), batch_norm)


def dm_small(shape: Shape, outputs: int, *, batch_norm: bool = False) -> nn.Sequential:
    """Two convolutions of 4x4, to 16 (stride 2) and 32 maps, unpadded, and 100 units. Gowal et al. 2018, table 1.

    For MNIST maps of 13x13, 10x10 and 329,606 parameters.
    """
    return _plain(shape, outputs, ((16, 4, 2, 0), (32, 4, 1, 0)), (100,), batch_norm)


def dm_medium(shape: Shape, outputs: int, *, batch_norm: bool = False) -> nn.Sequential:
    """Four unpadded convolutions, 3x3 and 4x4 with stride 2 to 32 maps, the same to 64 maps, and 512, 512 units.

    Gowal et al. 2018, table 1. For MNIST maps of 26x26, 12x12, 10x10, 4x4 and 893,418 parameters.
    """
    return _plain(shape, outputs, ((32, 3, 1, 0), (32, 4, 2, 0), (64, 3, 1, 0), (64, 4, 2, 0)), (512, 512), batch_norm)


def dm_large(shape: Shape, outputs: int, *, batch_norm: bool = False) -> nn.Sequential:
    """Five padded convolutions of 3x3, to 64, 64, 128 (stride 2), 128, 128 maps, and 512 units.

    Gowal et al. 2018, table 1. For MNIST maps of 28x28, 28x28, 14x14, 14x14, 14x14 and 13,257,290 parameters. Padding
    is 1 on every side, as in the PyTorch versions; the authors' TensorFlow pads the stride 2 on the far sides alone.
    """
    return _plain(shape, outputs, LARGE, (512,), batch_norm)


def cnn7(shape: Shape, outputs: int) -> nn.Sequential:
    """`dm-large` with BatchNorm after every hidden layer, the fully connected one too: 13,259,338 parameters for MNIST.

    Shi et al. 2021, whose method needs BatchNorm in every layer.
    """
    return _plain(shape, outputs, LARGE, (512,), batch_norm=True)


def resnet_small(shape: Shape, outputs: int, *, batch_norm: bool = False) -> nn.Sequential:
    """A convolution of 3x3 to 16 maps, two residual blocks to 32 and 64 maps, both of stride 2, and 100 units.

    The blocks are those of He et al. 2016, figure 5 left, with their projection shortcut (1x1, stride 2). For MNIST
    maps of 28x28, 14x14, 7x7 and 386,838 parameters.
    """
    stem, shape = _convolve(shape, (16, 3, 1, 1), batch_norm)
    layers = [*stem, nn.ReLU()]
    for channels in (32, 64):
        shortcut, _ = _convolve(shape, (channels, 1, 2, 0), batch_norm)
        first, shape = _convolve(shape, (channels, 3, 2, 1), batch_norm)
        second, shape = _convolve(shape, (channels, 3, 1, 1), batch_norm)
        layers.append(Residual(nn.Sequential(*first, nn.ReLU(), *second), nn.Sequential(*shortcut)))
    return nn.Sequential(*layers, *_head(shape, (100,), outputs, batch_norm))


def silu(shape: Shape, outputs: int, *, widths: Sequence[int] = (50, 50)) -> nn.Sequential:
    """`dense` with SiLU in place of ReLU: 42,310 parameters for MNIST."""
    layers = _head(shape, widths, outputs, batch_norm=False)
    return nn.Sequential(*(nn.SiLU() if isinstance(part, nn.ReLU) else part for part in layers))


def transformer(
    shape: Shape, outputs: int, *, width: int = 16, heads: int = 2, layers: int = 1, patch: int = 4
) -> Transformer:
    """Patches of 4x4 as tokens of 16 entries, one block of attention with two heads and of GELU, without normalisation
    (see `verify.models.transformer`), and one linear layer of all tokens: 11,066 parameters for MNIST."""
    _check_sizes("width, heads, layers, patch", (width, heads, layers, patch))
    if len(shape) != 3 or any(n % patch for n in shape[1:]):
        raise InputError(f"input shape {shape} is not that of an image of patches of {patch}x{patch}; give (channels, "
                         "height, width) and a patch that divides both")
    if width % heads:
        raise InputError(f"a width of {width} is not divided by {heads} heads; give a multiple")
    tokens = (shape[1] // patch) * (shape[2] // patch)
    return Transformer(shape[0], tokens, outputs, width, heads, layers, patch)


LARGE = ((64, 3, 1, 1), (64, 3, 1, 1), (128, 3, 2, 1), (128, 3, 1, 1), (128, 3, 1, 1))
BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "linear": linear, "dense": dense, "conv": conv, "tutorial": tutorial,
    "dm-small": dm_small, "dm-medium": dm_medium, "dm-large": dm_large, "cnn7": cnn7, "resnet-small": resnet_small,
    "silu": silu, "transformer": transformer,
}
NAMES = tuple(BUILDERS)


class Residual(nn.Module):
    """relu(body(x) + shortcut(x)), for two modules that give the same shape."""

    def __init__(self, body: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Normalize(nn.Module):
    """(x - mean) / std for images x (batch, channels, height, width), with a mean and a std for each channel.

    Both are buffers of shape (channels, 1, 1), saved with the weights and not trained.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        if not 0 < len(mean) == len(std) or not all(map(isfinite, (*mean, *std))) or min(std) <= 0:
            raise InputError(f"mean {tuple(mean)} and std {tuple(std)} do not normalize; give one finite number of "
                             "each for every channel, the std above 0")
        self.register_buffer("mean", torch.tensor([float(v) for v in mean]).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor([float(v) for v in std]).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * (1 / self.std)  # a product, which has an exact reading in the IR and in the checker


@layer(Normalize)
def _normalize(chain: Chain, module: Normalize, prefix: str) -> bool:
    if len(chain.shape) != 3 or len(module.mean) not in (1, chain.shape[0]):
        return False
    chain.add("sub", Shift(tuple(module.mean.shape)), {"sub.offset": -module.mean})
    chain.name("mul")  # 1 / std, which is no operator of the network
    chain.add("mul", Scale(tuple(module.std.shape)), {"mul_1.factor": 1 / module.std})
    return True


def normalized(module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Sequential:
    """The module behind a `Normalize`: it takes images as they are, so that eps is in their units.

    The names in its state dict are "0.mean", "0.std" and those of the module behind "1.".
    """
    return nn.Sequential(Normalize(mean, std), module)


def _plain(
    shape: Shape, outputs: int, convolutions: Sequence[Convolution], widths: Sequence[int], batch_norm: bool = False
) -> nn.Sequential:
    """Convolutions, then fully connected layers, in one chain."""
    layers: list[nn.Module] = []
    for convolution in convolutions:
        own, shape = _convolve(shape, convolution, batch_norm)
        layers += [*own, nn.ReLU()]
    return nn.Sequential(*layers, *_head(shape, widths, outputs, batch_norm))


def _convolve(shape: Shape, convolution: Convolution, batch_norm: bool) -> tuple[list[nn.Module], Shape]:
    """A convolution, with its batch norm, and the shape of what it returns."""
    if len(shape) != 3:
        raise InputError(f"input shape {shape} is not that of an image; give (channels, height, width)")
    channels, kernel, stride, padding = convolution
    maps = tuple((n + 2 * padding - kernel) // stride + 1 for n in shape[1:])
    if min(maps) < 1:
        raise InputError(f"a kernel of {kernel}x{kernel} does not fit into maps of {shape[1]}x{shape[2]}; "
                         "give larger images")
    layers: list[nn.Module] = [nn.Conv2d(shape[0], channels, kernel, stride, padding)]
    return layers + _norm(nn.BatchNorm2d, channels, batch_norm), (channels, *maps)


def _head(shape: Shape, widths: Sequence[int], outputs: int, batch_norm: bool) -> list[nn.Module]:
    """Flatten and fully connected layers, from values of this shape to the outputs."""
    if not isinstance(widths, Sequence) or isinstance(widths, str):
        raise InputError(f"widths is {widths!r}; give a sequence of whole numbers of at least 1")
    _check_sizes("widths", widths)
    sizes = (prod(shape), *widths)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, width in pairwise(sizes):
        layers += [nn.Linear(before, width), *_norm(nn.BatchNorm1d, width, batch_norm), nn.ReLU()]
    return [*layers, nn.Linear(sizes[-1], outputs)]


def _norm(kind: Callable[[int], nn.Module], channels: int, batch_norm: bool) -> list[nn.Module]:
    if not isinstance(batch_norm, bool):
        raise InputError(f"batch_norm is {batch_norm!r}; give true or false")
    return [kind(channels)] if batch_norm else []


def _check_sizes(what: str, sizes: Sequence[Any]) -> None:
    for n in sizes:
        if not isinstance(n, int) or n < 1:
            raise InputError(f"{what} has the size {n!r}; give whole numbers of at least 1")
