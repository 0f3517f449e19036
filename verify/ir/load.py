"""One entry for every kind of model: a file, a bundled name, or a factory in the user's code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from verify import models
from verify.errors import InputError, place_of
from verify.ir.graph import Network
from verify.ir.guard import beside_module, compare, probes
from verify.ir.layers import read_chain
from verify.ir.original import original

KINDS = "give a .onnx, .onnx.gz or .pt2 file, a bundled name, or package.module:factory"


def load(model: str | Path, weights: str | Path | None = None, trust_code: bool = False) -> Network:
    """The network of a model.

    model: a .onnx (.gz) or .pt2 file; a bundled name; or `package.module:factory`, a callable without arguments that
    returns (module, example input of shape (batch, *input shape)), or a module with an attribute `example_input`.
    weights: a state dict for a factory or bundled name, as .safetensors, or as .pt or .pth read with weights_only.
    trust_code: whether a .pt2 file may run code of its own when it is read, which is refused otherwise.

    Raises InputError, in one sentence, for whatever is missing, damaged or does not fit; UnsupportedOp for a model
    outside the IR.
    """
    if not isinstance(model, (str, Path)):
        raise InputError(f"load takes a name or a file, not {type(model).__name__}; for a torch module call "
                         "verify.trace(module, example)")
    name = str(model)
    if name.endswith((".onnx", ".onnx.gz", ".pt2")):
        if weights is not None:
            raise InputError(f"{name} has its weights in it; leave out the weights file {weights}")
        return _read_file(Path(model), trust_code)
    module, example = module_of(name, weights)
    network = read_chain(module, example)
    if network is not None:
        return beside_module(network, module, example.device)
    from verify.ir.torch_export import trace  # torch.export takes its time to import

    return trace(module, example)


def module_of(name: str, weights: str | Path | None = None) -> tuple[nn.Module, Tensor]:
    """(module, example input) of a bundled name or `package.module:factory`, with these weights; see `load`."""
    module, example = from_factory(name) if ":" in name and not Path(name).exists() else _bundled(name)
    if weights is not None:
        _fill(module, Path(weights))
    return module, example


def _read_file(path: Path, trust_code: bool) -> Network:
    if not path.is_file():
        raise InputError(f"there is no model file {path}; check the path")
    if path.suffix == ".pt2":
        from verify.ir.torch_export import read_pt2

        return read_pt2(path, trust_code)
    from verify.ir.onnx_reader import read_onnx

    network = replace(read_onnx(path), source=original(path))
    compare(network, probes(network))
    return network


def _bundled(name: str) -> tuple[nn.Module, Tensor]:
    known = models.bundled()
    if name in known:
        return models.build(name)
    if Path(name).exists():
        raise InputError(f"{name} is not a kind of model file that can be read; {KINDS}")
    raise InputError(f"there is no model {name}: neither a file nor bundled ({', '.join(known)}); {KINDS}")


def from_factory(name: str) -> tuple[nn.Module, Tensor]:
    """(module, example) of `package.module:factory`."""
    factory = _find(name)
    try:
        made = factory()
    except Exception as problem:  # the user's code may raise anything
        where, what = place_of(problem), f"{type(problem).__name__}: {problem}"
        raise InputError(f"the factory {name} raised {what} ({where}); mend it") from problem
    paired = isinstance(made, tuple) and len(made) == 2
    module, example = made if paired else (made, getattr(made, "example_input", None))
    if not isinstance(module, nn.Module):
        raise InputError(f"the factory {name} returned {type(module).__name__}; return (module, example input)")
    if not isinstance(example, Tensor):
        given = "no example input" if example is None else f"{type(example).__name__} as its example input"
        raise InputError(f"the factory {name} gives {given}; return (module, tensor of shape (batch, *input shape))")
    return module, example


def _find(name: str) -> Callable[[], Any]:
    """The callable that `package.module:factory` names."""
    place, _, attribute = name.partition(":")
    factory = getattr(imported(name), attribute, None)
    if not callable(factory):
        raise InputError(f"module {place} has no callable {attribute!r}; write package.module:factory")
    return factory


def imported(name: str) -> ModuleType:
    """The module of `package.module:name`. Raises InputError where it is not found, and where it fails."""
    place = name.partition(":")[0]
    try:
        return importlib.import_module(place)
    except Exception as problem:  # the user's module may raise anything while it is imported
        missing = problem.name if isinstance(problem, ModuleNotFoundError) else None
        if missing is not None and f"{place}.".startswith(f"{missing}."):
            raise InputError(f"cannot import {place} of {name} ({problem}); put its folder on PYTHONPATH") from None
        where, what = place_of(problem), f"{type(problem).__name__}: {problem}"
        raise InputError(f"importing {place} raised {what} ({where}); mend it") from problem


def _fill(module: nn.Module, path: Path) -> None:
    """Puts the weights of a file into the module. Raises InputError where a key or a shape does not fit."""
    state = _read_weights(path)
    own = module.state_dict()
    remedy = "check that weights and model belong together"
    missing = next((key for key in own if key not in state), None)
    if missing is not None:
        raise InputError(f"weights file {path} has no {missing}, which the model needs; {remedy}")
    for key, value in state.items():
        if key not in own:
            raise InputError(f"weights file {path} has {key}, which the model lacks; {remedy}")
        if value.shape != own[key].shape:
            raise InputError(f"{key} has shape {tuple(value.shape)} in weights file {path} but "
                             f"{tuple(own[key].shape)} in the model; {remedy}")
        if torch.promote_types(value.dtype, own[key].dtype) != own[key].dtype:
            raise InputError(f"{key} is {value.dtype} in weights file {path}, which would be rounded to the model's "
                             f"{own[key].dtype}; build the model in {value.dtype}, or save the rounded weights")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"{key} in weights file {path} has a value that is not finite; mend or retrain the model")
    module.load_state_dict(state)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise InputError(f"weights file {path} is of no known kind; give .safetensors, .pt or .pth")
    if not path.is_file():
        raise InputError(f"there is no weights file {path}; check the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # damaged archives and refused pickles fail in many ways
        first = next(iter(str(problem).strip().splitlines()), type(problem).__name__)
        raise InputError(f"weights file {path} cannot be read ({first}); write the state dict again, "
                         "best with safetensors") from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"weights file {path} is not a state dict of tensors; save module.state_dict()")
    return state
