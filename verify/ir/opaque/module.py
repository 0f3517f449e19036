"""A torch module that is only executed."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from verify.deadline import check_time
from verify.errors import InputError, place_of
from verify.ops.opaque import Executable


@dataclass(frozen=True)
class ExecutedModule(Executable):
    """A module in eval mode, called sample by sample; its outputs flat. `digest` is of its weights."""

    name: str
    digest: str
    module: nn.Module = field(repr=False)
    dtype: torch.dtype = field(repr=False)
    outputs: int = field(repr=False)

    def __call__(self, x: Tensor) -> Tensor:
        found = []
        for sample in x:
            check_time()
            try:
                y = self.module(sample[None].clone()).reshape(-1).to(x)
            except Exception:  # the user's code may raise anything, at values that it was not made for
                y = x.new_full((1,), torch.nan)
            found.append(y if len(y) == self.outputs else x.new_full((self.outputs,), torch.nan))
        return torch.stack(found) if found else x.new_zeros((0, self.outputs))


def executed_module(module: nn.Module, example: Tensor) -> ExecutedModule:
    """A copy of the module on the CPU in eval mode, after a call with the first sample of the example (batch, *shape).

    Raises InputError where it cannot be copied or called, returns anything but one tensor of numbers, or answers
    differently when it is called again.
    """
    name = type(module).__name__
    try:
        kept = copy.deepcopy(module).cpu().eval().requires_grad_(False)
        with torch.no_grad():
            y, again = (kept(example[:1].detach().cpu().clone()) for _ in range(2))
    except Exception as problem:  # as above
        raise InputError(f"the module {name} cannot be copied and called on an input of shape "
                         f"{(1, *example.shape[1:])}: {type(problem).__name__} ({place_of(problem)}); mend it"
                         ) from problem
    if not isinstance(y, Tensor) or not y.numel() or not isinstance(again, Tensor):
        raise InputError(f"the module {name} returns {type(y).__name__}, not one tensor of numbers; wrap it")
    if not torch.equal(y.nan_to_num(), again.nan_to_num()):
        raise InputError(f"the module {name} gives other outputs when it is called again; leave out what is random")
    return ExecutedModule(name, _digest(kept), kept, example.dtype, y.numel())


def _digest(module: nn.Module) -> str:
    """SHA-256 over the structure and the values of a module."""
    seen = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        seen.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        seen.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return seen.hexdigest()
