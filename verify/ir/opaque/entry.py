"""Makes models that are only executed: as asked, and of what the front-ends refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verify.errors import InputError, SolverError, UnsupportedOp, Untraceable
from verify.ir.graph import Graph, Network, Node
from verify.ir.load import load, module_of
from verify.ir.opaque.file import executed_file
from verify.ir.opaque.module import executed_module
from verify.ops.opaque import Executable, Opaque

FILES = (".onnx", ".onnx.gz")
Model = str | Path | Callable[[Tensor], Any]


def opaque(model: Model, example: Tensor | None = None) -> Network:
    """The network of a model that is only executed, for models that `verify.load` and `verify.trace` refuse.

    Attacks look for counterexamples of it; methods that bound refuse it, so that nothing of it is ever verified. Its
    output is (batch, outputs). Attacks give a module many samples at once, if that changes nothing but rounding; what
    they find is given to it again, one by one.

    model: a torch module, of which a copy in eval mode is kept, on its device; an ONNX file, which onnxruntime runs in
        a process of its own; an onnxruntime session; or any other callable that makes an array (batch, ...) of a tensor
        (batch, *input shape), differentiable or not.
    example: of all but a file, (batch, *input shape), float32 or float64.

    Raises InputError where the model cannot be run, has several inputs or outputs, or is random.
    """
    return _opaque(model, example, f"{_name(model)} is only executed, as was asked")


@dataclass(frozen=True)
class SessionCall:
    """An onnxruntime session as a callable."""

    session: Any

    def __call__(self, x: Tensor) -> np.ndarray:
        return self.session.run(None, {self.session.get_inputs()[0].name: x.cpu().numpy()})[0]


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


def _opaque(model: Model, example: Tensor | None, reason: str) -> Network:
    run, shape = _executable(model, example)
    node = Node("model", Opaque(run, reason), ("input",), (), (run.outputs,))
    return replace(Graph("input", shape, (node,), node.name).freeze({}), floats=run.dtype, place=run.device)


def _executable(model: Model, example: Tensor | None) -> tuple[Executable, tuple[int, ...]]:
    """What is executed, and the shape of its input."""
    if isinstance(model, type):
        raise InputError(f"the model is the class {model.__name__}; pass an instance of it, such as {model.__name__}()")
    if not isinstance(model, str | Path):
        called = SessionCall(model) if hasattr(model, "get_inputs") and not callable(model) else model
        if not callable(called):
            raise InputError(f"a {type(model).__name__} cannot be executed; pass a torch module, an ONNX file, an "
                             "onnxruntime session or another callable")
        if not isinstance(example, Tensor) or example.ndim < 2 or not len(example):
            raise InputError("a module that is only executed needs an example input; pass a tensor (batch, *shape)")
        if example.dtype not in (torch.float32, torch.float64):
            raise InputError(f"the samples are {example.dtype}, in which nothing is decided; give float32 or float64")
        return executed_module(called, example), tuple(example.shape[1:])
    path = Path(model)
    if not str(path).endswith(FILES):
        raise InputError(f"the model {str(model)!r} is a name; read it first with verify.load({str(model)!r})")
    if not path.is_file():
        raise InputError(f"{path} is no ONNX file; check the path")
    file = executed_file(path)
    return file, file.input_shape


def _name(model: Model) -> str:
    return str(model) if isinstance(model, str | Path) else getattr(model, "__name__", type(model).__name__)
