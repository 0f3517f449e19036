"""A torch module, or another callable, that is only executed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from verify.deadline import check_time
from verify.errors import InputError, place_of
from verify.ir.opaque.averaged import Averaged
from verify.ir.opaque.outputs import numbers_of
from verify.ops.opaque import Executable

CLOSE = 1e-3  # how far outputs of samples together may be from those alone, as a share of the largest, to be of use
WORDS = 200  # characters of what a module raised
TOGETHER = {"cpu": 1 << 26, "cuda": 1 << 30}  # values of all layers that a call may hold


@dataclass(frozen=True)
class ExecutedModule(Executable):
    """A module in eval mode, called sample by sample; its outputs flat. `digest` is of its weights. Other callables
    may lack a gradient, and are then given tensors without one."""

    name: str
    digest: str
    module: Callable[[Tensor], Any] = field(repr=False)
    dtype: torch.dtype = field(repr=False)
    outputs: int = field(repr=False)
    device: torch.device = field(default=torch.device("cpu"), repr=False)
    held: int | None = field(default=None, repr=False)
    has_gradient: bool = field(default=True, repr=False)

    def __call__(self, x: Tensor) -> Tensor:
        found = [self.called(x[k : k + 1]) for k in range(len(x))]
        missing = x.new_full((1, self.outputs), torch.nan)
        return torch.cat([missing if y is None else y for y in found]) if found else x.new_zeros((0, self.outputs))

    def called(self, x: Tensor) -> Tensor | None:
        """What one call gives for samples x (n, *shape), (n, outputs); None where it fails."""
        check_time()
        try:
            y = numbers_of(self.module((x if self.has_gradient else x.detach()).clone()), x).reshape(len(x), -1)
        except Exception:  # the user's code may raise anything, at values that it was not made for
            return None
        return y if y.shape[1] == self.outputs else None

    @property
    def searched(self) -> Executable:
        return self if self.held is None else CalledTogether(self)


@dataclass(frozen=True)
class CalledTogether(Executable):
    """The same model, called on many samples at once; one by one where that fails."""

    model: ExecutedModule

    def __post_init__(self) -> None:
        for name in ("dtype", "outputs", "device", "held"):
            object.__setattr__(self, name, getattr(self.model, name))

    def __call__(self, x: Tensor) -> Tensor:
        size = max(1, TOGETHER.get(x.device.type, TOGETHER["cpu"]) // max(1, self.held or 0))
        found = [(part, self.model.called(part)) for part in x.split(size)]
        return torch.cat([self.model(part) if y is None else y for part, y in found])


def executed_module(module: Callable[[Tensor], Any], example: Tensor) -> ExecutedModule:
    """A copy of the module in eval mode, on its device, or another callable as it is, after calls with samples of the
    example (batch, *shape).

    Raises InputError where it cannot be copied or called, returns anything but one tensor of numbers, or answers
    differently when it is called again.
    """
    name = getattr(module, "__name__", type(module).__name__)
    try:
        kept = _frozen(module) if isinstance(module, nn.Module) else module
        device = _place(kept)
        first = example[:1].detach().to(device)
        with torch.no_grad():
            found = kept(first.clone())
    except Exception as problem:  # as above
        words = " ".join(str(problem).split())[:WORDS] or type(problem).__name__
        raise InputError(f"the module {name} cannot be copied and called on an input of shape "
                         f"{(1, *example.shape[1:])}, {str(example.dtype).removeprefix('torch.')}: {words} "
                         f"({place_of(problem)}); {_remedy(module, example)}") from problem
    if device.type == "meta":
        raise InputError(f"the module {name} is on the device meta, where there are no numbers; load its weights first")
    try:
        y = numbers_of(found, first)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise InputError(f"the module {name} returns {problem}") from None
    if not y.numel():
        raise InputError(f"the module {name} returns no numbers; wrap it")
    again, held = _with_gradient(kept, first)
    if not _same(y, again) and not _same(y, _plain(kept, first)):
        remedy = ("it may draw from torch's generator alone, since no other is set anew" if isinstance(module, Averaged)
                  else "or give the mean of its answers: verify.Averaged(module)")
        raise InputError(f"the module {name} gives other outputs when it is called again; leave out what is "
                         f"random, {remedy}")
    other = example[1:2].detach().to(device) if len(example) > 1 else first.flip(-1)
    many = _fits_together(kept, torch.cat([other, first]), y.reshape(1, -1))
    size = max(1, held or 0, first.numel()) if many else None
    return ExecutedModule(name, _digest(kept, y), kept, example.dtype, y.numel(), device, size, held is not None)


def _frozen(module: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters want no gradients."""
    kept = copy.deepcopy(module).eval()
    for parameter in kept.parameters():  # a script has no requires_grad_
        parameter.requires_grad_(False)
    return kept


def _remedy(module: Callable[[Tensor], Any], x: Tensor) -> str:
    """What may help where a call with samples x fails."""
    floats = {t.dtype for t in module.parameters() if t.is_floating_point()} if isinstance(module, nn.Module) else set()
    if len(floats) == 1 and x.dtype not in floats:
        (own,) = floats
        word = {torch.float32: "pass x.float()", torch.float64: "pass x.double()"}.get(own, "pass module.float()")
        return f"its weights are {str(own).removeprefix('torch.')}, {word}"
    return "mend it, or give samples as it takes them"


def _place(module: Callable[[Tensor], Any]) -> torch.device:
    """The device of a module's tensors, else the CPU."""
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
    return next((t.device for t in tensors), torch.device("cpu"))


def _with_gradient(module: Callable[[Tensor], Any], x: Tensor) -> tuple[Tensor | None, int | None]:
    """What a call on a tensor that wants a gradient gives, and how many values it holds for it; None and None where it
    fails, a count of None where there is no gradient."""
    sizes: list[int] = []
    own = {t.data_ptr() for t in module.parameters()} if isinstance(module, nn.Module) else set()

    def counted(saved: Tensor) -> Tensor:
        sizes.append(0 if saved.data_ptr() in own else saved.numel())
        return saved

    try:
        with torch.enable_grad(), saved_tensors_hooks(counted, lambda saved: saved):
            y = numbers_of(module(x.clone().requires_grad_()), x)
    except Exception:  # as above: it may take no tensors with gradients
        return None, None
    return y.detach(), sum(sizes) if y.requires_grad else None


def _plain(module: Callable[[Tensor], Any], x: Tensor) -> Tensor | None:
    """What a call gives, None where it fails."""
    try:
        with torch.no_grad():
            return numbers_of(module(x.clone()), x)
    except Exception:  # as above
        return None


def _same(y: Tensor, other: Tensor | None) -> bool:
    """Whether two answers are equal, NaN where NaN is."""
    return other is not None and torch.equal(y.nan_to_num(), other.nan_to_num())


def _fits_together(module: Callable[[Tensor], Any], pair: Tensor, alone: Tensor) -> bool:
    """Whether of two samples in one call the second gets what it gets alone (1, outputs), up to rounding."""
    y = _plain(module, pair)
    if y is None or y.numel() != 2 * alone.numel():
        return False
    near = CLOSE * float(alone.abs().nan_to_num(0.0, 0.0).max())
    return bool(torch.isclose(y.reshape(2, -1)[1:], alone, 0, near, equal_nan=True).all())


def _digest(module: Callable[[Tensor], Any], y: Tensor) -> str:
    """SHA-256 over the structure and the values of a module; of another callable over an output."""
    if not isinstance(module, nn.Module):
        return hashlib.sha256(y.cpu().contiguous().numpy().tobytes()).hexdigest()
    seen = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        seen.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        seen.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return seen.hexdigest()
