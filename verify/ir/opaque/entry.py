"""Makes models that are only executed: as asked, and of what the front-ends refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from verify.errors import InputError, SolverError, UnsupportedOp, Untraceable
from verify.ir.graph import Graph, Network, Node
from verify.ir.load import load, module_of
from verify.ir.opaque.file import executed_file
from verify.ir.opaque.module import executed_module
from verify.ops.opaque import Executable, Opaque

FILES = (".onnx", ".onnx.gz")


def opaque(model: str | Path | nn.Module, example: Tensor | None = None) -> Network:
    """The network of a model that is only executed, for models that `verify.load` and `verify.trace` refuse.

    `PGD`, `FGSM` and `RandomSearch` look for counterexamples of it; methods that bound refuse it, so that nothing of it
    is ever verified. Its output is (batch, outputs). Samples are given to the model one by one.

    model: a torch module, of which a copy in eval mode is kept; or an ONNX file, which onnxruntime runs in a process of
        its own.
    example: of a module, (batch, *input shape), float32 or float64.

    Raises InputError where the model cannot be run, has several inputs or outputs, or is random.
    """
    return _opaque(model, example, f"{_name(model)} is only executed, as was asked")


def attackable(model: str | Path, weights: str | Path | None = None, trust_code: bool = False) -> Network:
    """The network of a model (see `verify.load`); where it is refused, and can be executed, one that is only executed.

    Raises what `load` raises where neither is possible. Models that torch.export saved are not executed.
    """
    try:
        return load(model, weights, trust_code)
    except (UnsupportedOp, Untraceable) as refusal:
        reason = f"{model} can only be attacked: {refusal}"
        try:
            if str(model).endswith(FILES):
                return _opaque(Path(model), None, reason)
            if not str(model).endswith(".pt2"):
                return _opaque(*module_of(str(model), weights), reason)
        except (InputError, SolverError):
            pass  # the refusal says more
        raise


def _opaque(model: str | Path | nn.Module, example: Tensor | None, reason: str) -> Network:
    run, shape = _executable(model, example)
    node = Node("model", Opaque(run, reason), ("input",), (), (run.outputs,))
    return replace(Graph("input", shape, (node,), node.name).freeze({}), floats=run.dtype)


def _executable(model: str | Path | nn.Module, example: Tensor | None) -> tuple[Executable, tuple[int, ...]]:
    """What is executed, and the shape of its input."""
    if isinstance(model, nn.Module):
        if not isinstance(example, Tensor) or example.ndim < 2 or not len(example):
            raise InputError("a module that is only executed needs an example input; pass a tensor (batch, *shape)")
        if example.dtype not in (torch.float32, torch.float64):
            raise InputError(f"the example input is {example.dtype}; give float32 or float64")
        return executed_module(model, example), tuple(example.shape[1:])
    path = Path(model)
    if not path.is_file() or not str(path).endswith(FILES):
        raise InputError(f"{path} is no ONNX file; check the path, or pass a torch module with an example input")
    file = executed_file(path)
    return file, file.input_shape


def _name(model: str | Path | nn.Module) -> str:
    return type(model).__name__ if isinstance(model, nn.Module) else str(model)
