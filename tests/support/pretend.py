"""A device that is not there: tensors that say they lie on another device, while the CPU computes what they ask for.

Operations that mix them with CPU tensors are refused as CUDA refuses them, so a search that runs on the pretended
device would find all its tensors on one device on a GPU as well.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")  # any tensor without a device lies on the CPU, and this one needs no driver
aten = torch.ops.aten
MOVES = {aten._to_copy.default, aten.copy_.default}
# indices may lie on the CPU, as CUDA allows; numbers (0-dim tensors) may lie anywhere
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
WAITS = {aten._local_scalar_dense.default, aten.nonzero.default, aten._unique2.default, aten.bincount.default}


class Pretended(Tensor):
    """A tensor on the pretended device; `held` lies on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> Pretended:
        out = Tensor._make_wrapper_subclass(
            cls, real.shape, strides=real.stride(), storage_offset=real.storage_offset(), dtype=real.dtype,
            device=DEVICE, requires_grad=False,
        )
        out.held = real
        return out

    def tolist(self) -> list[Any]:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} outside of pretending()")


@contextmanager
def pretending() -> Iterator[Counter[str]]:
    """The pretended device exists inside; the counter says how often a GPU would have to be waited for, and where."""
    make = torch.tensor

    def tensor(data: Any, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        return make(data, dtype=dtype).to(device or "cpu")  # by itself it would leave out the numbers

    with mock.patch.object(torch, "tensor", tensor), Pretending() as mode:
        yield mode.waits


class Pretending(TorchDispatchMode):
    """Computes on the CPU what is asked of the pretended device."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        here = [t for t in tensors if isinstance(t, Pretended)]
        target = kwargs.get("device")
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        if func not in MOVES:
            looked = tensors[:1] if func in INDEXED else tensors
            if here and any(not isinstance(t, Pretended) and t.dim() for t in looked):
                raise RuntimeError(f"{func} mixes tensors on the CPU with tensors on another device")
        if here and (func in WAITS or (func in MOVES and target == torch.device("cpu"))):
            self.waits[_caller()] += 1
        known = {id(t.held): t for t in here}
        real = func(*tree_map(_real, args), **tree_map(_real, kwargs))
        on_device = bool(here) if target is None else torch.device(target) == DEVICE
        if func is aten._local_scalar_dense.default or not on_device:
            return real
        return tree_map(lambda value: known[id(value)] if id(value) in known else _pretended(value), real)


def _caller() -> str:
    """The innermost line of the package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and f"{os.sep}verify{os.sep}" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition(f'{os.sep}verify{os.sep}')[2]}:{frame.f_lineno}"


def _real(value: Any) -> Any:
    return value.held if isinstance(value, Pretended) else value


def _pretended(value: Any) -> Any:
    return Pretended(value) if isinstance(value, Tensor) else value
