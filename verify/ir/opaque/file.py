"""An ONNX file that is only executed: values of onnxruntime, gradients of torch where the file converts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.deadline import check_time
from verify.errors import InputError
from verify.ir.opaque import gradient_moves, gradient_ops
from verify.ir.opaque.gradients import Untranslated, translation
from verify.ir.opaque.runtime import runtime_of
from verify.ops.opaque import Executable

GROUPS = (gradient_moves, gradient_ops)  # importing them fills RULES
CLOSE = 1e-2  # how far the translation may be from the runtime, as a share of the largest output, to be of use
KINDS = {np.dtype(np.float32): torch.float32, np.dtype(np.float64): torch.float64}


@dataclass(frozen=True)
class ExecutedFile(Executable):
    """A file, its outputs flat. `digest` is SHA-256 of the file, which tells it from others."""

    path: Path = field(repr=False)
    digest: str
    input_shape: tuple[int, ...] = field(repr=False)
    dtype: torch.dtype = field(repr=False)
    outputs: int = field(repr=False)

    def __call__(self, x: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled() and self.has_gradient:
            return _Executed.apply(x, self)
        return self.values(x)

    def values(self, x: Tensor) -> Tensor:
        """What onnxruntime gives, (batch, outputs); NaN where it gives nothing, or not as many numbers."""
        runtime, found = runtime_of(self.path), []
        for sample in x.detach().numpy().reshape(len(x), -1):
            y = runtime.run(sample)
            found.append(np.full(self.outputs, np.nan) if y is None or y.size != self.outputs else y)
        return torch.from_numpy(np.stack(found)).to(x) if found else x.new_zeros((0, self.outputs))

    @property
    def has_gradient(self) -> bool:
        """Whether the file converts to torch."""
        return _translated(self) is not None

    def pulled(self, x: Tensor, weights: Tensor) -> Tensor:
        """The gradient of the sum of outputs times weights (batch, outputs) at x; 0 where there is none."""
        translated, found = _translated(self), torch.zeros_like(x)
        for k in range(len(x)):
            check_time()
            with torch.enable_grad():
                sample = x[k].detach().clone().requires_grad_()
                try:
                    total = (translated(sample) * weights[k]).sum() if translated is not None else None
                except (Untranslated, RuntimeError, IndexError, ValueError):
                    total = None  # of a point at which torch refuses what onnxruntime may do
                if total is not None and total.requires_grad:
                    (found[k],) = torch.autograd.grad(total, sample)
        return found


class _Executed(torch.autograd.Function):
    """The runtime's values with the translation's gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, file: ExecutedFile) -> Tensor:
        ctx.save_for_backward(x)
        ctx.file = file
        return file.values(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.file.pulled(x, grads[0]), None


def executed_file(path: Path) -> ExecutedFile:
    """The file, after a look at what it gives at a few points.

    Raises InputError where onnxruntime cannot open it or runs it at none of them, and where it answers differently when
    it is asked again.
    """
    runtime = runtime_of(path)
    shape = tuple(1 if n is None else n for n in runtime.shape)
    shape = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    for point in _probes(shape, runtime.kind):
        y = runtime.run(point)  # as elsewhere, a file that answers nowhere in time is given up
        if y is None or not y.size:
            continue
        again = runtime.run(point)
        if again is None or not np.array_equal(y, again, equal_nan=True):
            raise InputError(f"{path} gives other outputs when it is run again; export it in evaluation mode")
        return ExecutedFile(path, hashlib.sha256(path.read_bytes()).hexdigest(), shape, KINDS[runtime.kind], y.size)
    raise InputError(f"onnxruntime runs {path} at no point that was tried; check the model with onnx.checker")


def _probes(shape: tuple[int, ...], kind: np.dtype) -> Iterator[np.ndarray]:
    """Points, flat, at which a file is likely to have an output."""
    noise, size = np.random.default_rng(0), prod(shape)
    points = noise.uniform(size=size), np.zeros(size), np.ones(size), noise.normal(size=size)
    yield from (point.astype(kind) for point in points)


@lru_cache(maxsize=4)
def _translated(file: ExecutedFile) -> Any:
    """The file as a function of one sample in torch, or None where it does not convert: an operator is missing, or its
    values are not those of the runtime at the points where it was tried."""
    try:
        function = translation(file.path, file.dtype)
        for point in _probes(file.input_shape, np.dtype(str(file.dtype).removeprefix("torch."))):
            theirs = runtime_of(file.path).run(point)
            if theirs is not None and theirs.size == file.outputs:
                mine = function(torch.from_numpy(point).reshape(file.input_shape)).double().numpy()
                if not np.abs(mine - theirs).max() <= CLOSE * (1e-6 + np.abs(theirs).max()):
                    return None
    except (Untranslated, RuntimeError, IndexError, ValueError):
        return None
    return function
