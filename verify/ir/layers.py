"""A chain of common layers as a network, without torch.export, which takes longer to import than to run.

The graph is the one that torch_export makes of the same module, to its names; the tests compare the two. Whatever is
not plainly such a chain is left to torch.export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from verify.errors import UnsupportedOp
from verify.ir.builder import End, GraphBuilder
from verify.ir.graph import Network
from verify.ir.head import Head
from verify.ops import BatchNorm, Conv, Linear, Op, ReLU, Reshape


class Chain:
    """The network under construction: `value` is the name of the last layer's."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype):
        self.builder = GraphBuilder("input", shape, dtype)
        self.value = "input"
        self._counts: dict[str, int] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample of the value."""
        return self.builder.shapes[self.value]

    def name(self, kind: str) -> str:
        """The name that torch.export gives to the next operator of a kind."""
        count = self._counts[kind] = self._counts.get(kind, -1) + 1
        return f"{kind}_{count}" if count else kind

    def add(self, kind: str, op: Op, parameters: dict[str, Tensor]) -> None:
        """Appends an op with these parameters by name."""
        names = tuple(self.builder.parameter(name, value) for name, value in parameters.items())
        self.value = self.builder.add(self.name(kind), op, (self.value,), names)


Layer = Callable[[Chain, Any, str], bool]  # appends a module whose state has this prefix; False: not expressible
LAYERS: dict[type[nn.Module], Layer] = {}


def layer(kind: type[nn.Module]) -> Callable[[Layer], Layer]:
    """Registers how modules of exactly this type are written."""

    def add(write: Layer) -> Layer:
        LAYERS[kind] = write
        return write

    return add


def read_chain(module: nn.Module, example: Tensor) -> Network | None:
    """The network of a module that is a chain of registered layers, in eval mode; None for every other.

    example: (batch, *input shape), float32 or float64, of the parameters' type.
    """
    tensors = [*module.parameters(), *module.buffers()]
    kinds = {t.dtype for t in (*tensors, example) if t.is_floating_point()}
    places = {t.device.type for t in (*tensors, example)}
    if example.ndim < 2 or kinds - {torch.float32, torch.float64} or len(kinds) != 1 or places != {"cpu"}:
        return None
    chain = Chain(tuple(example.shape[1:]), example.dtype)
    seen: set[int] = set()
    for prefix, part in _flat(module, ""):
        write = LAYERS.get(type(part))
        owns = {id(t) for t in (*part.parameters(), *part.buffers())}
        if write is None or not _is_plain(part) or owns & seen:
            return None
        seen |= owns
        try:
            if not write(chain, part, prefix):
                return None
        except UnsupportedOp:  # shapes that do not fit: torch.export says where
            return None
    return chain.builder.finish(chain.value) if chain.builder.nodes else None


def _flat(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers with the prefixes of their names; a plain Sequential is the layers in it."""
    if type(module) is not nn.Sequential or not _is_plain(module):
        yield prefix, module
        return
    for name, part in module._modules.items():
        if part is not None:
            yield from _flat(part, f"{prefix}{name}.")


def _is_plain(module: nn.Module) -> bool:
    """Whether a call of the module runs its class's own forward, and nothing else."""
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


@layer(nn.Linear)
def _linear(chain: Chain, module: nn.Linear, prefix: str) -> bool:
    if len(chain.shape) != 1:
        return False
    chain.add("linear", Linear(), _own(module, prefix, "weight", "bias"))
    return True


@layer(nn.Conv2d)
def _conv(chain: Chain, module: nn.Conv2d, prefix: str) -> bool:
    if module.padding_mode != "zeros" or isinstance(module.padding, str) or len(chain.shape) != 3:
        return False
    op = Conv(tuple(module.stride), tuple(module.padding), tuple(module.dilation), module.groups)
    chain.add("convolution", op, _own(module, prefix, "weight", "bias"))
    return True


@layer(nn.BatchNorm1d)
@layer(nn.BatchNorm2d)
def _batch_norm(chain: Chain, module: nn.BatchNorm1d | nn.BatchNorm2d, prefix: str) -> bool:
    axes = len(chain.shape) - 1
    if not module.affine or not module.track_running_stats or axes != (2 if type(module) is nn.BatchNorm2d else 0):
        return False
    own = _own(module, prefix, "weight", "bias", "running_mean", "running_var")
    chain.add("_native_batch_norm_legit_no_training", BatchNorm(module.eps, axes), own)
    return True


@layer(nn.ReLU)
def _relu(chain: Chain, module: nn.ReLU, prefix: str) -> bool:
    if module.inplace:  # torch.export names what follows in its own way
        return False
    chain.add("relu", ReLU(), {})
    return True


@layer(nn.Flatten)
def _flatten(chain: Chain, module: nn.Flatten, prefix: str) -> bool:
    if (module.start_dim, module.end_dim) != (1, -1) or len(chain.shape) == 1:
        return False
    chain.add("view", Reshape((prod(chain.shape),)), {})
    return True


@layer(nn.Softmax)
@layer(nn.LogSoftmax)
def _softmax(chain: Chain, module: nn.Softmax | nn.LogSoftmax, prefix: str) -> bool:
    if module.dim not in (1, -1) or len(chain.shape) != 1:
        return False
    kind, head = ("_log_softmax", Head(True)) if type(module) is nn.LogSoftmax else ("_softmax", Head(False))
    end = End(chain.value, head)
    chain.value = chain.builder.end(chain.name(kind), end)
    return True


def _own(module: nn.Module, prefix: str, *names: str) -> dict[str, Tensor]:
    """These tensors of a module, those that it has, by their names in the state dict."""
    return {prefix + name: value for name in names if (value := getattr(module, name)) is not None}
